"""The report of a run: made from the files of its folder alone."""

from __future__ import annotations

from kdkit.report.page.terminal import closing_table, closing_text
from kdkit.report.run import Page, assemble
from kdkit.report.summary import summary

__all__ = ["Page", "assemble", "closing_table", "closing_text", "summary"]
