"""The stages of a run. Each reads what earlier ones left in the run folder, and calls none of them."""
