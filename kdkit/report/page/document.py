"""A page of parts: what reports on several runs say, as values that become HTML and Markdown alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from kdkit.report.page.charts.lines import Chart
    from kdkit.report.parts.scores import Table


@attrs.frozen(kw_only=True)
class Figure:
    """A drawing, and the numbers in it."""

    chart: Chart
    table: Table


@attrs.frozen(kw_only=True)
class Listing:
    """Text that is to be shown as it is, under a sentence."""

    title: str
    text: str
    language: str = ""
    folded: bool = False


@attrs.frozen(kw_only=True)
class Part:
    """A heading with what stands under it, in this order.

    Attributes:
        key: Its place in the page, for links.
        title: The heading.
        text: Sentences, a paragraph each.
        tables: Tables.
        is_wordy: Whether the tables hold words, which wrap, and not numbers.
        figures: Drawings, each with its numbers.
        details: What is shown folded.
        facts: Labels and texts.
        listings: Texts as they are.
    """

    key: str
    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    is_wordy: bool = False
    figures: tuple[Figure, ...] = ()
    details: tuple[Table, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    listings: tuple[Listing, ...] = ()


@attrs.frozen(kw_only=True)
class Document:
    """A page.

    Attributes:
        title: Its name.
        kind: What it is, for the window's title: "sweep report".
        description: What was done.
        verdict: What came of it, in a sentence.
        detail: What the sentence stands on.
        warnings: What is missing or to be careful about.
        parts: The rest.
        footer: What it was made from.
    """

    title: str
    kind: str
    description: str
    verdict: str
    detail: str
    warnings: tuple[str, ...]
    parts: tuple[Part, ...]
    footer: str
