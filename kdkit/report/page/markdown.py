"""The report as Markdown, for code forges and terminals; texts of models stand in fences that they cannot close."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kdkit.report.page import formats

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kdkit.report.parts.examples import Shown
    from kdkit.report.parts.provenance import Section
    from kdkit.report.parts.scores import Cell, Row, Table
    from kdkit.report.run import Page


def render(page: Page) -> str:
    """The page as Markdown. The same content gives the same text."""
    return formats.visible("\n".join(_blocks(page)) + "\n")


def fenced(text: str, language: str = "") -> str:
    """The text in a fence longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def plain(text: str) -> str:
    """The text on one line, with everything escaped that Markdown or HTML would take for markup."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", " ".join(text.split()))


def head(title: str, description: str, verdict: str, detail: str) -> Iterator[str]:
    """How a report begins."""
    yield f"# {plain(title)}\n"
    if description:
        yield f"{plain(description)}\n"
    yield f"**{plain(verdict)}**\n"
    if detail:
        yield f"{plain(detail)}\n"


def listed(sentence: str, members: Sequence[str]) -> Iterator[str]:
    """A sentence and the list that it announces; nothing where that is empty."""
    if members:
        yield f"{sentence}\n"
        yield "\n".join(f"- {plain(each)}" for each in members) + "\n"


def _blocks(page: Page) -> Iterator[str]:
    yield from head(page.title, page.description, page.verdict, page.verdict_detail)
    yield from listed("Not in this report:", page.missing)
    yield from _part("Scores", (*page.comparison, page.differences, *page.agreement, page.bins))
    yield from _part("Size and time", (page.costs,))
    if page.curve_table is not None:
        yield "## Training\n"
        yield "The curves are drawn in report.html; here are the numbers behind them.\n"
        yield tabled(page.curve_table)
    if page.examples.shown:
        yield "## Examples\n"
        yield f"{plain(page.examples_note)}\n"
        for index, shown in enumerate(page.examples.shown, 1):
            yield _example(index, shown)
    yield "## What was run\n"
    for section in page.sections:
        yield _section(section)
    if page.recipe:
        yield "To repeat it, from a folder in which the recipe's paths hold, with the path of this run folder:\n"
        yield f"{fenced(page.command, 'sh')}\n"
        yield folded("The recipe in full", fenced(page.recipe.rstrip("\n"), "toml"))


def _part(title: str, tables: Sequence[Table | None]) -> Iterator[str]:
    """Tables under a heading; no heading where there is none."""
    known = [table for table in tables if table is not None]
    if known:
        yield f"## {title}\n"
        yield from map(tabled, known)


def tabled(table: Table) -> str:
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
        return folded(table.title, body)
    return (f"### {plain(table.title)}\n\n" if table.title else "") + f"{body}\n"


def _row(row: Row) -> str:
    label = plain(row.label) + (f" ({plain(row.note)})" if row.note else "")
    return "| " + " | ".join([label, *map(_cell, row.cells)]) + " |"


def _cell(cell: Cell) -> str:
    notes = ", ".join(filter(None, (cell.note, cell.verdict)))
    return plain(cell.text) + (f" ({plain(notes)})" if notes else "")


def folded(title: str, body: str) -> str:
    """What is shown only when its title is clicked."""
    return f"<details><summary>{plain(title)}</summary>\n\n{body}\n\n</details>\n"


def _example(index: int, shown: Shown) -> str:
    blocks = [f"### {index}. {shown.kind}\n", f"{plain(shown.id)}\n", f"Truth:\n\n{fenced(shown.truth)}\n"]
    if shown.teacher is not None:
        blocks.append(f"Teacher, {verdict_of(is_right=shown.teacher_right)}:\n\n{fenced(shown.teacher)}\n")
    agreeing = ", as the teacher" if shown.models_agree else ""
    blocks.append(f"Student, {verdict_of(is_right=shown.student_right)}{agreeing}:\n\n{fenced(shown.student)}\n")
    blocks.append(folded(f"Source, {shown.source_length:,} characters", fenced(shown.source)))
    return "\n".join(blocks)


def verdict_of(*, is_right: bool) -> str:
    """`right` or `wrong`."""
    return "right" if is_right else "wrong"


def _section(section: Section) -> str:
    blocks = [f"### {plain(section.title)}\n"]
    if section.items:
        blocks.append("\n".join(f"- {plain(label)}: {plain(text)}" for label, text in section.items) + "\n")
    blocks += [tabled(table).replace("### ", "#### ", 1) for table in section.tables]
    if section.remarks:
        blocks.append("\n".join(f"- {plain(remark)}" for remark in section.remarks) + "\n")
    return "\n".join(blocks)
