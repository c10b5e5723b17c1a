"""The `assertions-thesis` metric suite: assertions compared as in the thesis, quirks included.

Source: Hristov, "Distilling Knowledge for Assertion Generation", TU Delft, June 2025. The definition is kept to the
letter so that its numbers can be reproduced; it is lenient, and for honest numbers there is the `assertions` suite:

- the first argument of `assertEquals`, mostly the expected value, is blotted out before comparing;
- a generated statement that is written twice counts twice, so that recall and F1 can exceed 1;
- texts are split at every `;` and newline, within string literals too;
- the similarity is taken with difflib's junk heuristic, which makes it close to noise from 200 characters on, and
  depends on the order of the two texts: the generated one comes first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypedDict

import attrs
import cydifflib

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdkit.api import Example

_SPLIT = re.compile(r"[;\n]")
_BLANKS = re.compile(r"\s+")
# FIRST runs to the first comma and REST to the first closing bracket after it, whatever brackets stand between.
_ASSERT_EQUALS = re.compile(r"assertEquals\s*\(\s*[^,]+,\s*([^)]+)\)")
_ASSERT_NAME = re.compile(
    r"assert(?=(?:Equals|That|True|False|Null|NotNull|Throws|Same|NotSame|ArrayEquals)\b)", re.IGNORECASE
)


class ThesisScores(TypedDict):
    """The result of `score_thesis`.

    `exact_matches` is how many generated statements are among the reference statements; the two counts are those of
    the statements.
    """

    exact_matches: int
    generated_count: int
    reference_count: int
    precision: float
    recall: float
    f1: float
    accuracy: float
    similarity: float


@attrs.frozen(kw_only=True)
class ThesisAssertions:
    """Precision, recall, F1, accuracy and similarity of assertions as the thesis published them."""

    def score(
        self,
        generated: Sequence[str],
        references: Sequence[str],
        examples: Sequence[Example],  # noqa: ARG002 - part of the protocol; this suite looks at the texts alone
    ) -> Mapping[str, Sequence[float | None]]:
        """`precision`, `recall`, `f1`, `accuracy` and `similarity` of every row."""
        rows = [score_thesis(text, reference) for text, reference in zip(generated, references, strict=True)]
        return {
            "precision": [row["precision"] for row in rows],
            "recall": [row["recall"] for row in rows],
            "f1": [row["f1"] for row in rows],
            "accuracy": [row["accuracy"] for row in rows],
            "similarity": [row["similarity"] for row in rows],
        }


def score_thesis(generated: str | Sequence[str], reference: str | Sequence[str]) -> ThesisScores:
    """Score one row as the thesis did.

    Args:
        generated: The model's text; a list of statements counts as its lines.
        reference: What it is compared with, likewise.
    """
    generated_pieces = _pieces(generated)
    reference_pieces = _pieces(reference)
    matches = sum(piece in reference_pieces for piece in generated_pieces)
    if not generated_pieces or not reference_pieces:
        both_empty = float(not generated_pieces and not reference_pieces)
        precision = recall = f1 = accuracy = similarity = both_empty
    else:
        precision = matches / len(generated_pieces)
        recall = matches / len(reference_pieces)
        f1 = 2 * precision * recall / (precision + recall) if matches else 0.0
        accuracy = matches / max(len(generated_pieces), len(reference_pieces))
        similarity = sum(_best_ratio(piece, reference_pieces) for piece in generated_pieces) / len(generated_pieces)
    return {
        "exact_matches": matches,
        "generated_count": len(generated_pieces),
        "reference_count": len(reference_pieces),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "accuracy": accuracy,
        "similarity": similarity,
    }


def _pieces(text: str | Sequence[str]) -> list[str]:
    """The normalised statements of a text."""
    whole = text if isinstance(text, str) else "\n".join(text)
    stripped = (piece.strip() for piece in _SPLIT.split(whole))
    return [_normalise(f"{piece};") for piece in stripped if piece]


def _normalise(piece: str) -> str:
    piece = _BLANKS.sub(" ", piece).strip()
    piece = _ASSERT_EQUALS.sub(r"assertEquals(VALUE, \1)", piece)
    return _ASSERT_NAME.sub("assert", piece)


def _best_ratio(piece: str, reference_pieces: Sequence[str]) -> float:
    if piece in reference_pieces:
        return 1.0  # difflib says the same of equal texts, only later
    # Ratios depend on the order. The published function calls its parameters reference and candidate, and is called
    # with the generated piece first.
    return max(float(cydifflib.SequenceMatcher(None, piece, reference).ratio()) for reference in reference_pieces)
