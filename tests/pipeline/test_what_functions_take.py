"""A function takes what it needs, and not the run or the recipe that has it; the work of a stage excepted."""

from __future__ import annotations

import ast
from pathlib import Path

import kdkit

PACKAGE = Path(kdkit.__file__).parent
BELOW_RUNS = ("evaluation", "training", "logits", "store", "models")
FILES = sorted(file for room in BELOW_RUNS for file in (PACKAGE / room).rglob("*.py"))


def taken(file):
    """The arguments of a file's functions, and their types."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.arg) and node.annotation is not None:
            yield node.arg, ast.unparse(node.annotation).split(" | ")[0]


def test_no_function_of_a_lower_room_takes_a_run_or_a_recipe():
    found = [f"{name} in {file}" for file in FILES for name, kind in taken(file) if kind in {"Run", "Recipe"}]
    assert found == []
