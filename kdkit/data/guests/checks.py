"""Whether numbers that another tool kept can be log-probabilities of this vocabulary, and what they leave to others.

Letters in names of arrays: P positions, K entries, V vocabulary.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from kdkit.data.guests.guest import ABSENT
from kdkit.errors import DamagedData, Mismatch, UsageError

if TYPE_CHECKING:
    from kdkit.data.guests.guest import IdArray, LogpArray, Positions

ROUNDING = 0.05
"""How far above 1 the probabilities of a token may lie: half floats and polynomials do not hit it."""
NO_REST = 1e-4
"""If no token of a sequence leaves more than this to other entries, its probabilities were made to sum to 1."""
LEAST_REST = -700.0
"""Logarithm of the least mass of the others: none at all would make divergences infinite."""


def entries_of(positions: Positions, *, width: int) -> tuple[IdArray, LogpArray]:
    """The entries of a sequence, -1 and -inf where there is none, found to be log-probabilities over `width` tokens.

    Raises:
        Mismatch: An id is beyond the vocabulary.
        DamagedData: A number is not finite.
        UsageError: They are not log-probabilities, or a token has an id twice.
    """
    assert positions.ids_PK is not None
    logp_PK = positions.logp_PK
    _refuse(positions, np.isnan(logp_PK) | np.isposinf(logp_PK), "is not a number", DamagedData, "write it again")
    there_PK = (positions.ids_PK >= 0) & (logp_PK > ABSENT)
    ids_PK = np.where(there_PK, positions.ids_PK, -1)
    logp_PK = np.where(there_PK, logp_PK, -np.inf)
    beyond_PK = ids_PK >= width
    if beyond_PK.any():
        row, column = np.argwhere(beyond_PK)[0]
        raise Mismatch(
            f"{positions.place}, position {positions.first + row}: the id {ids_PK[row, column]} is beyond the "
            f"{width:,} entries of the tokenizer; set teacher.tokenizer to the one that the logits were made with"
        )
    _refuse(
        positions,
        logp_PK > math.log1p(ROUNDING),
        "is above 0, so it is not a log-probability",
        UsageError,
        "write natural logarithms of probabilities, not logits",
    )
    sum_P = np.exp(logp_PK).sum(axis=1)
    _check_sums(positions, sum_P)
    sorted_PK = np.sort(ids_PK, axis=1)
    twice_P = ((sorted_PK[:, 1:] == sorted_PK[:, :-1]) & (sorted_PK[:, 1:] >= 0)).any(axis=1)
    if twice_P.any():
        raise UsageError(
            f"{positions.place}, position {positions.first + int(twice_P.argmax())} has an id twice; write each of a "
            "token's ids once"
        )
    return ids_PK, logp_PK


def check_whole(positions: Positions) -> None:
    """Refuse rows of all entries that are not distributions.

    Raises:
        DamagedData: A number is not finite, or a row does not sum to 1.
    """
    logp_PV = positions.logp_PK
    _refuse(positions, ~np.isfinite(logp_PV), "is not a number", DamagedData, "write it again")
    sum_P = np.exp(logp_PV).sum(axis=1)
    wrong_P = np.abs(sum_P - 1) > ROUNDING
    if wrong_P.any():
        row = int(wrong_P.argmax())
        raise DamagedData(
            f"{positions.place}, position {positions.first + row}: the probabilities sum to {sum_P[row]:.3g}, not to "
            "1; write the file again"
        )


def log_rest(logp_PK: LogpArray) -> LogpArray:
    """The logarithm of what the entries of each token leave to all others."""
    rest_P = 1 - np.exp(logp_PK).sum(axis=1)
    logs_P: LogpArray = np.log(np.maximum(rest_P, math.exp(LEAST_REST)))
    return logs_P


def leaves_nothing(logp_PK: LogpArray) -> bool:
    """Whether no token leaves anything to other entries: the probabilities were made to sum to 1."""
    sum_P = np.exp(logp_PK).sum(axis=1)
    return len(sum_P) > 0 and bool((sum_P > 1 - NO_REST).all())


def _check_sums(positions: Positions, sum_P: LogpArray) -> None:
    wrong_P = sum_P > 1 + ROUNDING
    if wrong_P.any():
        row = int(wrong_P.argmax())
        raise UsageError(
            f"{positions.place}, position {positions.first + row}: the probabilities sum to {sum_P[row]:.3g}, more "
            "than 1; write natural logarithms of probabilities, not logits"
        )


def _refuse(positions: Positions, wrong_PK: np.ndarray, what: str, error: type[Exception], advice: str) -> None:
    if wrong_PK.any():
        row, column = np.argwhere(wrong_PK)[0]
        raise error(
            f"{positions.place}, position {positions.first + row}, entry {column}: "
            f"{positions.logp_PK[row, column]:.6g} {what}; {advice}"
        )
