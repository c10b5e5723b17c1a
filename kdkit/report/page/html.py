"""A page as one HTML file: no network, no script but one that is named by its hash, all from outside escaped."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from importlib import resources
from itertools import chain, count
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import attrs

from kdkit.report.page.document import Listing
from kdkit.report.page.excerpts import Excerpts
from kdkit.report.page.tables import Group, Row
from kdkit.system.wording import visible

if TYPE_CHECKING:
    from jinja2 import Template

    from kdkit.report.page.document import Chart, Document
    from kdkit.report.page.tables import Table

ICON = "data:image/svg+xml," + quote(
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="5.5" cy="5.5" r="4.5" fill="#0a5c9c"/>'
    '<circle cx="11.5" cy="11.5" r="3" fill="#e0691f"/></svg>'
)
"""The page's icon: a large model and a small one."""
SCRIPTS = {"copy.js": Listing, "browser.js": Excerpts}
"""What a page with such blocks runs."""
MOST_PRINTED = 7
"""So many columns of numbers fit beside their labels on a sheet of paper."""


def render(page: Document) -> str:
    """The page as HTML. The same content gives the same text."""
    drawn, chosen = count(), count()

    def draw(chart: Chart) -> Any:
        """A chart: matplotlib has escaped the texts in it."""
        return as_it_stands(chart.svg(key=f"chart{next(drawn)}"))

    taken: set[str] = set()

    def anchor(title: str) -> str:
        """An id for a heading, which no other heading of the page has; ids of all else begin in another way."""
        name = "-".join(["on", *re.findall(r"[a-z0-9]+", title.lower())])
        found = next(each for each in chain([name], (f"{name}-{index}" for index in count(2))) if each not in taken)
        taken.add(found)
        return found

    script = "".join(_code(name) for name, kind in SCRIPTS.items() if any(part.each(kind) for part in page.parts))
    text = _template().render(
        page=page,
        script=script,
        policy=policy(script),
        icon=ICON,
        draw=draw,
        anchor=anchor,
        choice_number=lambda: next(chosen),
    )
    return visible(text)


@functools.cache
def _template() -> Template:
    """The page's template, compiled once in a process; what a single page counts is given to it with the page."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kdkit.report.page", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["sheets"] = sheets
    environment.filters |= {"tied": tied, "as_it_stands": as_it_stands, "enumerated": enumerate}
    environment.filters["kind"] = lambda block: type(block).__name__
    return environment.get_template("page.html.j2")


def _code(name: str) -> str:
    return resources.files("kdkit.report.page").joinpath(name).read_text(encoding="utf-8")


def sheets(table: Table) -> list[Table]:
    """A table as tables that fit on a sheet of paper: one of too many columns in several, each with its labels."""
    columns = table.columns[1:]
    if len(columns) <= MOST_PRINTED:
        return [table]
    count_of_sheets = -(-len(columns) // MOST_PRINTED)
    size = -(-len(columns) // count_of_sheets)
    return [
        attrs.evolve(
            table,
            columns=(table.columns[0], *columns[start : start + size]),
            groups=tuple(
                Group(
                    title=group.title,
                    note=group.note,
                    rows=tuple(
                        Row(label=row.label, note=row.note, cells=row.cells[start : start + size]) for row in group.rows
                    ),
                )
                for group in table.groups
            ),
            note=table.note if start + size >= len(columns) else "",
        )
        for start in range(0, len(columns), size)
    ]


def policy(code: str) -> str:
    """The Content-Security-Policy of a page whose one script is this code: nothing else runs, nothing is fetched."""
    allowed = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    if not code:
        return allowed
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    return f"{allowed}; script-src 'sha256-{digest}'"


def as_it_stands(text: str) -> Any:
    """Text that a template does not escape; only for what kdkit made so that it is harmless."""
    from markupsafe import Markup

    return Markup(text)  # noqa: S704 - see above


def tied(text: str) -> str:
    """The text with number and per cent sign kept on one line."""
    return text.replace(" %", "\u00a0%")
