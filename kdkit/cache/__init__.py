"""The logit cache: encoded teacher logits in a folder, found by the content that they belong to.

`docs/cache-format.md` is the format, byte by byte.
"""

from __future__ import annotations

from kdkit.cache.identity import CacheIdentity, options_of, record_key
from kdkit.cache.manifest import Manifest, ShardEntry, read_manifest
from kdkit.cache.reader import LogitCache
from kdkit.cache.verify import Fault, caches_below, verify
from kdkit.cache.writer import CacheWriter

__all__ = [
    "CacheIdentity",
    "CacheWriter",
    "Fault",
    "LogitCache",
    "Manifest",
    "ShardEntry",
    "caches_below",
    "options_of",
    "read_manifest",
    "record_key",
    "verify",
]
