"""The site's navigation, read off the tables of docs/README.md: whoever adds a page adds its line there.

Each heading of docs/README.md is a heading of the navigation, and each line of its table is a page below it.
"""

from __future__ import annotations

import posixpath
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
LIST = "docs/README.md"
# Pages that have no line of their own, and the page that they lie under.
UNDER = {
    "docs/plugins": ["docs/tutorial-plugin/README"],
    "docs/components": ["plugins/kdkit-assertions/README", "plugins/kdkit-optuna/README"],
    "docs/results/README": ["docs/results/*/report"],
}
# What is made while the site is built, and the heading that it lies under.
MADE = {"Reference": ["docs/api/index"]}


def listed(page: str, folder: str = "docs") -> dict[str, list[str]]:
    """The names of the pages that a page's tables list, by heading, without their ending."""
    found: dict[str, list[str]] = {}
    for part in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        heading, _, text = part.partition("\n")
        targets = re.findall(r"^\| \[[^\]]+\]\(([^)#]+\.md)\) \|", text, re.MULTILINE)
        if targets:
            found[heading] = [posixpath.normpath(posixpath.join(folder, each))[: -len(".md")] for each in targets]
    return found


def _toctree(pages: list[str], *, caption: str | None = None) -> str:
    options = [":hidden:", ":glob:", ":titlesonly:", ":maxdepth: 2", *([f":caption: {caption}"] if caption else [])]
    return "\n".join(["", "```{toctree}", *options, "", *(f"/{page}" for page in pages), "```", ""])


def _with_navigation(app: Sphinx, docname: str, source: list[str]) -> None:
    if docname == "README":
        app.env.note_dependency(str(ROOT / LIST), docname=docname)
        sections = listed((ROOT / LIST).read_text(encoding="utf-8"))
        source[0] += _toctree([LIST.removesuffix(".md")])
        for heading, pages in sections.items():
            source[0] += _toctree([*pages, *MADE.get(heading, [])], caption=heading)
    elif docname in UNDER:
        source[0] += _toctree(UNDER[docname])


def _out_of_search(app: Sphinx, docname: str, _source: list[str]) -> None:
    """Reports of sweeps are numbers, which a search for words should not find."""
    if docname.endswith("/report"):
        app.env.metadata[docname]["nosearch"] = "true"


def _with_index(app: Sphinx, exception: Exception | None) -> None:
    """The first page also under the name that servers look for."""
    if exception is None and app.builder.format == "html":
        shutil.copyfile(Path(app.outdir, "README.html"), Path(app.outdir, "index.html"))


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the above."""
    app.connect("source-read", _with_navigation)
    app.connect("source-read", _out_of_search)
    app.connect("build-finished", _with_index)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
