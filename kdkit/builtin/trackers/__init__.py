"""Trackers that ship with kdkit."""
