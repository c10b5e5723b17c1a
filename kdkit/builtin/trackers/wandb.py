"""Weights & Biases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.options import one_of, option
from kdkit.api.trackers import TRACKING_FOLDER, require_package, tracking_id
from kdkit.errors import UsageError
from kdkit.system.files import make_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@attrs.frozen(kw_only=True)
class WandB:
    """A run of Weights & Biases. Its own settings choose server and account: `wandb login`."""

    project: str = option("The project.", default="kdkit")
    entity: str = option("The user or team; by default your own.", default="")
    group: str = option("Name under which runs are grouped there, such as the runs of a sweep.", default="")
    mode: str = option(
        'Whether numbers are sent at once or kept in the run folder for `wandb sync`; "" follows WANDB_MODE.',
        default="",
        check=one_of("", "online", "offline"),
    )

    def open(self, *, name: str, folder: Path, recipe: Mapping[str, object]) -> _Run:
        """Begin or resume the run whose id is kept in the run folder.

        Raises:
            MissingInput: wandb is not installed.
            UsageError: Nobody is logged in.
        """
        require_package("wandb", name="wandb")
        import wandb

        place = folder / TRACKING_FOLDER
        make_folder(place)
        # It shall neither write to standard output, which is a run's result, nor ask for a key.
        settings = wandb.Settings(silent=True, console="off", **({"mode": self.mode} if self.mode else {}))
        mode = self.mode or wandb.setup(settings).settings.mode
        if mode == "online" and not wandb.login(prompt=False):
            raise UsageError('you are not logged in to wandb: run `wandb login`, or set track.mode = "offline"')
        run = wandb.init(
            project=self.project,
            entity=self.entity or None,
            group=self.group or None,
            name=name,
            id=tracking_id(folder),
            resume="allow",
            dir=str(place),
            config=dict(recipe),
            settings=settings,
        )
        return _Run(run)


class _Run:
    def __init__(self, run: Any) -> None:
        self._run = run
        self._roles: set[str] = set()

    def log(self, numbers: Mapping[str, float], *, step: int) -> None:
        # Teacher and student each count from 1, and wandb drops what is of a lower step than what came before.
        steps = {f"{key.partition('/')[0]}/step": step for key in numbers}
        for name in steps.keys() - self._roles:
            self._run.define_metric(name, hidden=True)
            self._run.define_metric(f"{name.removesuffix('step')}*", step_metric=name)
            self._roles.add(name)
        self._run.log({**numbers, **steps})

    def finish(self, scores: Mapping[str, float]) -> None:
        self._run.summary.update(dict(scores))
        self._run.finish(exit_code=0 if scores else 1)
