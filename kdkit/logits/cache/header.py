"""The header of a shard: JSON that says whose logits it holds, and where in the file each tensor lies.

Every length in it is checked before it is used: a shard may come from anywhere.
"""

from __future__ import annotations

import json
import re
import struct
from functools import lru_cache
from itertools import pairwise
from typing import Any

import attrs

from kdkit.errors import DamagedData, UsageError
from kdkit.logits.cache.identity import KEY_BYTES, CacheIdentity
from kdkit.logits.cache.state import NO_STATE
from kdkit.system.digests import canonical_json, parse_strictly
from kdkit.system.parsing import parse_json

FORMAT = "kdkit-logit-cache"
VERSION = 2
READ_VERSIONS = ("1", "2")
LARGEST_HEADER = 64 * 1024
SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
# Name, safetensors type, shape without the record axis, and how many entries more than records.
INDEX = (("offsets", "I64", (), 1), ("keys", "U8", (KEY_BYTES,), 0), ("crc32", "U32", (), 0), ("tokens", "I32", (), 0))
_ITEM = {"I64": 8, "U32": 4, "I32": 4, "U8": 1}
_LARGEST = 2**63 - 1
_ROUND_TO = 64


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
            f"the name and options of {identity.teacher_name[:60]!r} take {room} bytes; shorten them to 64 KiB at most"
        )
    return room


@attrs.frozen(kw_only=True)
class Header:
    """The contents of a shard's header, checked.

    Attributes:
        identity: Whose logits these are.
        index_sha256: Of the index tensors, one after another.
        state: SHA-256 of the codec's state; "" where the codec has none.
        records: How many there are.
        spans: Where each tensor begins and ends, counted from the end of the header.
    """

    identity: CacheIdentity
    index_sha256: str
    state: str
    records: int
    spans: dict[str, tuple[int, int]]


def read_header(header: bytes, room: int) -> Header:
    """The contents of a header.

    Args:
        header: Its bytes, without its length.
        room: Bytes of the file after it.

    Raises:
        DamagedData: It is not the header of a shard as kdkit writes it, or of a file of this size.
        UsageError: A newer kdkit wrote it.
    """
    return _own_header(header, room) or _any_header(header, room)


def _any_header(header: bytes, room: int) -> Header:
    """The contents of a header, whoever wrote it."""
    tables = parse_strictly(header)
    identity, index_sha256, state = _check_metadata(tables.pop("__metadata__", None))
    records, spans = _check_tensors(tables, room)
    return Header(identity=identity, index_sha256=index_sha256, state=state, records=records, spans=spans)


# A header as `header_bytes` writes it, up to the tensors. Nothing in it can be read in two ways.
_OWN = re.compile(
    rb'\{"__metadata__":\{"format":"%b","version":"%d",'
    % (FORMAT.encode(), VERSION)
    + rb'"identity":("(?:[ !#-\[\]-~]|\\["\\])*"),"identity_sha256":"([0-9a-f]{64})",'
    rb'"index_sha256":"([0-9a-f]{64})","state_sha256":"([0-9a-f]{64}|)"\},'
    rb'("payload":.*"tokens":\{"dtype":"I32","shape":\[([0-9]{1,18})\],.*)\} *'
)


def _own_header(header: bytes, room: int) -> Header | None:
    """The contents of a header that `header_bytes` wrote, to the byte; None of any other.

    Caches have thousands of shards, and this takes a fraction of the time: all that has to be checked is how many
    records there are and that the identity, which all shards share, has its digest.
    """
    found = _OWN.fullmatch(header)
    if found is None:
        return None
    token, digest, index_sha256, state, tensors, count = found.groups()
    records = int(count)
    payload = room - sum(_nbytes(dtype, inner, records + extra) for _, dtype, inner, extra in INDEX)
    if payload < 0:
        return None
    texts = [f'"payload":{{"dtype":"U8","shape":[{payload}],"data_offsets":[0,{payload}]}}']
    spans = {"payload": (0, payload)}
    end = payload
    for name, dtype, inner, extra in INDEX:
        begin, end = end, end + _nbytes(dtype, inner, records + extra)
        shape = ",".join(map(str, (records + extra, *inner)))
        texts.append(f'"{name}":{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{begin},{end}]}}')
        spans[name] = (begin, end)
    if ",".join(texts).encode("ascii") != tensors:
        return None
    identity, its_digest = _identity(parse_json(token))
    if its_digest != digest.decode("ascii"):
        return None
    return Header(
        identity=identity,
        index_sha256=index_sha256.decode("ascii"),
        state=state.decode("ascii"),
        records=records,
        spans=spans,
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
        raise DamagedData("its metadata are incomplete")
    identity, digest = _identity(str(texts[0]))
    if digest != texts[1]:
        raise DamagedData("its identity does not match its checksum")
    state = str(texts[3])
    if state != NO_STATE and not SHA256.fullmatch(state):
        raise DamagedData(f"{state[:80]!r} is not the checksum of a state")
    return identity, str(texts[2]), state


@lru_cache(maxsize=16)
def _identity(text: str) -> tuple[CacheIdentity, str]:
    """An identity and its digest; all shards of a cache say the same."""
    identity = CacheIdentity.from_table(parse_strictly(text.encode("utf-8")))
    return identity, identity.digest


def version_error(version: Any) -> Exception:
    """The error for a version that is not ours: a newer one, or none at all."""
    if str(version).isdecimal() and len(str(version)) < 6 and int(version) > VERSION:
        return UsageError(f"a newer kdkit wrote it (format version {version}; this one reads {VERSION}): update kdkit")
    return DamagedData(f"{version!r} is not a version of the format")


def _check_tensors(tables: dict[str, Any], room: int) -> tuple[int, dict[str, tuple[int, int]]]:
    """How many records there are, and where each tensor lies in the data: all of it, without gap or overlap."""
    if tables.keys() != {"payload", *(name for name, *_ in INDEX)}:
        raise DamagedData(f"it holds the tensors {sorted(tables)[:8]}")
    spans = {name: _check_tensor(name, table) for name, table in tables.items()}
    places = sorted(spans.values())
    if places[0][0] != 0 or places[-1][1] != room or any(one[1] != other[0] for one, other in pairwise(places)):
        raise DamagedData(f"its tensors do not fill the {room} bytes of its data exactly once")
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
    raise DamagedData(f"the entry of tensor {name!r} in its header is not valid")


def _product(dtype: str, shape: list[int]) -> int:
    return _nbytes(dtype, tuple(shape[1:]), shape[0])


def _nbytes(dtype: str, inner: tuple[int, ...], length: int) -> int:
    size = _ITEM[dtype] * length
    for axis in inner:
        size *= axis
    return size
