"""Writes log-probabilities as other tools read them: plain Parquet, and DistillKit's.

Letters in names of arrays: S ids of a sequence, P positions with entries, K entries.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from kdkit.data.guests.distillkit_codec import CONFIG, Coding
from kdkit.errors import MissingInput
from kdkit.system.files import make_folder, write_atomically, write_parts_atomically

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from kdkit.data.guests.guest import IdArray, LogpArray

ROWS = 64
"""Rows that are in memory together."""
NOWHERE = -100.0
"""Log-probability of the entries beside one that is certain."""


@attrs.frozen(kw_only=True, eq=False)
class Sequence:
    """A sequence and what is known of some of its positions.

    Attributes:
        ids_S: Its ids.
        first: The position that the first row of entries is about.
        ids_PK: Entries.
        logp_PK: Their log-probabilities.
    """

    ids_S: IdArray
    first: int
    ids_PK: IdArray
    logp_PK: LogpArray


def write_plain(file: Path, sequences: Iterable[Sequence]) -> None:
    """Parquet with `input_ids`, `logprobs` and `logprob_token_ids`: an empty list where nothing is known of a token.

    Raises:
        MissingInput: pyarrow is not installed.
        KdkitError: The disk is full.
    """
    pa = _pyarrow(file)
    nested = pa.list_(pa.list_(pa.float32())), pa.list_(pa.list_(pa.int32()))
    kinds = [("input_ids", pa.list_(pa.int32())), ("logprobs", nested[0]), ("logprob_token_ids", nested[1])]
    write_parts_atomically(file, _parts(pa, pa.schema(kinds), map(_plain_row, sequences)))


def write_distillkit(folder: Path, sequences: Iterable[Sequence], *, width: int, entries: int) -> None:
    """DistillKit's Parquet and its configuration, every value kept as a 32-bit float.

    Its format has entries for each position but the first. Where none are known, the next id has all probability.

    Raises:
        MissingInput: pyarrow is not installed.
        KdkitError: The disk is full.
    """
    import yaml

    pa = _pyarrow(folder)
    coding = Coding(d=width, k=entries, exact_k=entries, delta_encoding=False)
    make_folder(folder)
    table = {**attrs.asdict(coding), "polynomial_terms": None, "residual_bins": [], "error_diffusion": False}
    write_atomically(folder / CONFIG, yaml.safe_dump(table).encode())
    kinds = [("input_ids", pa.list_(pa.uint64()))]
    kinds += [(name, pa.list_(pa.list_(pa.uint8()))) for name in ("compressed_logprobs", "bytepacked_indices")]
    rows = (_distillkit_row(each, coding) for each in sequences)
    write_parts_atomically(folder / "data_0.parquet", _parts(pa, pa.schema(kinds), rows))


def _plain_row(sequence: Sequence) -> dict[str, Any]:
    before, after = sequence.first, len(sequence.ids_S) - sequence.first - len(sequence.ids_PK)
    columns = (("logprobs", sequence.logp_PK.astype(np.float32)), ("logprob_token_ids", sequence.ids_PK))
    lists = {name: [*[[]] * before, *values.tolist(), *[[]] * after] for name, values in columns}
    return {"input_ids": sequence.ids_S.tolist(), **lists}


def _distillkit_row(sequence: Sequence, coding: Coding) -> dict[str, Any]:
    positions = len(sequence.ids_S) - 1
    next_P1, lowest = sequence.ids_S[1:, None], np.arange(coding.k - 1)
    ids_PK = np.concatenate([next_P1, lowest + (lowest >= next_P1)], axis=1)  # the next id, and the lowest others
    logp_PK = np.full((positions, coding.k), NOWHERE)
    logp_PK[:, 0] = 0
    known = slice(sequence.first - 1, sequence.first - 1 + len(sequence.ids_PK))
    ids_PK[known], logp_PK[known] = sequence.ids_PK, np.maximum(sequence.logp_PK, NOWHERE)
    return {
        "input_ids": sequence.ids_S.tolist(),
        "compressed_logprobs": logp_PK.astype("<f4").view(np.uint8).reshape(positions, -1).tolist(),
        "bytepacked_indices": coding.packed_ids(ids_PK).tolist(),
    }


def _parts(pa: Any, schema: Any, rows: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """The bytes of a Parquet file of rows, as they come."""
    import pyarrow.parquet as pq

    sink = _Sink()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        some: list[dict[str, Any]] = []
        for row in rows:
            some.append(row)
            if len(some) == ROWS:
                writer.write_table(pa.Table.from_pylist(some, schema=schema))
                some = []
                yield sink.taken()
        if some:
            writer.write_table(pa.Table.from_pylist(some, schema=schema))
    yield sink.taken()


class _Sink(io.RawIOBase):
    """A file that keeps what was written until it is taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self._parts.append(bytes(content))
        self._size += len(self._parts[-1])
        return len(self._parts[-1])

    def tell(self) -> int:
        return self._size

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _pyarrow(place: Path) -> Any:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise MissingInput(
            f"{place} is to be Parquet, and the package pyarrow is not installed; install it with `pip install pyarrow`"
        ) from error
    return pa
