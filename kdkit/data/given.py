"""Checks once what a data set returns: a plugin's may return anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdkit.api.values import SPLITS, Corpus, Cut, Drop, Example
from kdkit.errors import PluginError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kdkit.api.values import SplitName

PLACES_SHOWN = 120
"""Characters; longer lists of places stand in `data/report.json` only."""
_SHOWN = 60
_MENDED = "its plugin must be fixed"


def checked_corpus(given: Any, *, owner: str) -> Corpus:
    """The result of `kdkit.api.DataSource.load`, if it is a usable corpus.

    Args:
        given: What it gave.
        owner: Whose it is, for messages: `data set "jsonl"`.

    Raises:
        PluginError: It is something else, or has a row or a value of the wrong kind.
        UsageError: There are no training or no validation rows, or two rows have one id.
    """
    for sentence in _faults(given):
        raise PluginError(f"{owner} {sentence}; {_MENDED} (kdkit.testing.check_dataset)")
    assert isinstance(given, Corpus)
    for split in ("train", "validation"):
        if not given.split(split):
            raise UsageError(f"the data set has no usable {split} rows{_reasons(given.drops)}")
    seen: set[str] = set()
    for split in SPLITS:
        for example in given.split(split):
            if example.id in seen:
                raise UsageError(f'two rows of the data set have the id "{example.id}"; ids must be unique')
            seen.add(example.id)
    return given


def checked_stream(given: Iterable[Any], *, owner: str) -> Iterator[tuple[SplitName, Example] | Drop]:
    """What `kdkit.api.StreamedSource.stream` gives, each a split with what `checked_corpus` takes for a row, or a drop.

    Raises:
        PluginError: It gives something else.
    """
    for each in given:
        is_row = isinstance(each, tuple) and len(each) == len(("split", "row")) and each[0] in SPLITS
        if not is_row and not isinstance(each, Drop):
            raise PluginError(
                f"{owner} streams {_kind(each)} instead of a kdkit.api.Drop or one of {', '.join(SPLITS)} with a "
                f"kdkit.api.Example; {_MENDED} (kdkit.testing.check_dataset)"
            )
        yield each


def checked_prompt(given: Any, *, owner: str) -> Example | str:
    """The result of `kdkit.api.RowSource.prompt`: an example, or the reason why there is none.

    Raises:
        PluginError: It is neither.
    """
    if isinstance(given, str):
        return given
    for sentence in _faults_of_row(given):
        raise PluginError(f"{owner} makes {sentence} from a row; {_MENDED}")
    assert isinstance(given, Example)
    return given


def reason_of(drop: Drop) -> str:
    """The rows left out, as a sentence."""
    places = f" ({', '.join(drop.first)}{', ...' if drop.count > len(drop.first) else ''})" if drop.first else ""
    sentence = f"{drop.count:,} left out, each because {drop.reason}"
    return sentence + (places if len(places) <= PLACES_SHOWN else "")


def _reasons(drops: tuple[Drop, ...]) -> str:
    return f": {'; '.join(map(reason_of, drops))}" if drops else ""


def _faults(given: Any) -> Iterator[str]:
    if not isinstance(given, Corpus):
        yield f"returns {_kind(given)} instead of a kdkit.api.Corpus"
        return
    for split in SPLITS:
        rows: Any = given.split(split)
        if not isinstance(rows, tuple | list):
            yield f"returns {_kind(rows)} as {split} rows instead of a tuple of kdkit.api.Example"
            return
        for number, row in enumerate(rows):
            for sentence in _faults_of_row(row):
                yield f"returns {sentence} as row {number} of {split}"
    for drop in given.drops:
        if not isinstance(drop, Drop):
            yield f"returns {_kind(drop)} among its drops instead of a kdkit.api.Drop"


def _faults_of_row(row: Any) -> Iterator[str]:
    if not isinstance(row, Example):
        yield f"{_kind(row)} instead of a kdkit.api.Example"
        return
    texts = {"id": row.id, "source": row.source, "target": row.target}
    if row.prediction is not None:
        texts["prediction"] = row.prediction
    for name, value in texts.items():
        if not isinstance(value, str):
            yield f"an example whose {name} is {_kind(value)} instead of text"
        elif not _is_unicode(value):
            yield f"an example whose {name} holds half a character (a lone surrogate), which UTF-8 cannot hold"
    if isinstance(row.id, str) and not row.id:
        yield "an example without an id"
    if isinstance(row.source, str):
        yield from _faults_of_cuts(row)
    if not isinstance(row.meta, Mapping):
        yield f"an example whose meta is {_kind(row.meta)} instead of a mapping"
    elif row.meta and not _is_json(row.meta):
        yield "an example whose meta holds a value that JSON cannot"


def _faults_of_cuts(row: Example) -> Iterator[str]:
    cuts: Any = row.cuts
    if not isinstance(cuts, tuple | list):
        yield f"an example whose cuts are {_kind(cuts)} instead of a tuple of kdkit.api.Cut"
        return
    for cut in cuts:
        if not isinstance(cut, Cut):
            yield f"an example with {_kind(cut)} among its cuts instead of a kdkit.api.Cut"
        elif not (
            all(isinstance(place, int) for place in (cut.start, cut.end, cut.drop_start, cut.drop_end))
            and 0 <= cut.start <= cut.end <= len(row.source)
            and 0 <= cut.drop_start <= cut.drop_end <= len(row.source)
        ):
            yield f"an example with a cut that is not within its source of {len(row.source)} characters: {cut}"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_json(meta: Mapping[str, Any]) -> bool:
    try:
        json.dumps(dict(meta)).encode()
    except (TypeError, ValueError, RecursionError):
        return False
    return all(isinstance(key, str) for key in meta)


def _kind(value: Any) -> str:
    """A value of the wrong kind, for messages: its type, and its text if that is short."""
    if value is None:
        return "None"
    shown = repr(value)
    kind = type(value).__name__
    return f"{kind} {shown}" if len(shown) <= _SHOWN else f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"
