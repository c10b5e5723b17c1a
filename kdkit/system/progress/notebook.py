"""Progress under a notebook's cell: the same as on a terminal, in one output that changes."""

from __future__ import annotations

import importlib
import sys
import time
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

from kdkit.system.progress.work import Work, clock, whole
from kdkit.system.wording import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kdkit.system.progress.interface import StageShown, Task

EVERY = 0.5
"""Seconds between two pictures: each is a message to the browser, and part of what is saved."""
CELL = "padding:0 1em 0 0;text-align:left;border:0;background:none"


def shell() -> Any | None:
    """The shell of the notebook that this process is the kernel of; None elsewhere, a terminal's IPython included."""
    ipython = sys.modules.get("IPython")
    found = ipython.get_ipython() if ipython is not None else None
    return found if getattr(found, "kernel", None) is not None else None


class Notebook:
    """Progress in a notebook; the notes stay."""

    def __init__(self, display: Callable[..., Any] | None = None) -> None:
        self._display = display if display is not None else importlib.import_module("IPython.display").display
        self._handle: Any = None
        self._stage: StageShown | None = None
        self._works: list[Work] = []
        self._notes: list[str] = []
        self._last = 0.0

    @contextmanager
    def stage(self, stage: StageShown) -> Iterator[None]:
        """A stage; a line with its time stays."""
        self._stage = stage
        try:
            self._draw()
            yield
            self._notes.append(f"{stage}, {clock(stage.before + stage.seconds)}")
        finally:
            self._stage = None
            self._draw()

    @contextmanager
    def task(self, name: str, *, total: int | None, unit: str, done: int = 0) -> Iterator[Task]:
        """A bar with what is done and how long the rest will take."""
        work = Work(name=name, total=total, unit=unit, done=done)
        self._works.append(work)
        try:
            self._draw()
            yield _Shown(work, self._draw_now_and_then)
        finally:
            self._works.remove(work)
            self._draw()

    def note(self, message: str) -> None:
        """One line above the bars."""
        self._notes.append(visible(message))
        self._draw()

    def _draw_now_and_then(self) -> None:
        if time.monotonic() - self._last >= EVERY:
            self._draw()

    def _draw(self) -> None:
        self._last = time.monotonic()
        picture = _Picture(self._html(), self._text())
        if self._handle is None:
            self._handle = self._display(picture, display_id=True)
        else:
            self._handle.update(picture)

    def _html(self) -> str:
        head = "" if self._stage is None else _head(self._stage, self._works)
        notes = f'<pre style="margin:0;white-space:pre-wrap">{escape(self._text())}</pre>' if self._notes else ""
        rows = "".join(map(_row, self._works))
        return f'{notes}{head}<table style="border:0;margin:0">{rows}</table>' if rows else f"{notes}{head}"

    def _text(self) -> str:
        return "\n".join(self._notes)


class _Shown:
    def __init__(self, work: Work, draw: Callable[[], None]) -> None:
        self._work, self._draw = work, draw

    def advance(self, amount: int = 1, **facts: str) -> None:
        self._work.advance(amount, **facts)
        self._draw()


class _Picture:
    """What a notebook shows; as text where it shows no HTML."""

    def __init__(self, html: str, text: str) -> None:
        self._html, self._text = html, text

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return self._text


def _head(stage: StageShown, works: list[Work]) -> str:
    return f"<div><b>{escape(str(stage))}</b> &nbsp; {escape(whole(stage, works))}</div>"


def _row(work: Work) -> str:
    done = "" if work.total is None else f' value="{work.done}" max="{work.total}"'
    told = " &nbsp; ".join(map(escape, work.told))
    cells = (escape(work.name), f"<progress{done}></progress>", escape(work.counted), escape(work.timed), told)
    return "<tr>" + "".join(f'<td style="{CELL}">{cell}</td>' for cell in cells) + "</tr>"
