"""Rows, as text and as token ids: read, checked, split and kept."""
