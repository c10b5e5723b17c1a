"""Finds before training what a run's data cannot teach, and refuses data from which nothing can be learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.data.long_rows import longest
from kdkit.errors import UsageError
from kdkit.system.wording import first_few, plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.values import EncodedExample, Example
    from kdkit.recipe import Recipe

SHOWN = 60
"""Characters of a text in a message."""


def doubts(
    recipe: Recipe,
    examples: Sequence[Example],
    rows: Sequence[EncodedExample],
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


def _alike(recipe: Recipe, examples: Sequence[Example], rows: Sequence[EncodedExample]) -> Iterator[str]:
    """Rows whose sources do not determine their targets."""
    if len({example.target for example in examples}) == 1 < len(examples):
        target = examples[0].target
        yield (
            f"all {len(examples):,} training targets are the same text ({target[:SHOWN]!r}), "
            "which the models will learn to write whatever they read"
        )
        return
    read: dict[tuple[int, ...], list[int]] = {}
    for place, row in enumerate(rows):
        read.setdefault(row.source_ids, []).append(place)
    limit = f"tokens.max_source is {recipe.tokens.max_source}"
    if len(read) == 1 < len(rows):
        yield (
            f"all {len(rows):,} training sources are read as the same tokens ({limit}), so that no target can be "
            "learned from its source"
        )
        return
    groups = [
        places
        for places in read.values()
        if len({examples[place].source for place in places}) > 1 < len({examples[place].target for place in places})
    ]
    lost = [rows[place] for places in groups for place in places]
    if lost:
        yield (
            f"{len(lost):,} of {plural(len(rows), 'training source')} are read as the same tokens as a source "
            f"with another text and another target ({limit}): {_named(lost)}; the part in which they differ "
            "is not read"
        )


def _without_an_end(
    role: str, ends: frozenset[int], rows: Sequence[EncodedExample], tokenizer: Tokenizer, limit: int
) -> Iterator[str]:
    """Targets whose last token does not end a text."""
    special = frozenset(getattr(tokenizer, "all_special_ids", ()))
    whole = [row for row in rows if len(row.target_ids) < limit] or rows  # the others may have lost their end
    endless = [row for row in whole if not _ends(row.target_ids, ends, special)]
    if not endless:
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


def _cut(
    recipe: Recipe, examples: Sequence[Example], rows: Sequence[EncodedExample], tokenizer: Tokenizer
) -> Iterator[str]:
    """Targets whose end is cut off by the limit."""
    limit = recipe.tokens.max_target
    characters = longest(limit)
    full = [
        (row, example.target[:characters])
        for example, row in zip(examples, rows, strict=True)
        if len(row.target_ids) >= limit
    ]
    if not full:
        return
    different = list(dict.fromkeys(target for _, target in full))
    sizes = dict(zip(different, map(len, recipe.encoding.target_ids(different, tokenizer)), strict=True))
    cut = [row for row, target in full if sizes[target] > limit]
    if not cut:
        return
    most = max(sizes.values())
    stops = cut[0].target_ids[-1] == recipe.encoding.target_ids([""], tokenizer)[0][-1]
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


def _too_long_to_write(recipe: Recipe, rows: Sequence[EncodedExample]) -> Iterator[str]:
    """Targets that no model can finish within the limit on generated tokens."""
    limit = recipe.generation.max_new_tokens
    longer = [row for row in rows if len(row.target_ids) > limit]
    if not longer:
        return
    most = max(len(row.target_ids) for row in longer)
    if len(longer) == len(rows):
        raise UsageError(
            f"generation.max_new_tokens is {limit}, but every training target has more tokens (the longest "
            f"{most:,}), so every text would be cut off; set it to {most}"
        )
    yield (
        f"generation.max_new_tokens is {limit}, and {len(longer):,} of {plural(len(rows), 'training target')} "
        f"have more tokens: {_named(longer)}; texts of that length are cut off, so set it to {most}"
    )


def _named(rows: Sequence[EncodedExample]) -> str:
    return first_few([row.id for row in rows])
