"""What a tokenizer does to a data set: targets that it cannot write, tokens that it does not know, cuts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.data.long_rows import is_long, longest
from kdkit.data.reading import Mark
from kdkit.data.rendered import special_words
from kdkit.data.tokens import CHUNK, control_words
from kdkit.system.wording import first_few, plural, quoted, trim

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.options import TokenLimits
    from kdkit.data.rows import Encoding, Rows

_REMEMBERED = 20_000
"""Different targets, of which what was made is remembered."""
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
        spelt: Ids of those whose target spells a special token, and is read as plain text there.
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


def facts_of(read: Rows) -> TargetFacts:
    """What a tokenizer does to some rows."""
    limits, tokenizer, examples = read.encoding.limits, read.tokenizer, read.examples
    most, special = longest(limits.max_target), _plain_words(read)
    rows, writer = read.encoded, _Writer(tokenizer, read.encoding)
    cut = frozenset(read.reading.marked(Mark.CUT).tolist())
    ids: dict[str, list[str]] = {"changed": [], "cut": [], "spelt": [], "long": []}
    example = None
    for start in range(0, len(rows), CHUNK):
        chunk = examples[start : start + CHUNK]
        targets = [each.target[:most] for each in chunk]
        written = writer.written(targets)
        for number, (each, target) in enumerate(zip(chunk, targets, strict=True), start):
            made = written[target]
            kinds = {
                "changed": trim(made) != trim(target),
                "cut": number in cut,
                "spelt": special.search(each.target) is not None,
                "long": is_long(each, limits),
            }
            for kind, is_so in kinds.items():
                if is_so:
                    ids[kind].append(each.id)
            if kinds["changed"] and example is None:
                example = (each.target, made)
    unknown_id = _unknown_id(tokenizer, limits)
    sides = {"source": rows.sources, "target": rows.targets}
    return TargetFacts(
        rows=len(rows),
        **{kind: tuple(found) for kind, found in ids.items()},
        tokens={side: int(column.lengths(rows.places_R).sum()) for side, column in sides.items()},
        unknown={side: column.count(unknown_id, rows.places_R) for side, column in sides.items()},
        example=example,
    )


def _plain_words(read: Rows) -> re.Pattern[str]:
    """Finds the special tokens that are read as plain text where a target spells them."""
    if read.encoding.kind.is_joined:
        return special_words(read.tokenizer)
    return re.compile("|".join(map(re.escape, control_words(read.tokenizer))) or r"(?!)")


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
            f"{count:,} of {plural(rows, 'target')} contain the text of a special token ({first}); the tokenizer reads "
            "it as plain text"
        )
    count, first = named("long")
    if count:
        most = f"{longest(limits.max_source):,} characters of a source and {longest(limits.max_target):,} of a target"
        yield (
            f"{count:,} of {plural(rows, 'row')} have a text that is too long to be read to its end "
            f"({first}): {most} are read"
        )


@attrs.frozen
class _Writer:
    """Finds what a tokenizer makes of targets, and remembers some: few different ones may stand in many rows."""

    tokenizer: Tokenizer
    encoding: Encoding
    _known: dict[str, str] = attrs.field(factory=dict, init=False)

    def written(self, targets: Sequence[str]) -> dict[str, str]:
        """Each target as a model can write it."""
        new = [target for target in dict.fromkeys(targets) if target not in self._known]
        found = {target: self._known[target] for target in targets if target in self._known}
        if new:
            ids = self.encoding.target_ids(new, self.tokenizer)
            texts = self.tokenizer.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            found |= dict(zip(new, texts, strict=True))
            self._known.update(found if len(self._known) < _REMEMBERED else {})
        return found


def _unknown_id(tokenizer: Tokenizer, limits: TokenLimits) -> int | None:
    """The id of the unknown token, where it stands for nothing else: SmolLM2's is what documents end with."""
    whole: Any = tokenizer
    unknown = getattr(whole, "unk_token_id", None)
    others = {getattr(whole, f"{name}_token_id", None) for name in ("bos", "eos", "pad")}
    if limits.document_end:
        others.add(whole.convert_tokens_to_ids(limits.document_end))
    return None if unknown in others else unknown
