r"""Data sets: the sources of rows.

A data set of your own is ten lines. It yields its rows, and nothing has to hold them all:

    @attrs.frozen(kw_only=True)
    class Quotes:
        path: str = option("The file: on each line a text, a tab and who said it.")

        def stream(self, progress):
            with open(self.path, encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    text, _, name = line.rstrip("\n").partition("\t")
                    row = Example(id=f"line {number}", source=text, target=name)
                    yield "validation" if is_split_off(row.id, 0.1) else "train", row

        def load(self, progress):
            return gathered(self.stream(progress))

`gathered` and `is_split_off` are in `kdkit.data`, beside readers of files; `kdkit.testing.check_dataset` is its test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kdkit.api.values import Corpus, Drop, Example, Origin, RecordedLogits, SplitName
    from kdkit.system.progress import Progress


@runtime_checkable
class DataSource(Protocol):
    """A data set (`[data]`)."""

    def load(self, progress: Progress) -> Corpus:
        """Read every row.

        Raises:
            MissingInput: The data are not where the options say.
            UsageError: There is no usable row in train or in validation.
        """
        ...


@runtime_checkable
class StreamedSource(DataSource, Protocol):
    """A data set whose rows need not fit in memory: kdkit then reads them by `stream`, and never calls `load`."""

    def stream(self, progress: Progress) -> Iterator[tuple[SplitName, Example] | Drop]:
        """Every row with its split, in the order of `load` within each; and what was left out, at any time.

        Drops of one reason are counted together, so a `Drop` may be of one row.

        Raises:
            MissingInput: The data are not where the options say.
            UsageError: A row is wrong; or, at the end, there was no usable row in train or in validation.
        """
        ...


@runtime_checkable
class PromptSource(StreamedSource, Protocol):
    """A data set that can keep training rows without a target, for a teacher that writes them."""

    def stream_prompts(self, progress: Progress) -> Iterator[tuple[SplitName, Example] | Drop]:
        """As `stream`, but a training row need not have a target, which is then empty."""
        ...


@runtime_checkable
class RecordedSource(DataSource, Protocol):
    """A data set whose rows came with a teacher's logits."""

    def recorded(self) -> Iterator[RecordedLogits]:
        """The logits of every row of the corpus, streamed: one row in memory at a time.

        A `RecordedLogits` is to be read before the next one is asked for. Captured logits are known by the rows: where
        the same rows may come with other logits, each row's `meta` has to hold a checksum of its own.
        """
        ...


@runtime_checkable
class KeyedSource(DataSource, Protocol):
    """A data set that takes long to read, and can say what its rows depend on: kdkit then keeps them in the store."""

    def inputs(self) -> Mapping[str, Any] | None:
        """What the rows depend on beside the options, as JSON: digests of files, versions of what reads them.

        None where it takes no longer to read them than to look for them in the store.
        """
        ...


@runtime_checkable
class FetchedSource(DataSource, Protocol):
    """A data set that `load` may have to fetch first."""

    def is_here(self) -> bool:
        """Whether the data set has been fetched; `kdkit plan` reads it only then."""
        ...


@runtime_checkable
class RowSource(DataSource, Protocol):
    """A data set that can turn a single row into an input, as `kdkit predict` needs for other files."""

    def prompt(self, row_id: str, row: Mapping[str, Any]) -> Example | str:
        """The example of a row that need not have a target (it is then empty), or why there is none.

        The reason ends the sentence "the row cannot be used because ...".
        """
        ...


@runtime_checkable
class AttributedSource(DataSource, Protocol):
    """A data set that knows where its rows came from, and under which licences: model cards say so."""

    def origins(self) -> Sequence[Origin]:
        """Each package, repository or archive that rows came from. Nothing is fetched."""
        ...
