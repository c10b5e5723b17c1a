"""The arrays that the records of a cache share: what a codec learnt, in a file named after its content.

A state never changes and may be shared by many shards. Its file is known by its SHA-256, which each shard's header
names: so a state that was lost, cut or swapped is noticed before a record is decoded with it.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import numpy as np

from kdkit.errors import DamagedData
from kdkit.system.files import naming, write_atomically
from kdkit.system.reading import LARGEST_ROWS, open_regular, read_bytes

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from kdkit.api.interfaces.codecs import CodecState

STATE_FILE = re.compile(r"state-[0-9a-f]{32}\.safetensors", re.ASCII)
NO_STATE = ""
_DIGITS = 32


def state_name(sha256: str) -> str:
    """File name of a state."""
    return f"state-{sha256[:_DIGITS]}.safetensors"


def pack_state(state: CodecState) -> bytes:
    """A state as the bytes of a safetensors file, its arrays in the order of their names."""
    from safetensors.numpy import save

    packed: bytes = save({name: np.ascontiguousarray(state[name]) for name in sorted(state)})
    return packed


def write_state(folder: Path, state: CodecState) -> str:
    """Keep a state in a cache's folder; returns its SHA-256.

    Raises:
        KdkitError: The disk is full.
    """
    raw = pack_state(state)
    sha256 = hashlib.sha256(raw).hexdigest()
    path = folder / state_name(sha256)
    if not (path.exists() and path.stat().st_size == len(raw) and read_bytes(path, at_most=LARGEST_ROWS) == raw):
        write_atomically(path, raw)
    return sha256


def read_state(folder: Path, sha256: str) -> dict[str, npt.NDArray[np.generic]]:
    """A state out of a cache's folder.

    Raises:
        DamagedData: It is not what was written; the message names the file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = folder / state_name(sha256)
    try:
        with naming(path), open_regular(path) as file:
            # A file of any size may lie there; not before it is known to be the right one is it read as a whole.
            is_right = hashlib.file_digest(file, "sha256").hexdigest() == sha256
            file.seek(0)
            raw = file.read() if is_right else b""
    except FileNotFoundError as error:
        raise DamagedData(f"{path}: the file is missing") from error
    if hashlib.sha256(raw).hexdigest() != sha256:
        raise DamagedData(f"{path}: its content does not match its name, which shards refer to")
    try:
        state: dict[str, npt.NDArray[np.generic]] = load(raw)
    except (SafetensorError, KeyError, ValueError) as error:  # KeyError: a type that NumPy does not have
        raise DamagedData(f"{path}: it is not a safetensors file of arrays") from error
    return state


def copy_state(source: Path, target: Path, sha256: str) -> None:
    """Copy a state from one cache's folder to another's; does nothing if there is none.

    Raises:
        DamagedData: It is not what was written; the message names the file.
        KdkitError: The disk is full.
    """
    if sha256 == NO_STATE:
        return
    read_state(source, sha256)
    raw, path = read_bytes(source / state_name(sha256), at_most=LARGEST_ROWS), target / state_name(sha256)
    if not (path.exists() and read_bytes(path, at_most=LARGEST_ROWS) == raw):
        write_atomically(path, raw)
