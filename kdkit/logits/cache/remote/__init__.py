"""Caches at a URL."""
