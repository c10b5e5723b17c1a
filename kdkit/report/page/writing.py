"""A page as two files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.page import html, markdown
from kdkit.system.files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.report.page.document import Document


def write_page(page: Document, path: Path) -> None:
    """Write the page to `path` and the same as Markdown beside it, with the ending `.md`, each whole or not at all."""
    write_atomically(path, html.render(page).encode())
    write_atomically(path.with_suffix(".md"), markdown.render(page).encode())
