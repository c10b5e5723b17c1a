"""The map in docs/map.md: every room and sub-room has a line there, and every line is of something that exists."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from pages import ROOT, read

PAGE = read(ROOT / "docs" / "map.md")


def drawn():
    """The entries of the tree, path and description, in the order of the page."""
    text = re.search(r"<!-- tree -->\n```text\n(.*?)```\n<!-- end -->", PAGE, re.DOTALL)[1]
    above, found = [], []
    for line in text.splitlines():
        indent, name, said = re.fullmatch(r"((?:  )*)(\S+)\s*(.*)", line).groups()
        above[len(indent) // 2 :] = [name.rstrip("/")]
        found.append(("/".join(above) + "/" * name.endswith("/"), said))
    return found


def test_every_room_and_sub_room_has_a_line_and_every_line_is_of_what_is_there():
    packages = {f"{file.parent.relative_to(ROOT)}/" for file in (ROOT / "kdkit").rglob("__init__.py")}
    paths = [path for path, _ in drawn()]
    assert {path for path in paths if path.endswith("/")} == packages
    assert not [path for path in paths if not (ROOT / path).exists()]
    assert len(set(paths)) == len(paths)


def test_every_line_says_what_is_there():
    assert not [path for path, said in drawn()[1:] if not said]


def test_the_rooms_stand_in_the_order_of_their_floors():
    rooms = [Path(path).stem for path, _ in drawn() if path.count("/") - path.endswith("/") == 1]
    assert rooms == list(runpy.run_path(str(ROOT / "tests" / "test_layers.py"))["ROOMS"])


def test_every_path_that_the_map_names_exists():
    named = re.findall(r"`((?:kdkit|tests|recipes|plugins|benchmarks)/[\w./]*)`", PAGE)
    assert len(named) > 20
    assert not [path for path in named if not (ROOT / path).exists()]


def test_the_first_lines_of_the_readme_lead_to_the_map():
    assert "(docs/map.md)" in "".join(read(ROOT / "README.md").splitlines()[:12])
