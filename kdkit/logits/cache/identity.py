"""The identity of a cache, and the key of a record."""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Any, cast

import attrs
import numpy as np

from kdkit.errors import DamagedData
from kdkit.system.digests import canonical_json
from kdkit.system.parsing import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    IntArray = npt.NDArray[np.signedinteger[Any]]

KEY_BYTES = 16
_KEY_DOMAIN = b"kdkit-logit-key-1"
LARGEST_VOCABULARY = 2**31 - 1


def record_key(teacher: str, tokenizer: str, source_ids: Sequence[int], target_ids: Sequence[int]) -> bytes:
    """The 16-byte key of a record: a digest of everything that its logits depend on.

    Every part carries its length, so that no two different rows share their bytes.

    Args:
        teacher: The teacher's identity (`OpenTeacher.identity`).
        tokenizer: Digest of the tokenizer.
        source_ids: Encoder input.
        target_ids: Labels.
    """
    return RecordKey(teacher, tokenizer).of(source_ids, target_ids)


class RecordKey:
    """The keys of one teacher's records (see `record_key`): what they begin with is digested once."""

    def __init__(self, teacher: str, tokenizer: str) -> None:
        self._begun = hashlib.sha256(_KEY_DOMAIN)
        for text in (teacher, tokenizer):
            raw = text.encode("utf-8")
            self._begun.update(struct.pack("<Q", len(raw)) + raw)

    def of(self, source_ids: Sequence[int] | IntArray, target_ids: Sequence[int] | IntArray) -> bytes:
        """The key of a record."""
        digest = self._begun.copy()
        for ids in (source_ids, target_ids):
            digest.update(struct.pack("<Q", len(ids)) + np.asarray(ids, "<i8").tobytes())
        return digest.digest()[:KEY_BYTES]


def _as_read(options: Mapping[str, Any]) -> dict[str, Any]:
    """A table as JSON reads it back: two that are written alike are equal."""
    return cast(dict[str, Any], parse_json(canonical_json(dict(options))))


@attrs.frozen(kw_only=True)
class CacheIdentity:
    """Whose logits a cache holds, over which ids, and in which coding.

    Attributes:
        teacher: Digest of what determines the logits.
        teacher_name: What people call the teacher; two identities that differ only here are one.
        tokenizer: Digest of the tokenizer.
        codec: The codec's registered name.
        codec_options: Its options (see `kdkit.plugins.fields.identity_of`).
        vocab_size: Width of the logits.
    """

    teacher: str
    teacher_name: str = attrs.field(eq=False)
    tokenizer: str
    codec: str
    codec_options: dict[str, Any] = attrs.field(converter=_as_read)
    vocab_size: int

    @property
    def digest(self) -> str:
        """SHA-256 of everything but the human name, as hexadecimal digits."""
        table = self.to_table()
        del table["teacher_name"]
        return hashlib.sha256(canonical_json(table).encode("ascii")).hexdigest()

    def to_table(self) -> dict[str, Any]:
        """Its fields as a JSON table."""
        return attrs.asdict(self)

    @classmethod
    def from_table(cls, table: Any) -> CacheIdentity:
        """The identity that `to_table` wrote.

        Raises:
            DamagedData: It is none.
        """
        kinds = {
            "teacher": str,
            "teacher_name": str,
            "tokenizer": str,
            "codec": str,
            "codec_options": dict,
            "vocab_size": int,
        }
        if not isinstance(table, dict) or {name: type(value) for name, value in table.items()} != kinds:
            raise DamagedData("its identity is incomplete")
        if not 1 <= table["vocab_size"] <= LARGEST_VOCABULARY:
            raise DamagedData(f"its vocabulary of {table['vocab_size']} is not possible")
        return cls(**table)

    def describe(self) -> str:
        """One phrase for people."""
        return (
            f"{self.teacher_name} ({self.teacher[:12]}), tokenizer {self.tokenizer[:12]}, codec {self.codec} "
            f"{canonical_json(self.codec_options)}, vocabulary {self.vocab_size}"
        )
