"""Teacher logits: encoded, kept in a cache, found again by content, and handed to a loss."""
