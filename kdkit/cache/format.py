"""The bytes of a shard: a safetensors file whose payload comes first and whose index can be checked by itself.

`docs/cache-format.md` says the same for those who write a reader of their own. A shard may come from anywhere: every
length in it is compared with the file's real size before it is used. Arrays carry their shape: N records, M = N + 1.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, BinaryIO

import attrs
import numpy as np

from kdkit.cache.identity import KEY_BYTES, CacheIdentity
from kdkit.cache.state import NO_STATE
from kdkit.canonical import canonical_json, parse_json
from kdkit.errors import DamagedData, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

FORMAT = "kdkit-logit-cache"
VERSION = 2
READ_VERSIONS = ("1", "2")
SHARD_PATTERN = "shard-*.safetensors"
LARGEST_HEADER = 64 * 1024
SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
# Name, safetensors type, shape without the record axis, and how many entries more than records.
INDEX = (("offsets", "I64", (), 1), ("keys", "U8", (KEY_BYTES,), 0), ("crc32", "U32", (), 0), ("tokens", "I32", (), 0))
_NUMPY = {"I64": "<i8", "U32": "<u4", "I32": "<i4", "U8": "u1"}
_LARGEST = 2**63 - 1
_ROUND_TO = 64


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


def index_bytes(records: Sequence[Record]) -> bytes:
    """The index tensors of a shard, in the order of `INDEX`."""
    offsets = np.array([0, *(record.end for record in records)], "<i8")
    crc32 = np.array([record.crc32 for record in records], "<u4")
    tokens = np.array([record.tokens for record in records], "<i4")
    return offsets.tobytes() + b"".join(record.key for record in records) + crc32.tobytes() + tokens.tobytes()


def header_bytes(
    identity: CacheIdentity, state: str, payload: int, records: int, index_sha256: str, *, room: int = 0
) -> bytes:
    """The start of a shard: the header's length, and the header, filled with blanks to `room` bytes."""
    header: dict[str, Any] = {
        "__metadata__": {
            "format": FORMAT,
            "version": str(VERSION),
            "identity": canonical_json(identity.to_table()),
            "identity_sha256": identity.digest,
            "index_sha256": index_sha256,
            "state_sha256": state,
        },
        "payload": {"dtype": "U8", "shape": [payload], "data_offsets": [0, payload]},
    }
    end = payload
    for name, dtype, inner, extra in INDEX:
        begin, end = end, end + _nbytes(dtype, inner, records + extra)
        header[name] = {"dtype": dtype, "shape": [records + extra, *inner], "data_offsets": [begin, end]}
    raw = json.dumps(header, separators=(",", ":")).encode("ascii")
    raw = raw.ljust(room - 8)
    return struct.pack("<Q", len(raw)) + raw


def header_room(identity: CacheIdentity) -> int:
    """Bytes to leave for the header before the payload's size is known.

    Raises:
        UsageError: Teacher name or codec options are longer than a header may be.
    """
    longest = len(header_bytes(identity, "0" * 64, _LARGEST, _LARGEST, "0" * 64))
    room = -(-longest // _ROUND_TO) * _ROUND_TO
    if room - 8 > LARGEST_HEADER:
        raise UsageError(
            f"the name or options of {identity.teacher_name[:60]!r} take {room} bytes; 64 KiB is the limit"
        )
    return room


def read_shard(path: Path) -> Shard:
    """Header and index of a shard, checked; the payload is not read.

    Raises:
        DamagedData: The file is not a shard as kdkit writes it; the message says what is wrong, not where.
        UsageError: A newer kdkit wrote it.
    """
    try:
        with path.open("rb") as file:
            return _read(file, path.name)
    except FileNotFoundError as error:
        raise DamagedData("the file is missing") from error


def _read(file: BinaryIO, name: str) -> Shard:
    size = os.fstat(file.fileno()).st_size
    raw = file.read(8)
    length = struct.unpack("<Q", raw)[0] if len(raw) == 8 else -1
    if not 0 <= length <= min(LARGEST_HEADER, size - 8):
        raise DamagedData(f"a file of {size} bytes cannot have the header it claims to have")
    header = file.read(length)
    if header[:1] != b"{":
        raise DamagedData("its header does not begin with a brace")
    tables = parse_json(header)
    metadata = tables.pop("__metadata__", None)
    identity, index_sha256, state = _check_metadata(metadata)
    records, spans = _check_tensors(tables, size - 8 - length)
    start = 8 + length
    outside = hashlib.sha256(raw + header)
    parts: dict[str, bytes] = {}
    for tensor, (begin, end) in sorted(spans.items(), key=lambda item: item[1]):
        if tensor != "payload":
            file.seek(start + begin)
            parts[tensor] = file.read(end - begin)
            outside.update(parts[tensor])
    if hashlib.sha256(b"".join(parts[tensor] for tensor, *_ in INDEX)).hexdigest() != index_sha256:
        raise DamagedData("its index does not match its checksum")
    arrays = {
        tensor: np.frombuffer(parts[tensor], _NUMPY[dtype]).astype(_NUMPY[dtype].replace("<", "="))
        for tensor, dtype, *_ in INDEX
    }
    payload_begin, payload_end = spans["payload"]
    offsets_M = arrays["offsets"]
    if offsets_M[0] != 0 or offsets_M[-1] != payload_end - payload_begin or np.any(offsets_M[1:] < offsets_M[:-1]):
        raise DamagedData("its records do not follow one another")
    if np.any(arrays["tokens"] < 0):
        raise DamagedData("a record has fewer than no tokens")
    return Shard(
        file=name,
        size=size,
        identity=identity,
        state=state,
        payload_start=start + payload_begin,
        offsets_M=offsets_M,
        keys_N16=arrays["keys"].reshape(records, KEY_BYTES),
        crc32_N=arrays["crc32"],
        tokens_N=arrays["tokens"],
        sha256=outside.hexdigest(),
    )


def _check_metadata(metadata: Any) -> tuple[CacheIdentity, str, str]:
    """The identity, the index's checksum, and the state's."""
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise DamagedData("it is not a shard of a logit cache")
    version = metadata.get("version")
    if version not in READ_VERSIONS:
        raise version_error(version)
    if version == "1":  # which knew no states
        metadata = {**metadata, "state_sha256": NO_STATE} if "state_sha256" not in metadata else {}
    texts = [metadata.get(name) for name in ("identity", "identity_sha256", "index_sha256", "state_sha256")]
    if len(metadata) != 6 or not all(isinstance(text, str) for text in texts):
        raise DamagedData("its metadata are not complete")
    identity = _identity(str(texts[0]))
    if identity.digest != texts[1]:
        raise DamagedData("its identity does not match its checksum")
    state = str(texts[3])
    if state != NO_STATE and not SHA256.fullmatch(state):
        raise DamagedData(f"{state[:80]!r} is no checksum of a state")
    return identity, str(texts[2]), state


@lru_cache(maxsize=16)
def _identity(text: str) -> CacheIdentity:
    """All shards of a cache say the same."""
    return CacheIdentity.from_table(parse_json(text.encode("utf-8")))


def version_error(version: Any) -> Exception:
    """What to raise for a version that is not ours: a newer one, or none at all."""
    if str(version).isdecimal() and len(str(version)) < 6 and int(version) > VERSION:
        return UsageError(f"a newer kdkit wrote it (format version {version}; this one reads {VERSION}): update kdkit")
    return DamagedData(f"{version!r} is no version of the format")


def _check_tensors(tables: dict[str, Any], room: int) -> tuple[int, dict[str, tuple[int, int]]]:
    """How many records there are, and where each tensor lies in the data: all of it, without gap or overlap."""
    if tables.keys() != {"payload", *(name for name, *_ in INDEX)}:
        raise DamagedData(f"it holds the tensors {sorted(tables)[:8]}")
    spans = {name: _check_tensor(name, table) for name, table in tables.items()}
    places = sorted(spans.values())
    if places[0][0] != 0 or places[-1][1] != room or any(one[1] != other[0] for one, other in pairwise(places)):
        raise DamagedData(f"its tensors do not fill the {room} bytes of its data, each once")
    records = tables["tokens"]["shape"][0]
    expected = {name: ("U8", [end - begin]) for name, (begin, end) in spans.items() if name == "payload"}
    expected |= {name: (dtype, [records + extra, *inner]) for name, dtype, inner, extra in INDEX}
    for name, (dtype, shape) in expected.items():
        begin, end = spans[name]
        if (tables[name]["dtype"], tables[name]["shape"]) != (dtype, shape) or _product(dtype, shape) != end - begin:
            raise DamagedData(f"its tensor {name!r} has the wrong type, shape or length")
    return records, spans


def _check_tensor(name: str, table: Any) -> tuple[int, int]:
    """The span of one entry of the header, once its parts are of the right kinds."""
    if isinstance(table, dict) and table.keys() == {"dtype", "shape", "data_offsets"}:
        shape, offsets = table["shape"], table["data_offsets"]
        numbers = [*shape, *offsets] if isinstance(shape, list) and isinstance(offsets, list) else [None]
        if all(type(number) is int and 0 <= number <= _LARGEST for number in numbers) and shape and len(offsets) == 2:
            begin, end = offsets
            if begin <= end:
                return begin, end
    raise DamagedData(f"the entry of tensor {name!r} in its header makes no sense")


def _product(dtype: str, shape: list[int]) -> int:
    return _nbytes(dtype, tuple(shape[1:]), shape[0])


def _nbytes(dtype: str, inner: tuple[int, ...], length: int) -> int:
    size = np.dtype(_NUMPY[dtype]).itemsize * length
    for axis in inner:
        size *= axis
    return size
