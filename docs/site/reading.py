"""What the site shows otherwise than a host of code: titles for names of pages, and options that fit on a telephone."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Any

from docutils import nodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx

OPTIONS = "docs/options"


def _titles(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """A link that is called `recipes.md` is called what that page is called."""
    for link in doctree.findall(nodes.reference):
        if not link.get("internal") or not re.fullmatch(r"[\w./-]+\.md", link.astext()):
            continue
        path, _, anchor = link.get("refuri", "").partition("#")
        page = posixpath.normpath(posixpath.join(posixpath.dirname(docname), path)).removesuffix(".html")
        if page in app.env.titles and not anchor:
            link.children = []
            link.append(nodes.inline("", app.env.titles[page].astext()))


def _tables(app: Sphinx, doctree: nodes.document) -> None:
    if app.env.docname == OPTIONS:
        for table in doctree.findall(nodes.table):
            table["classes"].append("options")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the above."""
    app.connect("doctree-read", _tables)
    app.connect("doctree-resolved", _titles)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
