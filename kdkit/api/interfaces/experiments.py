"""Components around experiments: published numbers, searches for a sweep, and trackers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from kdkit.api.values import AxisValue, Outcome, PublishedRun


@runtime_checkable
class Reference(Protocol):
    """Published numbers (`[reference]`), printed beside those of a run or sweep. They change nothing."""

    @property
    def source(self) -> str:
        """Who published them, where and when."""
        ...

    def runs(self) -> Sequence[PublishedRun]:
        """The runs that were published."""
        ...


@runtime_checkable
class Search(Protocol):
    """A search (`[sweep.search]`): proposes the trials of a sweep one by one, given the results so far."""

    @property
    def axes(self) -> Sequence[str]:
        """The keys that the search varies, such as `loss.alpha`."""
        ...

    @property
    def trials(self) -> int:
        """How many trials to run."""
        ...

    def ends(self) -> Iterable[AxisValue]:
        """Values that kdkit tries in the recipe, one by one, before the first trial: wrong ones are reported at once.

        Of each axis the ends of its range, or all of its choices.
        """
        ...

    def open(self, folder: Path, *, seed: int) -> OpenSearch:
        """Start proposing.

        The truth about trials stays in their run folders: whatever is kept in the folder may be lost, and is then made
        again from the outcomes that `tell` gets.

        Args:
            folder: The sweep's folder, for files of its own.
            seed: The recipe's.

        Raises:
            KdkitError: What it keeps cannot be reached.
        """
        ...


@runtime_checkable
class OpenSearch(Protocol):
    """A search at work."""

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Tell the search the outcomes of all trials so far; earlier ones come again."""
        ...

    def ask(self) -> Mapping[str, object]:
        """The next trial: a TOML value for each axis."""
        ...

    def close(self) -> None:
        """Close the search."""
        ...


@runtime_checkable
class Tracker(Protocol):
    """A tracker (`[track]`): receives a run's numbers during the run. TensorBoard and the like."""

    def open(self, *, name: str, folder: Path, recipe: Mapping[str, object]) -> OpenTracker:
        """Begin or resume the record of a run.

        Args:
            name: The run's name.
            folder: The run folder.
            recipe: The resolved recipe.
        """
        ...


@runtime_checkable
class OpenTracker(Protocol):
    """A record that is being written. kdkit reports its first error and never stops a run for it."""

    def log(self, numbers: Mapping[str, float], *, step: int) -> None:
        """Some numbers of a step, named as `student/train/loss`."""
        ...

    def finish(self, scores: Mapping[str, float]) -> None:
        """The numbers at the run's end, named as `student/truth/text/f1`; or none, where the run was stopped."""
        ...
