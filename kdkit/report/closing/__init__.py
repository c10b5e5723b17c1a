"""The ends of runs and sweeps, in a terminal and in a notebook."""
