"""Log-probabilities that other tools kept: a reader for each format, writers, and which row they are of."""
