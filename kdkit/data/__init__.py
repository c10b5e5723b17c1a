"""Rows, as text and as token ids: reads, checks, splits and keeps them. Public: the readers that data sets use."""

from __future__ import annotations

from kdkit.data.chats import chat
from kdkit.data.compressed import decompressed
from kdkit.data.fields import RowReader, Template, as_text, field_value, require_rows
from kdkit.data.file_options import FileOptions
from kdkit.data.files import Row, file_rows, files_of
from kdkit.data.jsonlines import DropCount, json_lines, open_lines
from kdkit.data.row_options import Part, RowOptions
from kdkit.data.splitting import Splitter, dealt, is_split_off, split_off
from kdkit.data.streams import gathered, require_streamed
from kdkit.system.packages import licence_of

__all__ = [
    "DropCount",
    "FileOptions",
    "Part",
    "Row",
    "RowOptions",
    "RowReader",
    "Splitter",
    "Template",
    "as_text",
    "chat",
    "dealt",
    "decompressed",
    "field_value",
    "file_rows",
    "files_of",
    "gathered",
    "is_split_off",
    "json_lines",
    "licence_of",
    "open_lines",
    "require_rows",
    "require_streamed",
    "split_off",
]
