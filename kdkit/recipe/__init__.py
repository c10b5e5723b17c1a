"""Recipes: a TOML file says what is distilled, and how; `load_recipe` checks all of it."""

from __future__ import annotations

from kdkit.recipe.document import find_recipe, read_document
from kdkit.recipe.load import load_recipe
from kdkit.recipe.schema import json_schema
from kdkit.recipe.sections import COMPONENT_SECTIONS, SECTIONS, Recipe, Section
from kdkit.recipe.shipped import recipes as shipped_recipes

__all__ = [
    "COMPONENT_SECTIONS",
    "SECTIONS",
    "Recipe",
    "Section",
    "find_recipe",
    "json_schema",
    "load_recipe",
    "read_document",
    "shipped_recipes",
]
