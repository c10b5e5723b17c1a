"""What a tokenizer does to a data set: targets that it cannot write, tokens that it does not know, cuts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.data.long_rows import is_long, longest
from kdkit.data.tokens import CHUNK, control_words
from kdkit.system.wording import first_few, plural, quoted, trim

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.options import TokenLimits
    from kdkit.api.values import EncodedExample, Example
    from kdkit.data.rows import Encoding

FIRST = 3
"""So many rows are named of each kind in `data/report.json`."""


@attrs.frozen(kw_only=True)
class TargetFacts:
    """What a tokenizer does to the rows of a split.

    Attributes:
        rows: How many there are.
        changed: Ids of those whose target is another text once it is encoded and decoded, white space at its ends
            apart: what no model with this tokenizer can write.
        cut: Ids of those whose target has more tokens than the limit.
        spelt: Ids of those whose target spells a token that begins, ends or fills texts.
        long: Ids of those with a text that is not read to its end.
        tokens: Tokens of sources and of targets.
        unknown: Those of them that stand for something that the tokenizer does not know.
        example: A changed target, and what it becomes.
    """

    rows: int
    changed: tuple[str, ...]
    cut: tuple[str, ...]
    spelt: tuple[str, ...]
    long: tuple[str, ...]
    tokens: Mapping[str, int]
    unknown: Mapping[str, int]
    example: tuple[str, str] | None

    def as_table(self) -> dict[str, Any]:
        """As `data/report.json` states it: for rows their number and the first few, for tokens their share."""
        named = {name: getattr(self, name) for name in ("changed", "cut", "spelt", "long")}
        return {
            "rows": self.rows,
            **{name: {"rows": len(ids), "first": list(ids[:FIRST])} for name, ids in named.items()},
            "unknown": {side: self.unknown[side] / max(count, 1) for side, count in self.tokens.items()},
        }


@attrs.frozen
class _Written:
    """A target as a model can write it: its tokens, and the text that they are."""

    tokens: int
    text: str


def facts_of(
    examples: Sequence[Example], encoded: Sequence[EncodedExample], tokenizer: Tokenizer, encoding: Encoding
) -> TargetFacts:
    """What a tokenizer does to some rows.

    Args:
        examples: The rows.
        encoded: The same as token ids.
        tokenizer: The tokenizer.
        encoding: How they were encoded.
    """
    limits = encoding.limits
    most = longest(limits.max_target)
    written = _written([example.target[:most] for example in examples], tokenizer, encoding)
    words = control_words(tokenizer)
    changed, cut = [], []
    for example, row in zip(examples, encoded, strict=True):
        made = written[example.target[:most]]
        if trim(made.text) != trim(example.target[:most]):
            changed.append(example)
        if made.tokens > len(row.target_ids):
            cut.append(example.id)
    unknown_id = _unknown_id(tokenizer)
    sides = {"source": [row.source_ids for row in encoded], "target": [row.target_ids for row in encoded]}
    return TargetFacts(
        rows=len(examples),
        changed=tuple(example.id for example in changed),
        cut=tuple(cut),
        spelt=tuple(example.id for example in examples if any(word in example.target for word in words)),
        long=tuple(example.id for example in examples if is_long(example, limits)),
        tokens={side: sum(map(len, rows)) for side, rows in sides.items()},
        unknown={side: sum(ids.count(unknown_id) for ids in rows) for side, rows in sides.items()},
        example=(changed[0].target, written[changed[0].target[:most]].text) if changed else None,
    )


def notes_on(found: Sequence[TargetFacts], limits: TokenLimits) -> Iterator[str]:
    """Warnings about all splits before a model is trained: a sentence each."""
    rows = sum(each.rows for each in found)

    def named(name: str) -> tuple[int, str]:
        ids = [id_ for each in found for id_ in getattr(each, name)]
        return len(ids), first_few(ids)

    count, first = named("changed")
    example = next((each.example for each in found if each.example is not None), None)
    if example is not None:
        yield (
            f"{count:,} of {plural(rows, 'target')} ({count / rows:.1%}) cannot be written with this "
            f"tokenizer, which turns {quoted(example[0])} into {quoted(example[1])} ({first}): their exact "
            "match is 0 whatever a model learns"
        )
    for side in ("target", "source"):
        share = sum(each.unknown[side] for each in found) / max(1, sum(each.tokens[side] for each in found))
        if share:
            yield (f"{share:.2%} of the tokens of {side}s are the unknown token: the tokenizer does not know that text")
    count, first = named("spelt")
    if count:
        yield (
            f"{count:,} of {plural(rows, 'target')} contain the text of a special token that begins, ends or "
            f"pads texts ({first}); the tokenizer reads it as plain text"
        )
    count, first = named("long")
    if count:
        most = f"{longest(limits.max_source):,} characters of a source and {longest(limits.max_target):,} of a target"
        yield (
            f"{count:,} of {plural(rows, 'row')} have a text that is too long to be read to its end "
            f"({first}): {most} are read"
        )


def _written(targets: Sequence[str], tokenizer: Tokenizer, encoding: Encoding) -> dict[str, _Written]:
    """Each target as a model can write it."""
    found: dict[str, _Written] = {}
    different = list(dict.fromkeys(targets))
    for start in range(0, len(different), CHUNK):
        chunk = different[start : start + CHUNK]
        ids = encoding.target_ids(chunk, tokenizer)
        texts = tokenizer.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        found |= {target: _Written(len(each), text) for target, each, text in zip(chunk, ids, texts, strict=True)}
    return found


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    """The id of the unknown token, where it has one of its own."""
    unknown = getattr(tokenizer, "unk_token_id", None)
    others = {getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "pad")}
    return None if unknown in others else unknown
