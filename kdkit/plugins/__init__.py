"""Plugins: found, loaded and asked once for their components; and a component's options, read off its fields."""

from __future__ import annotations

from kdkit.plugins.loading import DISABLE, GROUP, KINDS, SINGULAR, Entry, Failure, Plugins, load

__all__ = ["DISABLE", "GROUP", "KINDS", "SINGULAR", "Entry", "Failure", "Plugins", "load"]
