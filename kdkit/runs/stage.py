"""The stages of a run: their names, and what a stage is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kdkit.recipe import Recipe
    from kdkit.runs.run import Run
    from kdkit.runs.stage_facts import Estimate, StageFacts

STAGE_NAMES = ("data", "check", "teacher", "write", "capture", "distill", "baseline", "evaluate", "report")
"""In order. Each is a module of `kdkit.pipeline.stages`, where a table says what it leaves, and which runs have it."""


@attrs.frozen(kw_only=True)
class Planned:
    """The plan of a stage.

    Attributes:
        work: What it does, in a few words with numbers.
        tokens: Tokens that a model reads or writes in it; 0 where none does.
        bytes: What it writes at most: a teacher or logits that the store has already are not written again.
    """

    work: str
    tokens: int = 0
    bytes: int = 0


@attrs.frozen(kw_only=True)
class RowsPlanned:
    """The rows of a run, as far as its plan needs them.

    Attributes:
        counts: How many rows of the data set there are of each split: texts and conversations, and not the blocks and
            turns that the models read of them.
        bytes: How much the run folder keeps of all rows.
    """

    counts: Mapping[str, int]
    bytes: int


@attrs.frozen(kw_only=True)
class Stage:
    """A stage of a run.

    Attributes:
        name: Its name.
        work: Does the stage, and gives what it tells later ones, which `run.json` keeps. Under "outputs" that may name
            further files.
        plan: Says beforehand what the stage will do.
        outputs: The files in the run folder without which it is not done.
        leftovers: What else it writes there; patterns. Deleted when an earlier stage is done again.
        restore: Called instead of `work` where the stage is done but some of its outputs are lost, or a later stage
            that may need what it left outside the run folder is not done: makes exactly that again, and gives what the
            stage now tells. So a loss that can be made good costs no finished stage after it. It gives None where the
            same cannot be made: the stage and those after it are then done again. Done by the lead alone.
        together: Whether all processes of a run do it; else the lead does, and the others wait.
        seconds: How many seconds it will take at most, by those that other stages of this run took; None where nothing
            tells.
    """

    name: str
    work: Callable[[Run], StageFacts | None]
    plan: Callable[[Recipe, RowsPlanned, Estimate], Planned]
    outputs: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()
    restore: Callable[[Run], StageFacts | None] | None = None
    together: bool = False
    seconds: Callable[[Run, Mapping[str, float]], float | None] = lambda *_: None
