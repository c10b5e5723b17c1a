"""The data set `jsonl`: any JSON lines or array, with fields or templates for source and target."""

from __future__ import annotations

import attrs

from kdkit.data.file_options import FileOptions
from kdkit.data.files import JSON


@attrs.frozen(kw_only=True)
class Jsonl(FileOptions):
    """Rows of JSON lines or of JSON arrays: plain, gzip or zstandard."""

    formats = JSON
