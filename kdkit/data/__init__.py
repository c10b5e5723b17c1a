"""Rows, as text and as token ids: reads, checks, splits and keeps them. Public: the readers that data sets use."""

from __future__ import annotations

from kdkit.data.compressed import decompressed
from kdkit.data.fields import RowReader, Template, as_text, field_value, require_rows
from kdkit.data.jsonlines import DropCount, json_lines, open_lines
from kdkit.data.splitting import is_split_off, split_off
from kdkit.data.streams import gathered, require_streamed

__all__ = [
    "DropCount",
    "RowReader",
    "Template",
    "as_text",
    "decompressed",
    "field_value",
    "gathered",
    "is_split_off",
    "json_lines",
    "open_lines",
    "require_rows",
    "require_streamed",
    "split_off",
]
