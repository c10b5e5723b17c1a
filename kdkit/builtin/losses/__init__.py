"""Loss mixers that ship with kdkit, one component a file."""
