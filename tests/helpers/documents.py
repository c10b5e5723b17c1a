"""What a page's document holds, for tests."""

from __future__ import annotations

from kdkit.report.page.document import Figures, Items, Sections
from kdkit.report.page.tables import Table


def part(document, key):
    """The part of a key."""
    return next(part for part in document.parts if part.key == key)


def tables(document, key):
    """A part's tables."""
    return part(document, key).each(Table)


def figures(document, key):
    """A part's figures."""
    return [figure for block in part(document, key).each(Figures) for figure in block.figures]


def charts(document, key):
    """Its drawings."""
    return [figure.chart for figure in figures(document, key)]


def sections(document):
    """The sections of what was run, by title."""
    (found,) = part(document, "origin").each(Sections)
    return {section.title: section.blocks for section in found.sections}


def items(blocks):
    """The labels and texts among blocks."""
    return {label: text for block in blocks if isinstance(block, Items) for label, text in block.items}
