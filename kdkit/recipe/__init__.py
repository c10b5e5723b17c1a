"""Recipes: TOML files that say what is distilled, and how; `load_recipe` checks all of one."""

from __future__ import annotations

from kdkit.recipe.document import find_recipe, read_document
from kdkit.recipe.for_writing import WritingRecipe, load_for_writing
from kdkit.recipe.load import load_recipe, load_stored
from kdkit.recipe.schema import json_schema
from kdkit.recipe.sections import COMPONENT_SECTIONS, SECTIONS, Recipe, Section
from kdkit.recipe.shipped import recipes as shipped_recipes
from kdkit.recipe.stored import StoredRecipe, read_stored

__all__ = [
    "COMPONENT_SECTIONS",
    "SECTIONS",
    "Recipe",
    "Section",
    "StoredRecipe",
    "WritingRecipe",
    "find_recipe",
    "json_schema",
    "load_for_writing",
    "load_recipe",
    "load_stored",
    "read_document",
    "read_stored",
    "shipped_recipes",
]
