"""The bytes of a shard: a safetensors file whose payload comes first and whose index can be checked by itself.

`docs/cache-format.md` says the same if you write a reader of your own. A shard may come from anywhere: every length in
it is compared with the file's real size before it is used. Arrays carry their shape: N records, M = N + 1.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from typing import TYPE_CHECKING, Any, BinaryIO

import attrs
import numpy as np

from kdkit.errors import DamagedData
from kdkit.logits.cache.header import INDEX, LARGEST_HEADER, read_header
from kdkit.logits.cache.identity import KEY_BYTES
from kdkit.system.files import naming
from kdkit.system.reading import open_regular

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from kdkit.logits.cache.identity import CacheIdentity

SHARD_FILE = re.compile(r"shard-([0-9]{5,9})\.safetensors", re.ASCII)

_NUMPY = {"I64": "<i8", "U32": "<u4", "I32": "<i4", "U8": "u1"}
_NATIVE = {dtype: np.dtype(code).newbyteorder("=") for dtype, code in _NUMPY.items()}


@attrs.frozen(kw_only=True, eq=False)
class Shard:
    """The header and index of one shard, checked against each other and the file's size.

    Attributes:
        file: Name in the folder.
        size: Bytes of the file.
        identity: Whose logits these are.
        state: SHA-256 of the codec's state that its records were encoded with; "" where the codec has none.
        payload_start: Where in the file the payload begins.
        offsets_M: Where each record begins in the payload, and at last where the payload ends.
        keys_N16: The records' keys, uint8.
        crc32_N: CRC-32 of each record.
        tokens_N: Target tokens of each record.
        sha256: Of everything in the file but the payload.
    """

    file: str
    size: int
    identity: CacheIdentity
    state: str
    payload_start: int
    offsets_M: npt.NDArray[np.int64]
    keys_N16: npt.NDArray[np.uint8]
    crc32_N: npt.NDArray[np.uint32]
    tokens_N: npt.NDArray[np.int32]
    sha256: str

    @property
    def records(self) -> int:
        """How many records it holds."""
        return len(self.tokens_N)

    @property
    def tokens(self) -> int:
        """How many target tokens they have together."""
        return int(self.tokens_N.sum(dtype=np.int64))


@attrs.frozen(kw_only=True)
class Record:
    """One line of a shard's index, before the shard is sealed."""

    key: bytes
    crc32: int
    tokens: int
    end: int


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"shard-{number:05}.safetensors"


def shard_number(file: str) -> int:
    """The number in the file name of a shard."""
    found = SHARD_FILE.fullmatch(file)
    assert found is not None
    return int(found[1])


def sealed_shards(folder: Path) -> list[Path]:
    """The shard files of a folder, in the order of their numbers."""
    # Not `glob`, which finds nothing where a folder cannot be listed: a writer would begin at shard 0 again.
    return sorted(
        (path for path in folder.iterdir() if SHARD_FILE.fullmatch(path.name)),
        key=lambda path: (shard_number(path.name), path.name),
    )


def index_bytes(records: Sequence[Record]) -> bytes:
    """The index tensors of a shard, in the order of `INDEX`."""
    offsets = np.array([0, *(record.end for record in records)], "<i8")
    crc32 = np.array([record.crc32 for record in records], "<u4")
    tokens = np.array([record.tokens for record in records], "<i4")
    return offsets.tobytes() + b"".join(record.key for record in records) + crc32.tobytes() + tokens.tobytes()


def read_shard(path: Path) -> Shard:
    """Header and index of a shard, checked; the payload is not read.

    Raises:
        DamagedData: The file is not a shard as kdkit writes it; the message says what is wrong, not where.
        UsageError: A newer kdkit wrote it.
    """
    try:
        with naming(path), open_regular(path) as file:
            return _read(file, path.name)
    except FileNotFoundError as error:
        raise DamagedData("the file is missing") from error


def _read(file: BinaryIO, name: str) -> Shard:
    size = os.fstat(file.fileno()).st_size
    raw = file.read(8)
    length = struct.unpack("<Q", raw)[0] if len(raw) == 8 else -1
    if not 0 <= length <= min(LARGEST_HEADER, size - 8):
        raise DamagedData(f"its header claims to be longer than the file of {size} bytes")
    header = file.read(length)
    if header[:1] != b"{":
        raise DamagedData("its header does not begin with a brace")
    said = read_header(header, size - 8 - length)
    start = 8 + length
    payload_begin, payload_end = said.spans["payload"]
    before = file.read(payload_begin)
    file.seek(start + payload_end)
    after = file.read(size - start - payload_end)
    arrays: dict[str, npt.NDArray[Any]] = {}
    index = hashlib.sha256()
    for tensor, dtype, *_ in INDEX:
        begin, end = said.spans[tensor]
        part = before[begin:end] if end <= payload_begin else after[begin - payload_end : end - payload_end]
        if len(part) != end - begin:
            raise DamagedData("it shrank while it was read")
        index.update(part)
        arrays[tensor] = np.frombuffer(part, _NUMPY[dtype]).astype(_NATIVE[dtype], copy=False)
    if index.hexdigest() != said.index_sha256:
        raise DamagedData("its index does not match its checksum")
    offsets_M = arrays["offsets"]
    if offsets_M[0] != 0 or offsets_M[-1] != payload_end - payload_begin or (offsets_M[1:] < offsets_M[:-1]).any():
        raise DamagedData("its records are not in sequence")
    if (arrays["tokens"] < 0).any():
        raise DamagedData("a record has a negative number of tokens")
    return Shard(
        file=name,
        size=size,
        identity=said.identity,
        state=said.state,
        payload_start=start + payload_begin,
        offsets_M=offsets_M,
        keys_N16=arrays["keys"].reshape(said.records, KEY_BYTES),
        crc32_N=arrays["crc32"],
        tokens_N=arrays["tokens"],
        sha256=hashlib.sha256(raw + header + before + after).hexdigest(),
    )
