"""Texts of models beside the truth: some that a page shows, and all that its browser goes through."""

from __future__ import annotations

import attrs

LINE = 200
"""Characters of a source that stand on one line above what models wrote for it."""


@attrs.frozen(kw_only=True)
class Written:
    """What a model wrote for a row.

    Attributes:
        model: The model.
        text: Its text.
        is_right: Whether it is the truth.
        agrees: Whether it is the teacher's too; False for the teacher.
        beside_truth: The text with its differences from the truth; see `textdiff`.
    """

    model: str
    text: str
    is_right: bool
    agrees: bool = False
    beside_truth: tuple[str, ...] = ()

    @property
    def mark(self) -> str:
        """`right` or `wrong`."""
        return "right" if self.is_right else "wrong"


@attrs.frozen(kw_only=True)
class Excerpt:
    """One row: its texts shortened, and what agrees with what."""

    id: str
    kind: str
    source: str
    source_length: int
    truth: str
    written: tuple[Written, ...]

    @property
    def line(self) -> str:
        """The source on one line, as much of it as a line can hold."""
        return " ".join(self.source.split())[:LINE]

    def text_of(self, model: str) -> Written | None:
        """What a model wrote."""
        return next((each for each in self.written if each.model == model), None)


@attrs.frozen(kw_only=True)
class Rows:
    """Rows for the page's browser.

    Attributes:
        json: The rows and what they can be filtered by, as no text can break out of it.
        models: The models that wrote texts, by name, and what they are called.
        kinds: The kinds of rows there are.
        answerable: Whether rows say if they can be answered.
        shown: How many rows there are in it.
        total: How many were held out and written for.
    """

    json: str
    models: tuple[tuple[str, str], ...]
    kinds: tuple[str, ...]
    answerable: bool
    shown: int
    total: int

    @property
    def note(self) -> str:
        """Which rows these are."""
        if self.shown == self.total:
            return f"All {self.total:,} held-out rows"
        return (
            f"{self.shown:,} of {self.total:,} held-out rows, drawn by a hash of the seed and the row's id so that "
            "this page stays small"
        )


@attrs.frozen(kw_only=True)
class Excerpts:
    """Texts of models: how those that are shown were picked, these, and what a browser with JavaScript goes through."""

    note: str
    shown: tuple[Excerpt, ...]
    rows: Rows
