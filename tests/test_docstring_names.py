"""Names of kdkit in docstrings and comments exist: what is moved takes its mentions along."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import kdkit

PACKAGE = Path(kdkit.__file__).parent
NAMED = re.compile(r"`(kdkit(?:\.\w+)+)`")


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one or of a class in it."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            fields = {field.name for field in getattr(found, "__attrs_attrs__", ())}
            if part in fields:
                return True
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def test_names_in_docstrings_exist():
    named = {file: set(NAMED.findall(file.read_text(encoding="utf-8"))) for file in PACKAGE.rglob("*.py")}
    there = {name: exists(name) for name in set().union(*named.values())}
    gone = {(str(file), name) for file, names in named.items() for name in names if not there[name]}
    assert gone == set()
