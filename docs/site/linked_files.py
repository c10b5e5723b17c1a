"""Files that pages link to and that are not pages: code is shown on a page of its own, other files are copied.

The pages link to files beside them, as on any host of code, and the site needs no address of one.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from sphinx import addnodes
from sphinx.util.osutil import relative_uri

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

SHOWN = {".py": "python", ".toml": "toml", ".json": "json"}
# Larger files are copied: nobody reads them on a page.
LARGEST = 100_000


def _is_shown(path: Path) -> bool:
    return path.suffix in SHOWN and path.stat().st_size <= LARGEST


def _link(app: Sphinx, doctree: nodes.document) -> None:
    """Runs before Sphinx collects downloads, which would put every file into a folder with a digest for a name."""
    docname, root = app.env.docname, Path(app.srcdir)
    files: set[str] = set()
    for node in list(doctree.findall(addnodes.download_reference)):
        path = Path(os.path.normpath(root / Path(docname).parent / node["reftarget"]))
        name = path.relative_to(root).as_posix()
        files.add(name)
        there = f"{name}.html" if _is_shown(path) else name
        link = nodes.reference("", "", *node.children, refuri=relative_uri(f"{docname}.html", there), internal=True)
        node.replace_self(link)
    _files_of(app.env)[docname] = files


def _files_of(env: BuildEnvironment) -> dict[str, set[str]]:
    if not hasattr(env, "kdkit_linked_files"):
        env.kdkit_linked_files = {}  # type: ignore[attr-defined]
    found: dict[str, set[str]] = env.kdkit_linked_files  # type: ignore[attr-defined]
    return found


def _all_files(app: Sphinx) -> list[str]:
    return sorted(set().union(*_files_of(app.env).values()))


def _pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    for name in _all_files(app):
        path = Path(app.srcdir, name)
        if _is_shown(path):
            code = highlight(path.read_text(encoding="utf-8"), get_lexer_by_name(SHOWN[path.suffix]), HtmlFormatter())
            yield name, {"title": name, "body": f'<h1>{name}</h1><div class="file">{code}</div>'}, "page.html"


def _copy(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    for name in _all_files(app):
        if not _is_shown(Path(app.srcdir, name)):
            Path(app.outdir, name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(app.srcdir, name), Path(app.outdir, name))


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the above."""
    app.connect("doctree-read", _link, priority=100)
    app.connect("html-collect-pages", _pages)
    app.connect("build-finished", _copy)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
