"""Reports of several runs: of a sweep, and of any runs side by side."""
