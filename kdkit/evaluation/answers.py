"""The results of a model's forward pass for some rows, as values and as the arrays that the store keeps.

Letters: R rows, T target tokens of all rows one after the other, K bins (see `kdkit.evaluation.calibration`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np

from kdkit.evaluation.calibration import Bins
from kdkit.evaluation.losses import RowLoss
from kdkit.evaluation.tokens import RowTokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from kdkit.store.answers import Arrays

# The type of each field that is one number a row.
_NUMBERS = {"int": np.int64, "float": np.float64, "bool": np.bool_}


@attrs.frozen(kw_only=True, eq=False)
class Answers:
    """The results of a model's forward pass for each row."""

    losses: list[RowLoss]
    tokens: list[RowTokens]

    def arrays(self) -> Arrays:
        """The same as arrays: nothing is rounded."""
        right = [np.concatenate([np.empty(0, np.bool_), *row.right_T]) for row in self.tokens]
        bins = [[each.bins.count_K, each.bins.confidence_K, each.bins.right_K] for each in self.tokens]
        return {
            **dict(_columns("losses", RowLoss, self.losses)),
            **dict(_columns("tokens", RowTokens, self.tokens)),
            "right_T": np.concatenate([np.empty(0, np.bool_), *right]),
            "right_lengths": np.array([len(each) for each in right], np.int64),
            "bins_R3K": np.array(bins, np.float64).reshape(len(bins), 3, -1),
        }

    @classmethod
    def of(cls, arrays: Arrays) -> Answers:
        """The answers of which `arrays` gave these."""
        ends = np.cumsum(arrays["right_lengths"])[:-1]
        right: list[Any] = np.split(arrays["right_T"], ends) if len(arrays["right_lengths"]) else []
        bins = [Bins(count_K=one, confidence_K=two, right_K=three) for one, two, three in arrays["bins_R3K"]]
        counts = _rows("tokens", RowTokens, arrays)
        return cls(
            losses=[RowLoss(**each) for each in _rows("losses", RowLoss, arrays)],
            tokens=[
                RowTokens(**each, right_T=[right_T], bins=its)
                for each, right_T, its in zip(counts, right, bins, strict=True)
            ],
        )


def _columns(prefix: str, kind: type[Any], rows: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """The fields of rows that are one number each, as arrays."""
    for field in attrs.fields(kind):
        if field.type in _NUMBERS:
            yield f"{prefix}.{field.name}", np.array([getattr(row, field.name) for row in rows], _NUMBERS[field.type])


def _rows(prefix: str, kind: type[Any], arrays: Arrays) -> list[dict[str, Any]]:
    """The arguments of each row, out of the arrays of `_columns`."""
    names = [field.name for field in attrs.fields(kind) if field.type in _NUMBERS]
    columns = [arrays[f"{prefix}.{name}"].tolist() for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
