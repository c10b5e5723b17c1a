"""Canonical JSON: the one text of a value, its digest, and a strict reader."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from kdkit.errors import DamagedData
from kdkit.system.parsing import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterable


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no blanks, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest_of(value: Any) -> str:
    """SHA-256 of a value that JSON can hold, in hexadecimal digits, whatever the order of its keys."""
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()


def digest_of_list(values: Iterable[Any]) -> str:
    """`digest_of` a list whose values need not be in memory together."""
    digest = hashlib.sha256(b"[")
    for number, value in enumerate(values):
        digest.update(("," * bool(number) + canonical_json(value)).encode("ascii"))
    digest.update(b"]")
    return digest.hexdigest()


def parse_strictly(raw: bytes) -> Any:
    """The value of a JSON text that can be read in one way only.

    Raises:
        DamagedData: It is none, or says something twice, or is too deep, or a name holds half a character.
    """
    try:
        value = parse_json(raw, decoder=_STRICT)
        # Neither a lone surrogate, which cannot be printed, nor a number beyond float64 passes this.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except ValueError as error:
        raise DamagedData(f"it is not JSON that kdkit writes ({error})") from error
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key occurs twice")
    return table


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_STRICT = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)
