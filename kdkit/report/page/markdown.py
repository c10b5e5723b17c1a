"""A page as Markdown, for code forges and terminals; texts of models stand in fences that they cannot close."""

from __future__ import annotations

import re
from functools import singledispatch
from typing import TYPE_CHECKING

from kdkit.report.page.document import Choice, Figures, Items, Listing, Remarks, Sections
from kdkit.report.page.dotplot import DotPlot
from kdkit.report.page.excerpts import Excerpts
from kdkit.report.page.tables import Table
from kdkit.system.wording import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kdkit.report.page.document import Document
    from kdkit.report.page.tables import Cell, Row


def render(page: Document) -> str:
    """The page as Markdown. The same content gives the same text."""
    return visible("\n".join(_page(page)) + "\n")


def fenced(text: str, language: str = "") -> str:
    """The text in a fence longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def plain(text: str) -> str:
    """The text on one line, with everything escaped that Markdown or HTML would take for markup."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", " ".join(text.split()))


def _page(page: Document) -> Iterator[str]:
    yield f"# {plain(page.title)}\n"
    if page.description:
        yield f"{plain(page.description)}\n"
    yield f"**{plain(page.verdict.sentence)}**\n"
    if page.verdict.support:
        yield f"{plain(page.verdict.support)}\n"
    if page.verdict.scope:
        yield f"{plain(page.verdict.scope)}\n"
    for block in page.opening:
        yield from _block(block, 2)
    if page.verdict.detail:
        yield f"{plain(page.verdict.detail)}\n"
    if page.warnings:
        yield f"{page.warned}\n"
        yield _listed(map(plain, page.warnings))
    for part in page.parts:
        yield f"## {plain(part.title)}\n"
        for block in part.blocks:
            yield from _block(block)


@singledispatch
def _block(block: object, level: int = 3) -> Iterator[str]:
    """A block; `level` is that of its own heading."""
    raise TypeError(f"a block of kind {type(block).__name__} at level {level}")


@_block.register(str)
def _(block: str, level: int = 3) -> Iterator[str]:  # noqa: ARG001 - it has no heading
    yield f"{plain(block)}\n"


@_block.register(Table)
def _(block: Table, level: int = 3) -> Iterator[str]:
    yield tabled(block, level)


@_block.register(Items)
def _(block: Items, level: int = 3) -> Iterator[str]:  # noqa: ARG001 - it has no heading
    yield _listed(f"{plain(label)}: {plain(text)}" for label, text in block.items)


@_block.register(Remarks)
def _(block: Remarks, level: int = 3) -> Iterator[str]:  # noqa: ARG001 - it has no heading
    text = _listed(map(plain, block.sentences))
    yield _folded(block.title, text.rstrip("\n")) if block.title else text


@_block.register(Listing)
def _(block: Listing, level: int = 3) -> Iterator[str]:
    text = fenced(block.text, block.language)
    yield _folded(block.title, text) if block.folded else _headed(block.title, text, level)


@_block.register(Sections)
def _(block: Sections, level: int = 3) -> Iterator[str]:
    for section in block.sections:
        yield f"{'#' * level} {plain(section.title)}\n"
        for inner in section.blocks:
            yield from _block(inner, level + 1)


@_block.register(Figures)
def _(block: Figures, level: int = 3) -> Iterator[str]:  # noqa: ARG001 - its heading is of the drawings
    """The numbers of the drawings; what is drawn alone is named."""
    alone = [plain(figure.chart.title) for figure in block.figures if figure.table is None]
    if alone:
        yield f"Drawn in the HTML page: {'; '.join(alone)}.\n"
    for figure in block.figures:
        if figure.table is not None:
            yield _folded(f"{figure.chart.title} (drawn in the HTML page)", tabled(figure.table).rstrip("\n"))


@_block.register(DotPlot)
def _(block: DotPlot, level: int = 3) -> Iterator[str]:
    yield tabled(block.table(), level)


@_block.register(Choice)
def _(block: Choice, level: int = 3) -> Iterator[str]:
    """The first set of blocks, and the others folded."""
    for index, (name, inner) in enumerate(block.options):
        text = "\n".join(line for each in inner for line in _block(each, level))
        yield _folded(f"{block.label}: {name}", text.rstrip("\n")) if index else text


@_block.register(Excerpts)
def _(block: Excerpts, level: int = 3) -> Iterator[str]:
    yield f"{plain(block.note)}\n"
    for index, shown in enumerate(block.shown, 1):
        yield f"{'#' * level} {index}. {shown.kind}\n\n{plain(shown.id)}\n\nTruth:\n\n{fenced(shown.truth)}\n"
        for each in shown.written:
            agreeing = ", as the teacher" if each.agrees else ""
            yield f"{each.model.replace('-', ' ').capitalize()}, {each.mark}{agreeing}:\n\n{fenced(each.text)}\n"
        yield _folded(f"Source, {shown.source_length:,} characters", fenced(shown.source))


def tabled(table: Table, level: int = 3) -> str:
    """A table under its title, which is a summary where the table is folded."""
    lines = []
    for group in table.groups:
        if group.title:
            note = f" ({plain(group.note)})" if group.note else ""
            lines.append(f"\n**{plain(group.title)}**{note}\n")
        lines.append("| " + " | ".join(map(plain, table.columns)) + " |")
        lines.append("| :--- |" + " ---: |" * (len(table.columns) - 1))
        lines += map(_row, group.rows)
    body = "\n".join(lines).strip("\n")
    if table.note:
        body += f"\n\n{plain(table.note)}"
    if table.folded:
        return _folded(table.title, body)
    return _headed(table.title, body, level) if table.title else f"{body}\n"


def _row(row: Row) -> str:
    label = plain(row.label) + (f" ({plain(row.note)})" if row.note else "")
    return "| " + " | ".join([label, *map(_cell, row.cells)]) + " |"


def _cell(cell: Cell) -> str:
    notes = ", ".join(filter(None, (cell.note, cell.verdict)))
    return plain(cell.text) + (f" ({plain(notes)})" if notes else "")


def _headed(title: str, body: str, level: int) -> str:
    return f"{'#' * level} {plain(title)}\n\n{body}\n"


def _folded(title: str, body: str) -> str:
    """What is shown only when its title is clicked."""
    return f"<details><summary>{plain(title)}</summary>\n\n{body}\n\n</details>\n"


def _listed(members: Iterable[str]) -> str:
    return "\n".join(f"- {each}" for each in members) + "\n"
