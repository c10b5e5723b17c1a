"""The conformance check of data sets. Letters: T target tokens, V vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.errors import UsageError
from kdkit.testing.values import check_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdkit.api.interfaces import DataSource
    from kdkit.api.interfaces.data import RecordedSource, RowSource, StreamedSource
    from kdkit.api.values import Corpus, RecordedLogits

# Rows as somebody's file may hold them.
_ODD_ROWS: Sequence[Mapping[str, Any]] = ({}, {"source": None}, {"text": 3, "id": []}, {"nothing": "of it"})


def check_dataset(source: DataSource, *, rows: Sequence[Mapping[str, Any]] = ()) -> None:
    """Check that a data set keeps the promises of `kdkit.api.DataSource`, by reading it twice.

    - It is a value: its options are its identity.
    - `load` gives a `kdkit.api.Corpus` of `kdkit.api.Example`: ids, sources and targets that are text, ids that are
      unique, cuts within their source, `meta` that JSON can hold, and rows in train and in validation.
    - Every reading gives the same rows in the same order.
    - A `kdkit.api.StreamedSource` streams the same rows and drops.
    - A `kdkit.api.FetchedSource` is here once it was loaded.
    - A `kdkit.api.RecordedSource` gives the logits of every row once: float32, finite, `[T, V]` of one width V, and of
      fewer rows the first.
    - A `kdkit.api.RowSource` makes an input of a row, its target left empty, or says why not; it raises nothing.

    Args:
        source: The data set, with options that name data to read.
        rows: Of a `kdkit.api.RowSource`, some rows as its files hold them: `prompt` must make of each the source that
            `load` made of it.

    Raises:
        AssertionError: A promise is broken; the message says which and by what.
    """
    from kdkit.api.interfaces import DataSource, FetchedSource, RowSource
    from kdkit.api.interfaces.data import RecordedSource, StreamedSource

    check_value(source, DataSource)
    corpus = _loaded(source)
    _check_same(source, corpus, _loaded(source), "a second reading")
    _check_same(source, corpus, _loaded(attrs.evolve(source)), "a data set with the same options")  # type: ignore[misc]
    if isinstance(source, StreamedSource):
        _check_streamed(source, corpus)
    if isinstance(source, FetchedSource):
        assert source.is_here() is True, f"{source!r} was loaded, and says that it has not been fetched"
    if isinstance(source, RecordedSource):
        _check_recorded(source, corpus)
    if isinstance(source, RowSource):
        _check_prompts(source, corpus, rows)
    else:
        assert not rows, f"{source!r} has no method `prompt` that could be checked with rows="


def _loaded(source: DataSource) -> Corpus:
    from kdkit.data.given import checked_corpus
    from kdkit.system.progress import Silent

    try:
        return checked_corpus(source.load(Silent()), owner=repr(source))
    except UsageError as error:
        raise AssertionError(str(error)) from error


def _check_same(source: DataSource, one: Corpus, other: Corpus, what: str) -> None:
    from kdkit.api.values import SPLITS

    for split in SPLITS:
        ids, others = ([example.id for example in corpus.split(split)] for corpus in (one, other))
        assert ids == others, f"{source!r} gives other ids, or another order, in {split} at {what}"
        for row, again in zip(one.split(split), other.split(split), strict=True):
            assert row == again, f'{source!r} gives another row "{row.id}" at {what}'


def _check_streamed(source: StreamedSource, corpus: Corpus) -> None:
    from kdkit.data import gathered
    from kdkit.data.given import checked_stream
    from kdkit.data.streams import merged
    from kdkit.system.progress import Silent

    streamed = gathered(checked_stream(source.stream(Silent()), owner=repr(source)))
    _check_same(source, corpus, streamed, "streaming")
    assert streamed.drops == merged(corpus.drops), f"{source!r} streams other drops than `load` gives"


def _check_recorded(source: RecordedSource, corpus: Corpus) -> None:
    from kdkit.api.values import SPLITS

    left = {example.id for split in SPLITS for example in corpus.split(split)}
    widths: set[int] = set()
    for recorded in source.recorded():
        assert recorded.id in left, f'{source!r} has logits of "{recorded.id}", which is not a row, or has them twice'
        left.discard(recorded.id)
        widths.add(_width(source, recorded))
        assert len(widths) == 1, f"{source!r} has logits of several widths: {', '.join(map(str, sorted(widths)))}"
    assert not left, f'{source!r} has no logits of "{min(left)}"' if left else ""


def _width(source: RecordedSource, recorded: RecordedLogits) -> int:
    import numpy as np

    what = f'{source!r}: the logits of "{recorded.id}"'
    whole_TV, _ = recorded.read(recorded.tokens)
    assert whole_TV.dtype == np.float32, f"{what} are {whole_TV.dtype}, and must be float32"
    assert whole_TV.ndim == 2, f"{what} have the shape {whole_TV.shape}; it must be tokens x vocabulary"
    assert len(whole_TV) == recorded.tokens, f"{what} have {len(whole_TV)} rows, and {recorded.tokens} are promised"
    assert np.isfinite(whole_TV).any(axis=1).all(), f"{what} have a row without any finite number"
    first_TV, _ = recorded.read(1)
    assert np.array_equal(first_TV, whole_TV[:1]), f"{what} are others where fewer rows are read"
    return int(whole_TV.shape[1])


def _check_prompts(source: RowSource, corpus: Corpus, rows: Sequence[Mapping[str, Any]]) -> None:
    from kdkit.api.values import SPLITS, Example
    from kdkit.data.given import checked_prompt

    every = [example for split in SPLITS for example in corpus.split(split)]
    known = {example.target if example.form == "text" else example.source for example in every}
    for row in (*_ODD_ROWS, *rows):
        before = dict(row)
        try:
            made = checked_prompt(source.prompt("place:1", row), owner=repr(source))
        except UsageError as error:
            raise AssertionError(str(error)) from error
        except Exception as error:
            raise AssertionError(f"{source!r} meets the row {row!r} with {type(error).__name__}: {error}") from error
        assert dict(row) == before, f"{source!r} changes the row that it makes an input of"
        if isinstance(made, Example):
            assert made.id == "place:1", (
                f'{source!r} gives the input of a row the id "{made.id}" instead of the given one'
            )
            assert made.target == "", f"{source!r} gives an input a target"
        if row in rows:
            assert isinstance(made, Example), f"{source!r} makes no input of {row!r}: {made}"
            assert made.source in known, f"{source!r} makes of {row!r} another source than when it is loaded"
