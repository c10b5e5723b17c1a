"""Plugins: finds and loads them, collects their components once, and reads a component's options off its fields."""

from __future__ import annotations

from kdkit.plugins.installed import DISABLE, GROUP
from kdkit.plugins.loading import load
from kdkit.plugins.registry import KINDS, SINGULAR, Entry, Failure, Plugins

__all__ = ["DISABLE", "GROUP", "KINDS", "SINGULAR", "Entry", "Failure", "Plugins", "load"]
