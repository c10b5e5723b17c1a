"""A document of several runs as one HTML file and as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.page import formats
from kdkit.report.page.charts.lines import draw
from kdkit.report.page.html import drawn, fill
from kdkit.report.page.markdown import fenced, folded, head, listed, plain, tabled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdkit.report.page.document import Document, Listing, Part


def to_html(page: Document) -> str:
    """The document as a page. The same content gives the same text."""
    parts = [
        {
            "key": part.key,
            "title": part.title,
            "text": part.text,
            "tables": part.tables,
            "is_wordy": part.is_wordy,
            "details": part.details,
            "facts": part.facts,
            "listings": part.listings,
            "figures": [
                (figure.chart, drawn(draw(figure.chart, key=f"{part.key}-{index}")), figure.table)
                for index, figure in enumerate(part.figures)
            ],
        }
        for part in page.parts
    ]
    return fill("sweep.html.j2", page=page, parts=parts)


def to_markdown(page: Document) -> str:
    """The document as Markdown; the same content gives the same text."""
    return formats.visible("\n".join(_blocks(page)) + "\n")


def _blocks(page: Document) -> Iterator[str]:
    yield from head(page.title, page.description, page.verdict, page.detail)
    yield from listed("Before you rely on this:", page.warnings)
    for part in page.parts:
        yield f"## {plain(part.title)}\n"
        yield from _part(part)


def _part(part: Part) -> Iterator[str]:
    for sentence in part.text:
        yield f"{plain(sentence)}\n"
    yield from map(tabled, part.tables)
    for figure in part.figures:
        yield folded(f"{figure.chart.title} (drawn in the HTML page)", tabled(figure.table).rstrip("\n"))
    yield from map(tabled, part.details)
    if part.facts:
        yield "\n".join(f"- {plain(label)}: {plain(text)}" for label, text in part.facts) + "\n"
    yield from map(_listing, part.listings)


def _listing(listing: Listing) -> str:
    text = fenced(listing.text, listing.language)
    return folded(listing.title, text) if listing.folded else f"### {plain(listing.title)}\n\n{text}\n"
