"""A recipe in a line, and as a notebook and a terminal show it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from kdkit.system.wording import visible

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType

FIRST = ("data", "teacher", "student", "codec", "loss")
"""Sections whose components say what a recipe is."""
LEFT = 'style="text-align:left"'


def line(name: str, components: Mapping[str, str]) -> str:
    """`<Recipe quickstart: data python-tests, teacher hf-seq2seq, student hf-seq2seq, codec u8-lz4, loss kd>`."""
    named = ", ".join(f"{section} {components[section]}" for section in FIRST)
    return f"<Recipe {visible(name)}: {named}>"


def rich(name: str, description: str, components: Mapping[str, str]) -> RenderableType:
    """Its name, what it does, and its components."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    for section, component in components.items():
        table.add_row(Text(section, style="bold"), Text(component))
    described = [Text(visible(description))] if description else []
    return Group(Text.assemble((visible(name), "bold"), " (recipe)"), *described, table)


def html(name: str, description: str, components: Mapping[str, str], toml: str) -> str:
    """Its name, what it does, its components, and every option in a part that opens."""
    described = f"<p>{escape(visible(description))}</p>" if description else ""
    rows = "".join(
        f"<tr><th {LEFT}>{section}</th><td {LEFT}>{escape(each)}</td></tr>" for section, each in components.items()
    )
    return (
        f"<div><b>{escape(visible(name))}</b> (recipe){described}<table>{rows}</table><details>"
        "<summary>All options, defaults included</summary>"
        f"<pre>{escape(visible(toml))}</pre></details></div>"
    )
