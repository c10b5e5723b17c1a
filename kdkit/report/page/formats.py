"""Numbers and texts as a reader wants them: the one place that decides how a number looks on a page or a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from kdkit.system.files import size_text
from kdkit.system.wording import rounded, visible

if TYPE_CHECKING:
    from kdkit.api.values import Interval

EN_DASH = "\u2013"
MINUS = "\u2212"
NONE = EN_DASH
"""Stands where there is no number."""


def metric(value: float | None, decimals: int = 3) -> str:
    """A score: `0.312`, `1.024`, with a true minus sign where it is below 0; large values with fewer digits."""
    if value is None or not math.isfinite(value):
        return NONE
    if abs(value) >= 1e6:  # such as the perplexity of a model that knows nothing
        return f"{value:.2e}".replace("e+", "e").replace("-", MINUS)
    if abs(value) >= 100:
        decimals = 1
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", MINUS)


def span(low: float, high: float, show: Callable[[float], str]) -> str:
    """Both ends of an interval; empty where an end is not known."""
    return f"{show(low)} to {show(high)}" if math.isfinite(low) and math.isfinite(high) else ""


def interval(found: Interval) -> str:
    """Both ends of a score's interval; empty where an end is not known."""
    return span(found.low, found.high, metric)


def signed(value: float | None) -> str:
    """A difference with its sign: `+0.021`; `0.000` where it rounds to none."""
    text = metric(value)
    return text if text == NONE or text.startswith(MINUS) or not text.strip(".0") else f"+{text}"


def signed_interval(found: Interval) -> str:
    """Both ends of a difference's interval; empty where an end is not known."""
    return span(found.low, found.high, signed)


def interval_words(found: Interval) -> str:
    """A difference's interval in a sentence: `95 % interval +0.010 to +0.050`."""
    return f"95 % interval {signed_interval(found) or 'not known'}"


def percent(share: float | None) -> str:
    """A share in per cent; what is less or more than all is never shown as 100 %, what is not nothing never as 0 %."""
    if share is None:
        return NONE
    points = share * 100
    if points > 100:
        return f"{max(points, 100.1):,.{0 if round(points) > 100 else 1}f} %"
    if points in {0, 100}:
        return f"{points:.0f} %"
    for decimals in (0, 1, 2):
        text = f"{points:.{decimals}f}"
        if float(text) not in {0, 100}:
            return f"{text} %"
    return "less than 0.01 %" if points < 50 else "more than 99.99 %"


def count(value: float | None) -> str:
    """A whole number with separators."""
    return NONE if value is None or not math.isfinite(value) else f"{value:,.0f}"


def parameters(value: int) -> str:
    """`60.5 M`."""
    return rounded(value) if value else NONE


def size(value: float | None) -> str:
    """Bytes, in decimal units: `45.5 KB`."""
    return NONE if not value else size_text(value)


def duration(seconds: float | None) -> str:
    """`12 ms`, `3.4 s`, `4 min 12 s`, `3 h 05 min`."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if seconds == 0:
        return "0 s"
    if seconds < 0.9995:
        milliseconds = seconds * 1000
        return f"{milliseconds:.0f} ms" if milliseconds >= 9.95 else f"{milliseconds:#.2g} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min"


def tick(value: float) -> str:
    """A value of an axis, as short as it can be: `0.5`, `2`, `4,100`."""
    return (f"{value:,.0f}" if abs(value) >= 100 else f"{value:.6g}").replace("-", MINUS)


def setting(value: object) -> str:
    """A recipe's value in words: `0.5`, `yes`, `u8-lz4 (scope row)`, `from 1 to 4`, `1, then 2`."""
    if isinstance(value, Mapping):
        return _table(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(map(setting, value)) or "none"
    return str(value)


def is_schedule(table: Mapping[str, object]) -> bool:
    """Whether a recipe's table is a number that changes while a model is trained."""
    return bool(table) and table.keys() <= {"start", "end", "epochs"}


def _table(table: Mapping[str, object]) -> str:
    """A component and its options, a schedule, or anything with keys."""
    told = {key: setting(value) for key, value in table.items()}
    if is_schedule(table):
        epochs = table.get("epochs")
        if isinstance(epochs, list | tuple) and epochs:
            return ", then ".join(map(setting, epochs))
        return f"from {told.get('start')} to {told.get('end')}"
    rest = ", ".join(f"{key} {text}" for key, text in told.items() if key != "name")
    return f"{told['name']} ({rest})" if rest and "name" in told else told.get("name", f"({rest})")


def shortened(text: str, limit: int) -> str:
    """The text, with its middle left out where it is longer than the limit."""
    if len(text) <= limit:
        return text
    head, tail = limit * 3 // 5, limit * 2 // 5
    return f"{text[:head]}\n[... {len(text) - head - tail:,} characters left out ...]\n{text[-tail:]}"


def shortened_label(text: str, limit: int = 22) -> str:
    """A label that fits beside a chart; one that is too long loses its middle, for labels often differ at the end."""
    text = visible(text)
    if len(text) <= limit:
        return text
    tail = (limit - 3) // 2
    return f"{text[: limit - 3 - tail]}...{text[-tail:]}"
