"""How progress is shown here: by who looks."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from kdkit.system.progress.bars import Bars
from kdkit.system.progress.interface import Silent
from kdkit.system.progress.lines import Lines
from kdkit.system.progress.notebook import Notebook, shell

if TYPE_CHECKING:
    from kdkit.system.progress.interface import Progress


def for_stderr() -> Progress:
    """Bars where standard error is a terminal that can draw them, else lines."""
    return Bars() if _is_terminal() else Lines()


def chosen(progress: Progress | bool | None) -> Progress:  # noqa: FBT001 - which is what a caller of kdkit.run writes
    """What a caller asked for.

    Args:
        progress: None for progress where someone looks, in a notebook and on a terminal; True for progress in any case,
            as lines elsewhere; False for none; or where it is shown.
    """
    if progress is None:
        progress = shell() is not None or _is_terminal()
    if isinstance(progress, bool):
        if not progress:
            return Silent()
        return Notebook() if shell() is not None else for_stderr()
    return progress


def _is_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM", "") not in {"dumb", "unknown"}
