"""A run from its recipe to its report. Read `run.py` first."""
