"""Progress: bars on a terminal and in a notebook, lines elsewhere, nothing in scripts that do not ask for it."""

from kdkit.system.progress.bars import Bars
from kdkit.system.progress.choice import chosen, for_stderr
from kdkit.system.progress.interface import Progress, Silent, StageShown, Task
from kdkit.system.progress.lines import Lines
from kdkit.system.progress.measured import Measured, MeasuredStage
from kdkit.system.progress.notebook import Notebook
from kdkit.system.progress.once import Once
from kdkit.system.progress.polled import Polled
from kdkit.system.progress.work import clock

__all__ = [
    "Bars",
    "Lines",
    "Measured",
    "MeasuredStage",
    "Notebook",
    "Once",
    "Polled",
    "Progress",
    "Silent",
    "StageShown",
    "Task",
    "chosen",
    "clock",
    "for_stderr",
]
