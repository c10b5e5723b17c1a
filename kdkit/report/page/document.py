"""A page as a value: a head, and parts made of blocks. What HTML, Markdown and the terminal show is made from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

import attrs

from kdkit.report.page.dotplot import DotPlot
from kdkit.report.page.excerpts import Excerpts
from kdkit.report.page.tables import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_Kind = TypeVar("_Kind")


class Chart(Protocol):
    """A drawing: its title, and how it is drawn."""

    @property
    def title(self) -> str:
        """What stands over it."""

    def svg(self, *, key: str) -> str:
        """The drawing as SVG; `key` keeps its ids apart from those of other charts of the page."""


@attrs.frozen(kw_only=True)
class Figure:
    """A drawing, and the numbers in it where no table of the page has them.

    Attributes:
        chart: The drawing.
        table: Its numbers.
        model: Whose it is, for the colour of its title.
    """

    chart: Chart
    table: Table | None = None
    model: str = ""


@attrs.frozen(kw_only=True)
class Figures:
    """Drawings side by side.

    Attributes:
        figures: The drawings.
        title: A heading; none where empty.
        note: How to read them; only where they are drawn.
        legend: Models and what their marks are called.
        look: "wide" for a drawing that a page opens with, "small" for many alike.
    """

    figures: tuple[Figure, ...]
    title: str = ""
    note: str = ""
    legend: tuple[tuple[str, str], ...] = ()
    look: str = ""


@attrs.frozen
class Items:
    """Labels and texts."""

    items: tuple[tuple[str, str], ...]


@attrs.frozen
class Remarks:
    """Sentences as a list; shown only when its title is clicked, where it has one."""

    sentences: tuple[str, ...]
    title: str = ""


@attrs.frozen(kw_only=True)
class Listing:
    """Text that is shown as it is, under a title."""

    title: str
    text: str
    language: str = ""
    folded: bool = False


SectionBlock = Table | Items | Remarks | Listing | DotPlot
"""What a section is made of."""


@attrs.frozen(kw_only=True)
class Section:
    """A smaller heading with blocks of its own."""

    title: str
    blocks: tuple[SectionBlock, ...]


@attrs.frozen
class Sections:
    """Sections side by side."""

    sections: tuple[Section, ...]


@attrs.frozen(kw_only=True)
class Choice:
    """Blocks of which one set is seen at a time: the first, until the reader picks another. It needs no script.

    Attributes:
        label: What is picked: "Metric".
        options: The name of each set, and its blocks.
    """

    label: str
    options: tuple[tuple[str, tuple[Block, ...]], ...]


Block = str | Table | Figures | Items | Listing | Sections | Excerpts | DotPlot | Choice
"""What a part is made of; a text is a paragraph."""


@attrs.frozen(kw_only=True)
class Part:
    """A heading with what stands under it.

    Attributes:
        key: Its place in the page, for links.
        title: The heading.
        blocks: The rest, in order.
    """

    key: str
    title: str
    blocks: tuple[Block, ...]

    def each(self, kind: type[_Kind]) -> tuple[_Kind, ...]:
        """Its blocks of a kind, those in choices too."""
        return tuple(block for block in _flat(self.blocks) if isinstance(block, kind))


def _flat(blocks: Iterable[Block]) -> Iterator[Block]:
    for block in blocks:
        yield block
        if isinstance(block, Choice):
            for _, inner in block.options:
                yield from _flat(inner)


@attrs.frozen
class Verdict:
    """What came of something.

    Attributes:
        sentence: It, in a sentence.
        detail: What its numbers are of, and how they came about.
        support: The numbers that it stands on, in a line below it.
        scope: How far these numbers reach, below them on a page.
    """

    sentence: str
    detail: str = ""
    support: str = ""
    scope: str = ""

    @property
    def text(self) -> str:
        """The sentence and its numbers."""
        return f"{self.sentence} {self.support}".strip()


@attrs.frozen(kw_only=True)
class Document:
    """A page.

    Attributes:
        title: Its name.
        kind: What it is, for the window's title: "sweep report".
        description: What was done.
        verdict: What came of it.
        opening: What shows it at a glance, right below.
        warned: What the warnings are.
        warnings: What is missing or to be careful about.
        parts: The rest.
        footer: What it was made from.
    """

    title: str
    kind: str
    description: str
    verdict: Verdict
    opening: tuple[Block, ...] = ()
    warned: str = "Before you rely on this:"
    warnings: tuple[str, ...]
    parts: tuple[Part, ...]
    footer: str
