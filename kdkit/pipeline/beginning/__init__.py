"""From a file of rows to a first recipe: what `kdkit init` looks at, chooses and writes."""
