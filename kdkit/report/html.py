"""The report as one HTML file: no network, no script, everything that came from outside escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report import charts, formats

if TYPE_CHECKING:
    from kdkit.report.page import Page


def render(page: Page) -> str:
    """The page as HTML. The same content gives the same text."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kdkit.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["tied"] = tied
    curves = [(curve, charts.draw_curve(curve, key=f"curve{index}")) for index, curve in enumerate(page.curves)]
    whiskers = [
        (chart, charts.draw_whiskers(chart, key=f"whiskers{index}")) for index, chart in enumerate(page.whiskers)
    ]
    text = environment.get_template("template.html.j2").render(
        page=page,
        # Markup is for what this module drew itself: matplotlib escapes the texts in it.
        curves=[(curve, Markup(svg)) for curve, svg in curves],  # noqa: S704 - see above
        whiskers=[(chart, Markup(svg)) for chart, svg in whiskers],  # noqa: S704 - see above
    )
    return formats.visible(text)


def tied(text: str) -> str:
    """The text with number and per cent sign kept on one line."""
    return text.replace(" %", "\u00a0%")
