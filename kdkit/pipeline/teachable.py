"""Finds before training what a run's data cannot teach, and refuses data from which nothing can be learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kdkit.data.text_rows import targets_of
from kdkit.data.tokens import CHUNK
from kdkit.errors import UsageError
from kdkit.system.wording import first_few, plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.values import Example
    from kdkit.data.encoded_rows import EncodedRows
    from kdkit.recipe import Recipe

NAMED = 100
"""Rows of which the first few are named."""
SHOWN = 60
"""Characters of a text in a message."""


def doubts(
    recipe: Recipe,
    examples: Sequence[Example],
    rows: EncodedRows,
    tokenizer: Tokenizer,
    ends: Mapping[str, frozenset[int]],
) -> Iterator[str]:
    """A sentence for each thing that the models will not learn, or will learn wrong.

    Args:
        recipe: The recipe.
        examples: The training rows.
        rows: The same as token ids.
        tokenizer: The tokenizer that made them.
        ends: For each model that is trained ("teacher", "student"), the ids at which its texts end.

    Raises:
        UsageError: Nothing would be learned: no target ends, all are cut, or none can be written within the limit.
    """
    if recipe.teacher.is_made_here and recipe.teacher.fine_tune is None:
        yield (
            "the teacher is a new model that is never trained, so its logits and texts are noise; add a "
            "[teacher.fine_tune], or name a trained model with teacher.model"
        )
    yield from _alike(recipe, examples, rows)
    for role, ids in ends.items():
        yield from _without_an_end(role, ids, rows, tokenizer, recipe.tokens.max_target)
    yield from _cut(recipe, examples, rows, tokenizer)
    yield from _too_long_to_write(recipe, rows)


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


def _without_an_end(
    role: str, ends: frozenset[int], rows: EncodedRows, tokenizer: Tokenizer, limit: int
) -> Iterator[str]:
    """Targets whose last token does not end a text."""
    special = frozenset(getattr(tokenizer, "all_special_ids", ()))
    shorter = np.flatnonzero(rows.target_lengths < limit)
    whole = rows.take(shorter) if len(shorter) else rows  # the others may have lost their end
    lengths_R, stops_R = whole.target_lengths, whole.targets.offsets_M[whole.places_R + 1]
    last_R = np.full(len(whole), -1)
    last_R[lengths_R > 0] = whole.targets.values_X[stops_R[lengths_R > 0] - 1]
    open_R = np.flatnonzero(~np.isin(last_R, list(ends)))
    endless = whole.take([i for i in open_R.tolist() if not _ends(whole[i].target_ids, ends, special)])
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


def _ends(ids: Sequence[int], ends: frozenset[int], special: frozenset[int]) -> bool:
    """Whether the last token is an end, apart from other special tokens: mBART puts the language after it."""
    for each in reversed(ids):
        if each in ends:
            return True
        if each not in special:
            return False
    return False


def _cut(recipe: Recipe, examples: Sequence[Example], rows: EncodedRows, tokenizer: Tokenizer) -> Iterator[str]:
    """Targets whose end is cut off by the limit."""
    limit, encoding = recipe.tokens.max_target, recipe.encoding
    full = np.flatnonzero(rows.target_lengths >= limit).tolist()
    cut_at: list[int] = []
    most = 0
    for start in range(0, len(full), CHUNK):
        chunk = full[start : start + CHUNK]
        counts = encoding.label_counts([examples[index] for index in chunk], tokenizer)
        cut_at += [index for index, count in zip(chunk, counts, strict=True) if count > limit]
        most = max(most, *counts)
    if not cut_at:
        return
    cut = rows.take(cut_at)
    stops = cut[0].target_ids[-1] == encoding.target_ids([""], tokenizer)[0][-1]
    learned = "the models learn to stop there" if stops else "the models do not learn where they end"
    if len(cut) == len(rows):
        raise UsageError(
            f"tokens.max_target is {limit}, but every training target has more tokens (the longest {most:,}), "
            "so each would be cut; raise it"
        )
    yield (
        f"tokens.max_target is {limit}, and {len(cut):,} of {plural(len(rows), 'training target')} have more "
        f"tokens (the longest {most:,}): {_named(cut)}; these targets are cut, so {learned}"
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
