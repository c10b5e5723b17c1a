"""Finds before training what a run's data cannot teach, and refuses data from which nothing can be learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kdkit.data.given import reason_of
from kdkit.data.reading import Mark
from kdkit.data.reading_notes import notes_on_reading
from kdkit.data.text_rows import targets_of
from kdkit.data.tokens import CHUNK, Ends
from kdkit.errors import UsageError
from kdkit.system.wording import first_few, plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from kdkit.api.values import Example
    from kdkit.data.encoded_rows import EncodedRows
    from kdkit.data.rows import Rows
    from kdkit.recipe import Recipe

NAMED = 100
"""Rows of which the first few are named."""
SHOWN = 60
"""Characters of a text in a message."""


def check_read(rows: Rows, split: str) -> None:
    """Refuse examples of which nothing is read.

    Raises:
        UsageError: Says why nothing is.
    """
    if rows.chosen and not len(rows.encoded):
        reasons = "; ".join(map(reason_of, rows.left_out)) or "none has anything to learn"
        raise UsageError(
            f"none of {plural(len(rows.chosen), f'{split} conversation')} can be read: {reasons}; use other data, or a "
            "tokenizer with another chat template"
        )


def doubts(recipe: Recipe, rows: Rows | None, ends: Mapping[str, frozenset[int]]) -> Iterator[str]:
    """A sentence for each thing that the models will not learn, or will learn wrong.

    Also what the fewer rows cannot teach that one of two trainings reads.

    Args:
        recipe: The recipe.
        rows: The training rows; None where none has a target that anything is trained on.
        ends: For each model that is trained ("teacher", "student"), the ids at which its texts end.

    Raises:
        UsageError: Nothing would be learned: no target ends, all are cut, or none can be written within the limit.
    """
    yield from _untrained(recipe)
    if rows is None:
        return
    found = list(_doubts(recipe, rows, ends))
    yield from found
    fine_tune = recipe.teacher.fine_tune
    for role, where, count in (
        ("student", "training.rows", recipe.training.rows),
        ("teacher", "teacher.fine_tune.rows", fine_tune.rows if fine_tune is not None else 0),
    ):
        if role in ends and 0 < count < len(rows.chosen):
            more = _doubts(recipe, rows.drawn(count), {role: ends[role]})
            yield from (f"with {where} = {count:,}, {each}" for each in more if each not in found)


def _untrained(recipe: Recipe) -> Iterator[str]:
    if recipe.teacher.is_made_here and recipe.teacher.fine_tune is None:
        yield (
            "the teacher is a new model that is never trained, so its logits and texts are noise; add a "
            "[teacher.fine_tune], or name a trained model with teacher.model"
        )


def _doubts(recipe: Recipe, rows: Rows, ends: Mapping[str, frozenset[int]]) -> Iterator[str]:
    yield from notes_on_reading([rows])
    if rows.examples is rows.chosen:
        yield from _alike(recipe, rows.examples, rows.encoded)
    for role, ids in ends.items():
        yield from _without_an_end(role, ids, rows, recipe.tokens.max_target)
    yield from _cut(recipe, rows)
    if not rows.are_blocks:
        yield from _too_long_to_write(recipe, rows.encoded)


def _alike(recipe: Recipe, examples: Sequence[Example], rows: EncodedRows) -> Iterator[str]:
    """Rows whose sources do not determine their targets."""
    target = examples[0].target
    if len(examples) > 1 and all(each == target for each in targets_of(examples)):
        yield (
            f"all {len(examples):,} training targets are the same text ({target[:SHOWN]!r}), "
            "which the models will learn to write whatever they read"
        )
        return
    read = _read_alike(rows)
    limit = f"tokens.max_source is {recipe.tokens.max_source}"
    if len(rows) > 1 and any(len(places) == len(rows) for places in read):
        yield (
            f"all {len(rows):,} training sources are read as the same tokens ({limit}), so that no target can be "
            "learned from its source"
        )
        return
    groups = [
        places
        for places in read
        if len({examples[place].source for place in places}) > 1 < len({examples[place].target for place in places})
    ]
    lost = rows.take([place for places in groups for place in places])
    if len(lost):
        yield (
            f"{len(lost):,} of {plural(len(rows), 'training source')} are read as the same tokens as a source "
            f"with another text and another target ({limit}): {_named(lost)}; the part in which they differ "
            "is not read"
        )


def _read_alike(rows: EncodedRows) -> Iterable[list[int]]:
    """The indices of rows that are read as the same tokens, where these are several rows; groups in their order."""
    hash_R = np.fromiter((hash(rows.sources[place].tobytes()) for place in rows.places_R), np.int64, len(rows))
    order_R = np.argsort(hash_R, kind="stable")
    same_R = np.concatenate([[False], hash_R[order_R[1:]] == hash_R[order_R[:-1]], [False]])
    several = np.sort(order_R[same_R[1:] | same_R[:-1]])
    groups: dict[tuple[int, ...], list[int]] = {}
    for index in several.tolist():
        groups.setdefault(rows[index].source_ids, []).append(index)
    return [places for places in groups.values() if len(places) > 1]


def _without_an_end(role: str, ends: frozenset[int], read: Rows, limit: int) -> Iterator[str]:
    """Targets whose last token does not end a text."""
    rows, stops = read.encoded, Ends.of(read.tokenizer, ends)
    if read.are_blocks:
        if read.encoding.limits.document_end:
            return  # it ends documents, and a chat model stops at the end of a turn
        whole = rows.take(read.reading.marked(Mark.STOPS))
    else:
        shorter = np.flatnonzero(rows.target_lengths < limit)
        whole = rows.take(shorter) if len(shorter) else rows  # the others may have lost their end
    lengths_R, stops_R = whole.target_lengths, whole.targets.offsets_M[whole.places_R + 1]
    last_R = np.full(len(whole), -1)
    last_R[lengths_R > 0] = whole.targets.values_X[stops_R[lengths_R > 0] - 1]
    open_R = np.flatnonzero(~np.isin(last_R, list(ends)))
    endless = whole.take([i for i in open_R.tolist() if not stops.end(whole[i].target_ids)])
    if not len(endless):
        return
    named = f"its end tokens are {', '.join(map(str, sorted(ends)))}" if ends else "it has no end token"
    if len(endless) == len(whole):
        raise UsageError(
            f"{role}: no training target ends with a token at which the model stops ({named}; the target of "
            f"{endless[0].id!r} has {list(endless[0].target_ids[-3:])} last), so it would never learn to "
            "stop; use a tokenizer that puts the end token after each text, or the model that the tokenizer "
            "belongs to"
        )
    yield (
        f"{len(endless):,} of {plural(len(rows), 'training target')} do not end with a token at which the "
        f"{role} stops ({named}): {_named(endless)}; after them it learns to continue"
    )


def _cut(recipe: Recipe, read: Rows) -> Iterator[str]:
    """Targets whose end is cut off by the limit."""
    limit, encoding, rows = recipe.tokens.max_target, recipe.encoding, read.encoded
    cut_at = read.reading.marked(Mark.CUT).tolist()
    if not cut_at:
        return
    cut, longest = rows.take(cut_at), ""
    if read.examples is read.chosen:
        chunks = ([read.examples[index] for index in cut_at[at : at + CHUNK]] for at in range(0, len(cut_at), CHUNK))
        most = max(max(encoding.label_counts(chunk, read.tokenizer)) for chunk in chunks)
        longest = f" (the longest {most:,})"
    stops = cut[0].target_ids[-1] == encoding.target_ids([""], read.tokenizer)[0][-1]
    learned = "the models learn to stop there" if stops else "the models do not learn where they end"
    if len(cut) == len(rows):
        raise UsageError(
            f"tokens.max_target is {limit}, but every training target has more tokens{longest}, so each would be cut; "
            "raise it"
        )
    yield (
        f"tokens.max_target is {limit}, and {len(cut):,} of {plural(len(rows), 'training target')} have more "
        f"tokens{longest}: {_named(cut)}; these targets are cut, so {learned}"
    )


def _too_long_to_write(recipe: Recipe, rows: EncodedRows) -> Iterator[str]:
    """Targets that no model can finish within the limit on generated tokens."""
    limit = recipe.generation.max_new_tokens
    lengths_R = rows.target_lengths
    longer = rows.take(np.flatnonzero(lengths_R > limit))
    if not len(longer):
        return
    most = int(lengths_R.max())
    if len(longer) == len(rows):
        raise UsageError(
            f"generation.max_new_tokens is {limit}, but every training target has more tokens (the longest "
            f"{most:,}), so every text would be cut off; set it to {most}"
        )
    yield (
        f"generation.max_new_tokens is {limit}, and {len(longer):,} of {plural(len(rows), 'training target')} "
        f"have more tokens: {_named(longer)}; texts of that length are cut off, so set it to {most}"
    )


def _named(rows: EncodedRows) -> str:
    return first_few(list(rows[:NAMED].each_id()))
