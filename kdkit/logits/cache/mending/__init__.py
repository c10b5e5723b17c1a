"""Works on whole caches: verifies, repairs, merges and converts them."""
