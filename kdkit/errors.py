"""What can go wrong, and the exit code of each.

    KdkitError            1   the run failed
    ├── UsageError        2   what was asked for cannot be done as asked (also a ValueError)
    │   ├── RecipeError   2   a recipe is wrong; carries every problem found, with its place
    │   ├── PluginError   2   a plugin is missing, broken or collides with another
    │   ├── MissingInput  2   a file, model or data set is not there
    │   ├── Busy          2   another process is at work on it
    │   └── Mismatch      2   two things that must belong together do not
    ├── DamagedData       4   stored data are not what was written
    ├── Lost              1   another process of the run is gone, or hangs
    ├── Elsewhere         -   another process of the run failed; its code, and it says why
    └── Interrupted     130   stopped by Ctrl-C (143 by SIGTERM, 129 by a closed terminal), after saving what was done

A message is one sentence: the offending value, where it stands, and what to do next.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "Busy",
    "DamagedData",
    "Elsewhere",
    "Interrupted",
    "KdkitError",
    "Lost",
    "Mismatch",
    "MissingInput",
    "PluginError",
    "RecipeError",
    "UsageError",
]


class KdkitError(Exception):
    """Base of every error that kdkit raises on purpose."""

    exit_code: ClassVar[int] = 1


class UsageError(KdkitError, ValueError):
    """What was asked for cannot be done as asked."""

    exit_code: ClassVar[int] = 2


class RecipeError(UsageError):
    """A recipe is wrong.

    Attributes:
        problems: Every problem found, each a line `file:line:column: path: message`.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class PluginError(UsageError):
    """A plugin is missing, broken, or collides with another."""


class MissingInput(UsageError):
    """A file, model or data set is not there."""


class Busy(UsageError):
    """Another process is at work on what is to be written."""


class Mismatch(UsageError):
    """Two things that must belong together do not: tokenizers, a cache and a teacher, a recipe and a run folder."""


class DamagedData(KdkitError):
    """Stored data are not what was written."""

    exit_code: ClassVar[int] = 4


class Lost(KdkitError):
    """Another process of the run is gone, and has not said why; or it hangs.

    Attributes:
        signal_exit_code: 1, or that of a signal which had asked to stop before.
    """

    def __init__(self, message: str, *, signal_exit_code: int = KdkitError.exit_code) -> None:
        super().__init__(message)
        self.signal_exit_code = signal_exit_code


class Elsewhere(KdkitError):
    """Another process of the run failed, and says what of.

    Attributes:
        signal_exit_code: The code that one ends with.
    """

    def __init__(self, message: str, *, exit_code_there: int) -> None:
        super().__init__(message)
        self.signal_exit_code = exit_code_there


class Interrupted(KdkitError):
    """Stopped by a signal after what was done had been saved.

    Attributes:
        signal_exit_code: 128 and the signal's number: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.
    """

    exit_code: ClassVar[int] = 130

    def __init__(self, message: str, *, signal_exit_code: int = 130) -> None:
        super().__init__(message)
        self.signal_exit_code = signal_exit_code
