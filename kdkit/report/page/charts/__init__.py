"""Drawings of a page, as SVG."""
