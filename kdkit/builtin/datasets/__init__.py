"""Data sets that ship with kdkit, one component a file."""
