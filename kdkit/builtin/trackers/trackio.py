"""Trackio: a database on this machine, or a space of its own."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.options import option
from kdkit.api.trackers import require_package, tracking_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@attrs.frozen(kw_only=True)
class Trackio:
    """A run of trackio, which `trackio show` shows; kept on this machine unless a space is named."""

    project: str = option("The project.", default="kdkit")
    space: str = option(
        "A space to send the numbers to, as OWNER/NAME; by default they stay on this machine.", default=""
    )
    group: str = option("Name under which runs are grouped there, such as the runs of a sweep.", default="")

    def open(self, *, name: str, folder: Path, recipe: Mapping[str, object]) -> _Run:
        """Begin or resume a run.

        Raises:
            MissingInput: trackio is not installed.
        """
        require_package("trackio", name="trackio")
        import trackio

        with redirect_stdout(sys.stderr):  # standard output is a run's result
            run = trackio.init(
                project=self.project,
                # Its runs are told apart by their names.
                name=f"{name} {tracking_id(folder)}",
                group=self.group or None,
                space_id=self.space or None,
                config=dict(recipe),
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        return _Run(run)


class _Run:
    def __init__(self, run: Any) -> None:
        self._run = run
        self._step = 0

    def log(self, numbers: Mapping[str, float], *, step: int) -> None:
        self._step = step
        self._run.log(dict(numbers), step=step)

    def finish(self, scores: Mapping[str, float]) -> None:
        with redirect_stdout(sys.stderr):
            if scores:
                self._run.log(dict(scores), step=self._step)
            self._run.finish()
