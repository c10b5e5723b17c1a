"""The scores of each row of an evaluation, kept beside `evaluation.json`, so that runs can be compared row by row.

rows.npz
ids                                  the rows' ids, in the order of all else
documents                            what each row is a part of, where rows are parts of larger texts
MODEL|AGAINST|SUITE|METRIC           a value a row, NaN where the row does not count
MODEL|AGAINST|SUITE|METRIC|weights   its weight in the mean, where that is not 1: the tokens behind a loss
MODEL|AGAINST|SUITE|METRIC|gaps      of a calibration error (`kdkit.evaluation.calibration`): what the row adds to each
                                     bin's gap
MODEL|AGAINST|SUITE|METRIC|logs      of a perplexity: the logarithm of each row's

A score is `sum(weight * value) / sum(weight)`. A calibration error is not a mean of rows: its `gaps` are in place of
values, a row of them a row, and it is the sum over bins of `|sum(weight * gap)|`, over `sum(weight)`. Of `logs` the
score is the exponential of that mean.

Letters: R rows, K bins of a row (1 where it has a value), X what is summed.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import attrs
import numpy as np

from kdkit.errors import DamagedData, MissingInput
from kdkit.evaluation.intervals import numbered
from kdkit.system.files import size_text, write_atomically
from kdkit.system.reading import read_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    from kdkit.evaluation.intervals import Places

    Array: TypeAlias = npt.NDArray[np.float64]

FILE = "rows.npz"
# What NumPy and zipfile raise of a damaged file; MemoryError of an array's header that is nested too deeply.
_DAMAGE = (ValueError, KeyError, TypeError, EOFError, RuntimeError, MemoryError)
_LARGEST = 2**32
"""Bytes of all arrays together."""


class RowKey(NamedTuple):
    """The names of a score: see `kdkit.api.values.Score`."""

    model: str
    against: str
    suite: str
    metric: str


@attrs.frozen(kw_only=True, eq=False)
class RowScores:
    """Each row's value of each score.

    Attributes:
        ids: The rows' ids.
        values: A value a row for each score, NaN where the row does not count.
        weights: The rows' weights in a score's mean; a score that is not here weighs all alike.
        gaps: Of each calibration error, which is not in `values`, the gaps `[R, K]`.
        logs: Of each score that is the exponential of a mean, which is not in `values`, what that is the mean of.
        documents: By row, the document that it is a part of; None where each row stands for itself.
    """

    ids: tuple[str, ...]
    values: Mapping[RowKey, Array]
    weights: Mapping[RowKey, Array] = attrs.field(factory=dict)
    gaps: Mapping[RowKey, Array] = attrs.field(factory=dict)
    logs: Mapping[RowKey, Array] = attrs.field(factory=dict)
    documents: tuple[str, ...] | None = None

    @property
    def keys(self) -> tuple[RowKey, ...]:
        """Every score that is here."""
        return (*self.values, *self.gaps, *self.logs)

    @cached_property
    def document_numbers(self) -> Places | None:
        """The number of each row's document; None where each row stands for itself."""
        return None if self.documents is None else numbered(self.documents)

    def weights_of(self, key: RowKey) -> Array:
        """The rows' weights in a score, 0 where a row does not count."""
        weights_R = self.weights.get(key, np.ones(len(self.ids)))
        said_R = self.gaps[key].sum(axis=1) if key in self.gaps else self._row_means(key)
        return np.where(np.isnan(said_R), 0.0, weights_R)

    def terms_of(self, key: RowKey) -> Array:
        """What `score_of_sums` wants the sum of: weighted values or gaps, and the weights last, `[R, K + 1]`."""
        weights_R = self.weights_of(key)
        said_RK = self.gaps[key] if key in self.gaps else self._row_means(key)[:, None]
        counted_RK = np.where(weights_R[:, None] > 0, said_RK, 0.0)
        return np.concatenate([counted_RK * weights_R[:, None], weights_R[:, None]], axis=1)

    def score_of(self, key: RowKey, sums_X: Array) -> Array:
        """A score, given the sums of its terms along the last axis; NaN where nothing counts."""
        found_X = score_of_sums(sums_X)
        return np.exp(found_X) if key in self.logs else found_X

    def _row_means(self, key: RowKey) -> Array:
        return self.logs[key] if key in self.logs else self.values[key]

    def write(self, folder: Path) -> None:
        """Write `rows.npz`, whole or not at all."""
        arrays: dict[str, Any] = {"ids": np.array(self.ids, dtype=np.str_)}
        arrays |= {"|".join(key): values_R for key, values_R in self.values.items()}
        arrays |= {"|".join((*key, "weights")): weights_R for key, weights_R in self.weights.items()}
        arrays |= {"|".join((*key, "gaps")): gaps_RK for key, gaps_RK in self.gaps.items()}
        arrays |= {"|".join((*key, "logs")): logs_R for key, logs_R in self.logs.items()}
        if self.documents is not None:
            arrays["documents"] = np.array(self.documents, dtype=np.str_)
        stream = io.BytesIO()
        np.savez_compressed(stream, **arrays)
        write_atomically(folder / FILE, stream.getvalue())

    @classmethod
    def read(cls, folder: Path) -> RowScores:
        """Read the scores that `write` wrote.

        Raises:
            MissingInput: It is not there.
            DamagedData: It is something else.
        """
        path = folder / FILE
        try:
            raw = io.BytesIO(read_bytes(path))
            _check_size(raw)
            with np.load(raw, allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in arrays.files}
            ids = tuple(map(str, found.pop("ids").tolist()))
            documents = found.pop("documents", None)
            if documents is not None and documents.shape != (len(ids),):
                raise ValueError(f"its array documents does not have {len(ids)} rows")
            kinds: dict[str, dict[RowKey, Array]] = {"": {}, "weights": {}, "gaps": {}, "logs": {}}
            for name, array in found.items():
                model, against, suite, metric, *kind = name.split("|")
                dimensions = 2 if kind == ["gaps"] else 1
                if len(kind) > 1 or array.ndim != dimensions or len(array) != len(ids):
                    raise ValueError(f"its array {name} does not have {len(ids)} rows")
                kinds["".join(kind)][RowKey(model, against, suite, metric)] = array
            return cls(
                ids=ids,
                values=kinds[""],
                weights=kinds["weights"],
                gaps=kinds["gaps"],
                logs=kinds["logs"],
                documents=None if documents is None else tuple(map(str, documents.tolist())),
            )
        except FileNotFoundError as error:
            raise MissingInput(
                f"{folder} has no {FILE}: its evaluation has not finished; run its recipe to the end"
            ) from error
        except (*_DAMAGE, zipfile.BadZipFile, zlib.error) as error:
            raise DamagedData(
                f"{path} is damaged ({error}); delete it and evaluation.json there and run the recipe again"
            ) from error


def _check_size(raw: io.BytesIO) -> None:
    """Refuse an archive that would fill the memory when it is decompressed."""
    with zipfile.ZipFile(raw) as archive:
        size = sum(each.file_size for each in archive.infolist())
    raw.seek(0)
    if size > _LARGEST:
        raise ValueError(f"its arrays claim {size_text(size)}, but at most {size_text(_LARGEST)} are read")


def score_of_sums(sums_X: Array) -> Array:
    """A score of the sums of its terms (see `RowScores.terms_of`) along the last axis; NaN where nothing counts."""
    weighted_XK, weight_X = sums_X[..., :-1], sums_X[..., -1]
    total_X = np.abs(weighted_XK).sum(axis=-1) if weighted_XK.shape[-1] > 1 else weighted_XK[..., 0]
    score_X: Array = np.divide(total_X, weight_X, out=np.full_like(weight_X, np.nan), where=weight_X > 0)
    return score_X
