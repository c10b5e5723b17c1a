"""A page as a value, and its renderers: HTML, Markdown, the terminal. Nothing here knows of runs."""
