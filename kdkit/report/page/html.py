"""A page as one HTML file: no network, no script but one that is named by its hash, all from outside escaped."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from itertools import count
from typing import TYPE_CHECKING, Any

from kdkit.report.page.excerpts import Excerpts
from kdkit.system.wording import visible

if TYPE_CHECKING:
    from kdkit.report.page.document import Chart, Document


def render(page: Document) -> str:
    """The page as HTML. The same content gives the same text."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kdkit.report.page", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    drawn = count()

    def draw(chart: Chart) -> Any:
        """A chart: matplotlib has escaped the texts in it."""
        return as_it_stands(chart.svg(key=f"chart{next(drawn)}"))

    environment.filters |= {"tied": tied, "draw": draw, "as_it_stands": as_it_stands, "enumerated": enumerate}
    environment.filters["kind"] = lambda block: type(block).__name__
    browsed = any(part.each(Excerpts) for part in page.parts)
    script = resources.files("kdkit.report.page").joinpath("browser.js").read_text(encoding="utf-8") if browsed else ""
    text = environment.get_template("page.html.j2").render(page=page, script=script, policy=policy(script))
    return visible(text)


def policy(code: str) -> str:
    """The Content-Security-Policy of a page whose one script is this code: nothing else runs, nothing is fetched."""
    allowed = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
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
