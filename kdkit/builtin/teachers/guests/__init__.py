"""Readers of log-probabilities that other tools kept, for the teacher `imported`: a file for each format."""
