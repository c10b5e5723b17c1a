"""Folders of runs and sweeps, read into values."""
