"""TensorBoard: event files in the run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.options import option, positive
from kdkit.api.trackers import TRACKING_FOLDER, require_package

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@attrs.frozen(kw_only=True)
class TensorBoard:
    """Event files in the run folder, at `tracking/tensorboard`; `tensorboard --logdir runs` shows those of all runs."""

    flush_seconds: int = option("Seconds until a number is written to disk.", default=30, check=positive)

    def open(self, *, name: str, folder: Path, recipe: Mapping[str, object]) -> _Events:  # noqa: ARG002 - a tracker's
        """Begin a file; TensorBoard takes all files of a folder for one record.

        Raises:
            MissingInput: TensorBoard is not installed.
        """
        require_package("tensorboard", name="tensorboard")
        import tomli_w
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(folder / TRACKING_FOLDER / "tensorboard"), flush_secs=self.flush_seconds)
        indented = "".join(f"    {line}\n" for line in tomli_w.dumps(recipe).splitlines())  # code, in Markdown
        writer.add_text("recipe", indented)
        return _Events(writer)


class _Events:
    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._step = 0

    def log(self, numbers: Mapping[str, float], *, step: int) -> None:
        self._step = step
        for key, value in numbers.items():
            self._writer.add_scalar(key, value, step)

    def finish(self, scores: Mapping[str, float]) -> None:
        self.log(scores, step=self._step)
        self._writer.close()
