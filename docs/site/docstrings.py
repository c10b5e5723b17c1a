"""Docstrings for Sphinx: they are written as Markdown with Google's sections, and Sphinx reads reStructuredText.

Runs before napoleon, which makes the sections.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs
from api_pages import public_names

if TYPE_CHECKING:
    from sphinx.application import Sphinx

CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
BULLET = re.compile(r"(?:[-*]|\d+\.) ")
# What reStructuredText would take for markup, and Markdown does not.
MARKUP = re.compile(r"[*|]|(?<=\w)_(?!\w)")
CELLS = re.compile(r"\S {2,}\S")


def as_rst(lines: list[str]) -> list[str]:
    """A docstring's lines as reStructuredText; blocks that are indented after an empty line are code."""
    made: list[str] = []
    in_code, in_list, base = False, False, 0
    for index, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        before = lines[index - 1] if index else ""
        if in_code and (not line.strip() or indent >= base + 4):
            made.append(line)
            continue
        in_code = False
        if line.strip() and not before.strip() and indent >= base + 4 and not in_list:
            in_code = True
            made += [f"{' ' * base}.. code-block:: {_language(lines[index:])}", "", line]
            continue
        if line.strip():
            base = indent
            in_list = bool(BULLET.match(line.strip())) or (in_list and bool(before.strip()))
        made.append(_line(line))
    return made


def _language(lines: list[str]) -> str:
    return "python" if re.match(r"\s*(@|def |class |import |from |with |[\w.]+\()", lines[0]) else "text"


def _line(line: str) -> str:
    """One line: code in backticks is a link where it names something public."""
    bullet = BULLET.match(line.strip())
    start = len(line) - len(line.lstrip()) + (bullet.end() if bullet else 0)
    pieces = CODE.split(line[start:])
    pieces[::2] = [MARKUP.sub(lambda match: f"\\{match[0]}", piece) for piece in pieces[::2]]
    pieces[1::2] = [_code(piece) for piece in pieces[1::2]]
    return line[:start] + _apart(pieces)


def _apart(pieces: list[str]) -> str:
    """Markup must stand apart from letters: `Args`s would not be read."""
    text = pieces[0]
    for code, after in zip(pieces[1::2], pieces[2::2], strict=True):
        opening = "\\ " if text and text[-1].isalnum() else ""
        closing = "\\ " if after and after[0].isalnum() else ""
        text += f"{opening}{code}{closing}{after}"
    return text


def _code(name: str) -> str:
    target = public_names().get(name)
    if target is None and "." in name:  # a method or an attribute
        owner, _, member = name.rpartition(".")
        found = public_names().get(owner)
        target = f"{found}.{member}" if found else None
    return f":py:obj:`{name} <{target}>`" if target else f"``{name}``"


def _process(_app: Sphinx, what: str, name: str, obj: Any, _options: Any, lines: list[str]) -> None:
    made = as_rst(lines)
    if what == "class" and attrs.has(obj):
        made += ["", *_options_of(obj)]
    lines[:] = made
    del name


def _options_of(cls: type[Any]) -> list[str]:
    """The fields of an attrs class that are options of a recipe, with their help."""
    fields = [field for field in attrs.fields(cls) if "help" in field.metadata]
    return [f":ivar {field.name}: {_line(str(field.metadata['help']))}" for field in fields]


def _signature(_app: Sphinx, what: str, _name: str, obj: Any, _options: Any, signature: str, returned: str) -> Any:
    """Nobody calls an interface, and the arguments that Python gives one say nothing."""
    is_interface = what == "class" and getattr(obj, "_is_protocol", False)
    return ("", None) if is_interface else (signature, returned)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the above."""
    app.connect("autodoc-process-docstring", _process, priority=100)
    app.connect("autodoc-process-signature", _signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
