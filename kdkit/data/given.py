"""Checks once what a data set returns: a plugin's may return anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kdkit.api.values import FORMS, SPLITS, Corpus, Cut, Drop, Example, SplitName
from kdkit.data.chats import NO_ANSWER, fault_of
from kdkit.data.columns import Ragged
from kdkit.data.encoded_rows import IdIndex
from kdkit.data.streams import merged
from kdkit.data.text_rows import GrowingTexts, TextRows
from kdkit.errors import PluginError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PLACES_SHOWN = 120
"""Characters, of the first places; more of them stand in `data/report.json`."""
_SHOWN = 60
_MENDED = "its plugin must be fixed"
_MENDED_BY = f"{_MENDED} (kdkit.testing.check_dataset)"
_NEEDED: tuple[SplitName, ...] = ("train", "validation")


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
        raise PluginError(f"{owner} {sentence}; {_MENDED_BY}")
    assert isinstance(given, Corpus)
    _check_parts(given)
    seen: set[str] = set()
    for split in SPLITS:
        for example in given.split(split):
            _check_id(example.id if example.id in seen else None)
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
                f"kdkit.api.Example; {_MENDED_BY}"
            )
        yield each


def read_stream(given: Iterable[Any], *, owner: str, to_write: bool = False) -> Corpus:
    """The corpus that a data set streams, in columns, if it can be used.

    Args:
        given: What `kdkit.api.StreamedSource.stream` gave.
        owner: Whose it is, for messages.
        to_write: Whether a conversation that nobody has answered may be among the training rows.

    Raises:
        PluginError: It gives something else than rows, or a row or value of the wrong kind.
        UsageError: There are no training or no validation rows, or two rows have one id.
    """
    growing = {split: GrowingTexts() for split in SPLITS}
    counts = dict.fromkeys(SPLITS, 0)
    drops: list[Drop] = []
    for each in checked_stream(given, owner=owner):
        if isinstance(each, Drop):
            drops.append(each)
            continue
        split, row = each
        for sentence in _faults_of_row(row, to_answer=to_write and split == "train"):
            raise PluginError(f"{owner} gives as row {counts[split]} of {split} {sentence}; {_MENDED_BY}")
        growing[split].add(row)
        counts[split] += 1
    rows = {split: growing[split].done() for split in SPLITS}
    corpus = Corpus(train=rows["train"], validation=rows["validation"], test=rows["test"], drops=merged(drops))
    _check_parts(corpus)
    ids = Ragged.joined([each.columns.ids for each in rows.values()])
    _check_id(IdIndex.of(ids, np.arange(len(ids))).repeated())
    return corpus


def _check_parts(corpus: Corpus) -> None:
    for split in _NEEDED:
        if not corpus.split(split):
            raise UsageError(f"the data set has no usable {split} rows{_reasons(corpus.drops)}")


def _check_id(repeated: str | None) -> None:
    if repeated is not None:
        raise UsageError(f'two rows of the data set have the id "{repeated}"; ids must be unique')


def checked_prompt(given: Any, *, owner: str) -> Example | str:
    """The result of `kdkit.api.RowSource.prompt`: an example, or the reason why there is none.

    Raises:
        PluginError: It is neither.
    """
    if isinstance(given, str):
        return given
    for sentence in _faults_of_row(given, to_answer=True):
        raise PluginError(f"{owner} makes {sentence} from a row; {_MENDED}")
    assert isinstance(given, Example)
    return given


def reason_of(drop: Drop) -> str:
    """The rows left out, as a sentence."""
    sentence = f"{drop.count:,} left out, each because {drop.reason}"
    if not drop.first:
        return sentence
    fitting = list(drop.first)
    while len(fitting) > 1 and len(", ".join(fitting)) > PLACES_SHOWN:
        fitting.pop()
    return f"{sentence} ({', '.join(fitting)}{', ...' if drop.count > len(fitting) else ''})"


def _reasons(drops: tuple[Drop, ...]) -> str:
    return f": {'; '.join(map(reason_of, drops))}" if drops else ""


def _faults(given: Any) -> Iterator[str]:
    if not isinstance(given, Corpus):
        yield f"returns {_kind(given)} instead of a kdkit.api.Corpus"
        return
    for split in SPLITS:
        rows: Any = given.split(split)
        if not isinstance(rows, tuple | list | TextRows):
            yield f"returns {_kind(rows)} as {split} rows instead of a tuple of kdkit.api.Example"
            return
        for number, row in enumerate(rows):
            for sentence in _faults_of_row(row):
                yield f"returns {sentence} as row {number} of {split}"
    for drop in given.drops:
        if not isinstance(drop, Drop):
            yield f"returns {_kind(drop)} among its drops instead of a kdkit.api.Drop"


def _faults_of_row(row: Any, *, to_answer: bool = False) -> Iterator[str]:
    if not isinstance(row, Example):
        yield f"{_kind(row)} instead of a kdkit.api.Example"
        return
    texts = {"id": row.id, "source": row.source, "target": row.target}
    texts |= {name: text for name in ("prediction", "document") if (text := getattr(row, name)) is not None}
    for name, value in texts.items():
        if not isinstance(value, str):
            yield f"an example whose {name} is {_kind(value)} instead of text"
        elif not _is_unicode(value):
            yield f"an example whose {name} holds half a character (a lone surrogate), which UTF-8 cannot hold"
    if isinstance(row.id, str) and not row.id:
        yield "an example without an id"
    if isinstance(row.source, str):
        yield from _faults_of_cuts(row)
    yield from _faults_of_form(row, to_answer=to_answer)
    if not isinstance(row.meta, Mapping):
        yield f"an example whose meta is {_kind(row.meta)} instead of a mapping"
    elif row.meta and not _is_json(row.meta):
        yield "an example whose meta holds a value that JSON cannot"


def _faults_of_form(row: Example, *, to_answer: bool) -> Iterator[str]:
    if row.form not in FORMS:
        yield f"an example whose form is {_kind(row.form)} instead of one of {', '.join(FORMS)}"
    elif row.form == "chat" and isinstance(row.target, str) and (fault := fault_of(row.target)):
        if to_answer and fault == NO_ANSWER:
            return
        yield f"a chat whose target {fault} (kdkit.data.chat makes one)"


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
