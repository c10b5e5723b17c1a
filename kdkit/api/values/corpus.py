"""A data set's rows, as text and as token ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


SplitName: TypeAlias = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
Form: TypeAlias = Literal["pair", "text", "chat"]
FORMS: tuple[Form, ...] = ("pair", "text", "chat")


@attrs.frozen(kw_only=True)
class Cut:
    """A stretch of an example's source that may be shortened when the source has too many tokens.

    Attributes:
        start: First character of what may be shortened.
        end: Character after its last.
        drop_start: First character of what goes when the stretch is dropped (it and the text that introduces it).
        drop_end: Character after the last of that.
        drop_below: Drop rather than shorten when fewer than this many tokens would be left.
        keep: Which end of the stretch is kept when it is shortened.
    """

    start: int
    end: int
    drop_start: int
    drop_end: int
    drop_below: int = 0
    keep: Literal["head", "tail"] = "head"


@attrs.frozen(kw_only=True)
class Example:
    """One row of a data set, as text.

    Attributes:
        id: Unique within the corpus, and the same at every reading.
        source: What the model reads.
        target: The ground truth: what the model should write, and what is distilled. Of a text all of it, and of a
            chat the conversation as JSON (see `form`).
        cuts: What to shorten, in this order, when `source` is too long. With none (or when they do not suffice)
            the end of the source is cut off.
        prediction: The teacher's text for the row where the data set came with one (see the `recorded` teacher).
        meta: Facts that metric suites and reports use; values that JSON can hold.
        document: What the row is a part of, where it is a part: the id of the text that it is a block of, or of the
            conversation that it is a turn of. Rows of one document are not independent of each other.
        form: "pair", a source with its target; "text", a text without a prompt, which decoder-only models read in
            blocks; or "chat", a conversation, of which they learn each of the assistant's turns. `kdkit.data.chat`
            makes the last.
    """

    id: str
    source: str
    target: str
    cuts: tuple[Cut, ...] = ()
    prediction: str | None = None
    meta: Mapping[str, Any] = attrs.field(factory=dict)
    document: str | None = None
    form: Form = "pair"


@attrs.frozen(kw_only=True)
class Drop:
    """Rows that a data set left out, and why.

    Attributes:
        reason: Why, as the end of the sentence "dropped because ...": "it has no target".
        count: How many.
        first: Where the first few stand: `file:line`.
    """

    reason: str
    count: int
    first: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Corpus:
    """All rows of a data set. `test` may be empty: evaluation then uses `validation`.

    A data set gives tuples. What kdkit read or kept is in columns, and each `Example` is made when it is looked at.
    """

    train: Sequence[Example]
    validation: Sequence[Example]
    test: Sequence[Example] = ()
    drops: tuple[Drop, ...] = ()

    def split(self, name: SplitName) -> Sequence[Example]:
        """The rows of one split."""
        rows: Sequence[Example] = getattr(self, name)
        return rows

    @property
    def held_out(self) -> Sequence[Example]:
        """The rows that evaluation scores: `test` where there is one, else `validation`."""
        return self.test or self.validation


@attrs.frozen(kw_only=True)
class EncodedExample:
    """One row as token ids.

    Attributes:
        id: The example's id.
        source_ids: Encoder input, special tokens included.
        target_ids: Labels, special tokens included; the decoder reads them shifted right by one.
    """

    id: str
    source_ids: tuple[int, ...]
    target_ids: tuple[int, ...]
