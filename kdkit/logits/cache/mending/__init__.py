"""What is done to whole caches: verified, repaired, merged, converted."""
