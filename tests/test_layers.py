"""The house: which room of kdkit may import from which, and that no two files or folders import each other.

A room is an entry of `kdkit/`: a package, or `errors.py`. Rooms stand in one order, and an import goes from a room only
to itself and to those below it. Imports for type checkers count: they say what one has to know to read a file.
"""

from __future__ import annotations

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import kdkit

PACKAGE = Path(kdkit.__file__).parent
ROOMS = (
    "cli", "pipeline", "testing", "report", "evaluation", "sweeps", "training", "logits", "runs", "store", "builtin",
    "models", "recipe", "plugins", "losses", "data", "api", "system", "errors",
)  # fmt: skip
"""From the top floor down."""

FLOORS = {
    "logits.cache": ("remote", "mending", ""),
    "report": ("closing", "", "parts", "numbers", "read", "page"),
}
"""Rooms within rooms that have an order, their floors from the top down; "" is for the room's own files."""

OUTSIDE = {"__init__", "__main__"}
"""The front door: public names, imported from any floor when they are first used; no room imports from it."""

MODULES = {
    ".".join(path.with_suffix("").parts).removesuffix(".__init__"): PACKAGE / path
    for path in sorted(file.relative_to(PACKAGE) for file in PACKAGE.rglob("*.py"))
}
"""Every module of kdkit by its name within it."""


def imported(tree: ast.Module, own: str) -> set[str]:
    """The modules of kdkit that a module imports, wherever it does and for whomever; without "kdkit."."""
    found = set()
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{own} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            package, _, rest = name.partition(".")
            if package == "kdkit":
                module = rest if rest in MODULES else rest.rpartition(".")[0]
                assert not module or module in MODULES, f"{own} imports {name}, which is not there"
                found.add(module or "__init__")
    return found - {own}


@cache
def arrows() -> dict[str, set[str]]:
    """Every module's imports."""
    return {name: imported(ast.parse(file.read_text(encoding="utf-8")), name) for name, file in MODULES.items()}


def room(module: str) -> str:
    """The room that a module is in."""
    return module.partition(".")[0]


def test_every_room_has_a_floor_and_every_floor_a_room():
    assert {room(module) for module in MODULES if module not in OUTSIDE} == set(ROOMS)
    assert len(ROOMS) <= 20


def test_a_module_imports_only_from_its_own_room_and_those_below():
    upwards = [
        f"{module} imports {other}"
        for module in sorted(MODULES.keys() - OUTSIDE)
        for other in sorted(arrows()[module])
        if other in OUTSIDE or ROOMS.index(room(module)) > ROOMS.index(room(other))
    ]
    assert upwards == []


def test_no_two_modules_import_each_other_however_far_round():
    try:
        tuple(TopologicalSorter(arrows()).static_order())
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


@pytest.mark.parametrize("outer", FLOORS)
def test_a_room_with_floors_imports_downwards_only(outer):
    inner = {name.removeprefix(f"{outer}."): name for name in MODULES if name.startswith(f"{outer}.")}
    floors = {
        name: short.partition(".")[0] if "." in short or short in FLOORS[outer] else "" for short, name in inner.items()
    }
    assert set(floors.values()) == set(FLOORS[outer])
    for module, floor in floors.items():
        for other in arrows()[module] & floors.keys():
            up = FLOORS[outer].index(floor) > FLOORS[outer].index(floors[other])
            assert not up, f"{module} imports {other}"


def test_what_components_are_is_reached_through_hooks_only():
    for module, others in arrows().items():
        if module not in OUTSIDE and room(module) not in {"builtin", "testing"}:
            reached = {other for other in others if room(other) in {"builtin", "testing"}}
            assert not reached, f"{module} imports {reached}"


def test_a_stage_imports_no_other():
    stages = {name for name in MODULES if name.startswith(STAGES)}
    for stage in stages:
        assert not arrows()[stage] & stages


STAGES = "pipeline.stages."


def test_the_reader_of_imports_sees_those_in_functions_and_those_for_type_checkers():
    source = "if TYPE_CHECKING:\n    import kdkit.errors\ndef f():\n    from kdkit.cli import output\nimport os\n"
    assert imported(ast.parse(source), "m") == {"errors", "cli.output"}


def test_a_module_fits_in_a_head():
    lines = {module: len(file.read_text(encoding="utf-8").splitlines()) for module, file in MODULES.items()}
    assert {module: count for module, count in lines.items() if count > 300} == {}
