"""A recipe in a line, and as a notebook shows it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from kdkit.system.wording import visible

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST = ("data", "teacher", "student", "codec", "loss")
"""Sections whose components say what a recipe is."""
LEFT = 'style="text-align:left"'


def line(name: str, components: Mapping[str, str]) -> str:
    """`<Recipe quickstart: data python-tests, teacher hf-seq2seq, student hf-seq2seq, codec u8-lz4, loss kd>`."""
    named = ", ".join(f"{section} {components[section]}" for section in FIRST)
    return f"<Recipe {visible(name)}: {named}>"


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
