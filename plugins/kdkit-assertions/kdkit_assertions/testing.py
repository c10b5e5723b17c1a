"""Writes data in the thesis's formats, for tests of kdkit-assertions and of recipes that use it."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import lz4.frame
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kdkit.api import FloatArray

HEADER = {"header": {"dataset_type": "training", "item_count": 0}}


def encode_logits(logits: FloatArray, bits: int = 8, encoding: str = "lz4") -> dict[str, Any]:
    """A `compressed_logits` object of an array, quantised as the thesis does it.

    Args:
        logits: Float32 of any shape; `[1, T, V]` for a row of a data set.
        bits: 4, 8, 16 or 32.
        encoding: "lz4" or "none".
    """
    obj: dict[str, Any] = {"format": "lz4", "bits": bits, "shape": list(logits.shape)}
    values: np.ndarray[Any, np.dtype[np.uint8]]
    if bits in (4, 8):
        steps = 2**bits - 1
        low, high = float(logits.min()), float(logits.max())
        scale = (high - low) / steps if high > low else 1.0
        zero_point = -low / scale
        quantised = np.round(logits.astype(np.float64).reshape(-1) / scale + zero_point)
        values = np.clip(quantised, 0, steps).astype(np.uint8)
        obj |= {"scale": scale, "zero_point": zero_point}
        if bits == 4:
            obj["packed"] = True
            if len(values) % 2:
                values = np.append(values, np.zeros(1, np.uint8))
            values = (values[0::2] | (values[1::2] << 4)).astype(np.uint8)
        raw = values.tobytes()
    else:
        raw = logits.astype({16: "<f2", 32: "<f4"}[bits]).tobytes()
    packed = lz4.frame.compress(raw, compression_level=9) if encoding == "lz4" else raw
    obj["data_encoded"] = {
        "encoding": encoding,
        "data": packed.hex(),
        "original_size": len(raw),
        "compressed_size": len(packed),
    }
    obj["compression"] = {"bits": bits, "compression_ratio": logits.size * 4 / max(len(packed), 1)}
    return obj


def write_assertion_zip(
    path: Path,
    train_rows: Sequence[dict[str, Any] | str],
    validation_rows: Sequence[dict[str, Any] | str],
    *,
    header: bool = True,
    gzipped: bool = False,
    inner_method: int = zipfile.ZIP_STORED,
) -> Path:
    """A small ZIP of ZIPs as the thesis published it; equal rows give equal bytes.

    Args:
        path: Where to write it.
        train_rows: Rows of the training part; a string is written as a line as it is, broken or not.
        validation_rows: Rows of the validation part.
        header: Whether each JSONL begins with a header line.
        gzipped: Whether each JSONL is gzipped inside its ZIP.
        inner_method: How the outer ZIP stores the inner ones.
    """
    with zipfile.ZipFile(path, "w") as outer:
        for part, rows in (("training", train_rows), ("validation", validation_rows)):
            stem = f"distillation_data_{part}"
            lines = [
                json.dumps(row) if isinstance(row, dict) else row for row in ([HEADER] if header else []) + [*rows]
            ]
            text = "".join(f"{line}\n" for line in lines).encode()
            inner = io.BytesIO()
            with zipfile.ZipFile(inner, "w") as archive:
                content = gzip.compress(text, mtime=0) if gzipped else text
                archive.writestr(zipfile.ZipInfo(f"{stem}.jsonl"), content, compress_type=zipfile.ZIP_DEFLATED)
            info = zipfile.ZipInfo(f"codet5/{stem}.jsonl.zip")
            outer.writestr(info, inner.getvalue(), compress_type=inner_method)
    return path
