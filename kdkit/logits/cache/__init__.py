"""The logit cache: encoded teacher logits in a folder, found by the content that they belong to.

`docs/cache-format.md` is the format, byte by byte.
"""

from __future__ import annotations

from kdkit.logits.cache.identity import CacheIdentity, record_key
from kdkit.logits.cache.inventory import caches_below
from kdkit.logits.cache.manifest import Manifest, ShardEntry, read_manifest
from kdkit.logits.cache.mending.convert import convert
from kdkit.logits.cache.mending.merge import Merged, merge
from kdkit.logits.cache.mending.repair import Repaired, repair
from kdkit.logits.cache.mending.take_parts import take_parts
from kdkit.logits.cache.mending.verify import Fault, verify
from kdkit.logits.cache.parts import Part, first_rows
from kdkit.logits.cache.reader import LogitCache
from kdkit.logits.cache.remote.transfer import open_cache
from kdkit.logits.cache.writer import CacheWriter

__all__ = [
    "CacheIdentity",
    "CacheWriter",
    "Fault",
    "LogitCache",
    "Manifest",
    "Merged",
    "Part",
    "Repaired",
    "ShardEntry",
    "caches_below",
    "convert",
    "first_rows",
    "merge",
    "open_cache",
    "read_manifest",
    "record_key",
    "repair",
    "take_parts",
    "verify",
]
