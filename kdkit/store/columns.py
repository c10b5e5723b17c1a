"""Columns on disk: a folder with a raw file for each array, which is mapped into memory and never changes.

FOLDER/
header.json          what there is: format, the type and length of each array, facts, and the digest of all that
NAME.values          what the rows of the column NAME hold, one after the other, little-endian
NAME.offsets         where each row begins, and last where the last ends, int64

The folder appears whole, by one rename. Opening it checks the header and the files' sizes; what is in the arrays is not
read, so that a million rows open in milliseconds and several processes share the memory.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from kdkit.data.columns import Ragged, offsets_of
from kdkit.errors import DamagedData
from kdkit.system.digests import digest_of
from kdkit.system.files import create, disk_full, make_folder, publish, sync_folder, write_json
from kdkit.system.folders import delete, discard_folder
from kdkit.system.reading import check_regular, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

HEADER, FORMAT = "header.json", 1
_WRITTEN = 1 << 22
"""Bytes that are written at a time."""


@attrs.frozen(kw_only=True)
class StoredColumns:
    """Columns, and what is noted with them.

    Attributes:
        columns: By name, each in parts.
        facts: What else is to be known of them.
    """

    columns: Mapping[str, Sequence[Ragged]]
    facts: Mapping[str, Any]


def put(folder: Path, columns: Mapping[str, Sequence[Ragged]], facts: Mapping[str, Any]) -> None:
    """Keep columns, all or nothing; whoever calls this holds the lock of the entry.

    Args:
        folder: Where; what is there was found to be damaged, and goes.
        columns: By name, each in parts, whose rows come one after the other.
        facts: What else is to be known of them; values that JSON can hold.

    Raises:
        KdkitError: The disk is full.
    """
    make_folder(folder.parent)
    making = folder.with_name(f".{folder.name}.partial")
    discard_folder(making)
    make_folder(making)
    arrays: dict[str, Sequence[npt.NDArray[Any]]] = {}
    for name, parts in columns.items():
        arrays[f"{name}.values"] = [part.flat for part in parts]
        arrays[f"{name}.offsets"] = [offsets_of(np.concatenate([np.diff(part.offsets_M) for part in parts]))]
    header: dict[str, Any] = {
        "kdkit_columns": FORMAT,
        "arrays": {name: [_kind(parts[0]), sum(map(len, parts))] for name, parts in arrays.items()},
        "facts": dict(facts),
    }
    size = sum(array.nbytes for parts in arrays.values() for array in parts)
    with disk_full(making, size, discards=making):
        for name, array_parts in arrays.items():
            _write(making / name, array_parts)
        write_json(making / HEADER, {**header, "sha256": digest_of(header)})
        sync_folder(making)
        if folder.is_dir():
            delete([folder])
        publish(making, folder)


def _kind(array: npt.NDArray[Any]) -> str:
    return array.dtype.newbyteorder("<").str


def _write(path: Path, parts: Sequence[npt.NDArray[Any]]) -> None:
    with create(path) as file:
        for array in parts:
            step = max(1, _WRITTEN // array.itemsize)
            for start in range(0, len(array), step):
                file.write(array[start : start + step].astype(_kind(array), copy=False).tobytes())
        file.flush()
        os.fsync(file.fileno())


def get(folder: Path) -> StoredColumns | None:
    """Columns that were kept, mapped into memory; None where there are none.

    Raises:
        DamagedData: What is there is not what was put there, or of another format.
    """
    if not folder.is_dir():
        return None
    try:
        header = _checked(read_json(folder / HEADER))
        arrays = {name: _mapped(folder / name, *found) for name, found in header["arrays"].items()}
        names = dict.fromkeys(name.partition(".")[0] for name in arrays)
        columns = {name: [Ragged(arrays[f"{name}.values"], arrays[f"{name}.offsets"])] for name in names}
        return StoredColumns(columns=columns, facts=header["facts"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DamagedData(f"the stored columns {folder} are damaged ({error})") from error


def _checked(header: dict[str, Any]) -> dict[str, Any]:
    expected = header.pop("sha256")
    if header["kdkit_columns"] != FORMAT or expected != digest_of(header):
        raise ValueError(f"its {HEADER} is not what kdkit writes in format {FORMAT}")
    return header


def _mapped(path: Path, kind: str, length: int) -> npt.NDArray[Any]:
    dtype = np.dtype(kind)
    check_regular(path)
    size = path.stat().st_size
    if size != length * dtype.itemsize or dtype.hasobject:
        raise ValueError(f"its {path.name} has {size:,} bytes instead of {length * dtype.itemsize:,}")
    if not length:
        return np.empty(0, dtype)
    return np.memmap(path, dtype, "r").view(np.ndarray)
