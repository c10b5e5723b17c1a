"""The `assertions` metric suite: assertions are right or wrong as whole statements, white space aside.

A text is split into statements (see `kdkit_assertions.statements`), and those of the generated text are matched one to
one with those of the reference: each counts once, and their order does not matter. With G generated statements,
R reference statements and M matches:

- `precision` M / G, `recall` M / R, `f1` their harmonic mean 2 M / (G + R), `accuracy` M / max(G, R);
- `exact_match` 1 where both have the same statements, equally often, else 0;
- `similarity` the character similarity of what is matched: pairs are taken greedily, most similar first, by difflib's
  ratio without its junk heuristic; their sum over max(G, R). It is 1 only where `exact_match` is.

All lie between 0 and 1. Where neither text has a statement all are 1, where one has none all are 0. Beside them stands
`parses`: 1 where the generated text is code of the language (see `kdkit_assertions.parsing`), whatever the reference;
0 where it is not, or has no statement. And for parts of the rows:

- `recall/KIND`, such as `recall/equals`: the share of the reference's assertions of that kind that were generated, over
  the rows that have one. Where the reference is the ground truth and `meta["kinds"]` lists one word for each of its
  statements, these are the kinds; else they are read off the statements (see `kdkit_assertions.kinds`);
- `f1/answerable` and `exact_match/answerable`: over the rows whose `meta["answerable"]` is true.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, cast

import attrs
import cydifflib

from kdkit.api import one_of, option
from kdkit_assertions.kinds import kind_of
from kdkit_assertions.parsing import parses
from kdkit_assertions.statements import language_of, split_statements

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdkit.api import Example
    from kdkit_assertions.statements import Language

_WORD = re.compile(r"[\w-]+")
_WHOLE = ("precision", "recall", "f1", "accuracy", "exact_match", "similarity")


@attrs.frozen(kw_only=True)
class Assertions:
    """Precision, recall, F1, accuracy, exact match and similarity of whole statements, and recall by kind."""

    language: str = option(
        'Language of the texts; "auto" treats a row as Java if its ground truth ends with `;`, else as Python.',
        default="auto",
        check=one_of("auto", "java", "python"),
    )

    def score(
        self, generated: Sequence[str], references: Sequence[str], examples: Sequence[Example]
    ) -> Mapping[str, Sequence[float | None]]:
        """The metrics of every row; None where a row is not of the part that a metric is about."""
        rows = [
            self._score_row(text, reference, example)
            for text, reference, example in zip(generated, references, examples, strict=True)
        ]
        whole = (*_WHOLE, "parses")
        parts = sorted({name for row in rows for name in row} - set(whole))
        return {name: [row.get(name) for row in rows] for name in (*whole, *parts)}

    def _score_row(self, text: str, reference: str, example: Example) -> dict[str, float]:
        language = cast("Language", language_of(example.target) if self.language == "auto" else self.language)
        statements = split_statements(reference, language)
        wanted = Counter(statements)
        written = Counter(split_statements(text, language))
        scores = compare(written, wanted) | {"parses": float(parses(text, language))}
        if example.meta.get("answerable") is True:
            scores |= {f"{name}/answerable": scores[name] for name in ("f1", "exact_match")}
        kinds = Counter(zip(statements, _kinds(statements, reference, example), strict=True))
        return scores | {f"recall/{kind}": value for kind, value in recall_by_kind(written, kinds).items()}


def compare(generated: Counter[str], reference: Counter[str]) -> dict[str, float]:
    """The six metrics of one row, from its multisets of statements."""
    generated_count, reference_count = generated.total(), reference.total()
    if not generated_count or not reference_count:
        value = float(generated_count == reference_count)
        return dict.fromkeys(_WHOLE, value)
    matches = (generated & reference).total()
    longer = max(generated_count, reference_count)
    return {
        "precision": matches / generated_count,
        "recall": matches / reference_count,
        "f1": 2 * matches / (generated_count + reference_count),
        "accuracy": matches / longer,
        "exact_match": float(generated == reference),
        "similarity": (matches + _similarity_of_rest(generated - reference, reference - generated)) / longer,
    }


def _kinds(statements: Sequence[str], reference: str, example: Example) -> list[str]:
    """The kind of each statement of the reference."""
    listed = example.meta.get("kinds")
    if (
        reference == example.target
        and isinstance(listed, list | tuple)
        and len(listed) == len(statements)
        and all(isinstance(kind, str) and _WORD.fullmatch(kind) for kind in listed)
    ):
        return list(listed)
    return [kind_of(statement) for statement in statements]


def recall_by_kind(generated: Counter[str], reference: Counter[tuple[str, str]]) -> dict[str, float]:
    """For each kind of assertion in the reference: which share of those was generated.

    Args:
        generated: The generated statements.
        reference: The statements of the reference, each with its kind.
    """
    wanted: Counter[str] = Counter()
    found: Counter[str] = Counter()
    left = generated.copy()
    for (statement, kind), count in reference.items():
        matches = min(count, left[statement])
        left[statement] -= matches
        wanted[kind] += count
        found[kind] += matches
    return {kind: found[kind] / count for kind, count in wanted.items()}


def _similarity_of_rest(generated: Counter[str], reference: Counter[str]) -> float:
    """Sum of the ratios of the pairs of statements that are left when equal ones are taken out."""
    ratios = []
    matcher = cydifflib.SequenceMatcher(None, autojunk=False)
    for text in generated:
        matcher.set_seq2(text)  # difflib indexes the second text once for all first ones
        for statement in reference:
            matcher.set_seq1(statement)
            ratios.append((matcher.ratio(), statement, text))
    total = 0.0
    left_generated, left_reference = generated.copy(), reference.copy()
    # Ties are broken by the texts, so that the order of the statements does not matter.
    for ratio, statement, text in sorted(ratios, key=lambda pair: (-pair[0], *pair[1:])):
        pairs = min(left_generated[text], left_reference[statement])
        total += ratio * pairs
        left_generated[text] -= pairs
        left_reference[statement] -= pairs
    return total
