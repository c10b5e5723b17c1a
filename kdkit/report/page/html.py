"""Reports as one HTML file each: no network, no script but one that is named by its hash, all from outside escaped."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import TYPE_CHECKING, Any

from kdkit.report.page import formats
from kdkit.report.page.charts import svg

if TYPE_CHECKING:
    from kdkit.report.run import Page


def render(page: Page) -> str:
    """The report of a run as HTML. The same content gives the same text."""
    curves = [(curve, drawn(svg.draw_curve(curve, key=f"curve{index}"))) for index, curve in enumerate(page.curves)]
    whiskers = [
        (chart, drawn(svg.draw_whiskers(chart, key=f"whiskers{index}"))) for index, chart in enumerate(page.whiskers)
    ]
    reliability = page.reliability and drawn(svg.draw_reliability(page.reliability, key="reliability"))
    return fill(
        "run.html.j2",
        script="browser.js" if page.rows is not None else "",
        page=page,
        curves=curves,
        whiskers=whiskers,
        reliability=reliability,
        rows=page.rows and as_it_stands(page.rows.json),
    )


def fill(template: str, *, script: str = "", **values: Any) -> str:
    """A template of this folder that extends `base.html.j2`, with its values.

    Args:
        template: Its name.
        script: Name of the one script that the page runs, a file of this folder; none where empty.
        values: What the template speaks of. Texts are escaped; see `drawn` for what need not be.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kdkit.report.page", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["tied"] = tied
    code = resources.files("kdkit.report.page").joinpath(script).read_text(encoding="utf-8") if script else ""
    text = environment.get_template(template).render(values | {"policy": policy(code), "script": as_it_stands(code)})
    return formats.visible(text)


def policy(code: str) -> str:
    """The Content-Security-Policy of a page whose one script is this code: nothing else runs, nothing is fetched."""
    allowed = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    if not code:
        return allowed
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    return f"{allowed}; script-src 'sha256-{digest}'"


def drawn(svg: str) -> Any:
    """A chart of `kdkit.report.page.charts.svg`: matplotlib has escaped the texts in it."""
    return as_it_stands(svg)


def as_it_stands(text: str) -> Any:
    """Text that a template does not escape; only for what kdkit made so that it is harmless."""
    from markupsafe import Markup

    return Markup(text)  # noqa: S704 - see above


def tied(text: str) -> str:
    """The text with number and per cent sign kept on one line."""
    return text.replace(" %", "\u00a0%")
