"""What the author of a component builds against: hooks, options, interfaces and values."""
