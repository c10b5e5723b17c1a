"""What can go wrong, and the exit code of each.

    KdkitError            1   the run failed
    ├── UsageError        2   a request that cannot be carried out as it stands (also a ValueError)
    │   ├── RecipeError   2   a recipe is wrong; carries every problem found, with its place
    │   ├── PluginError   2   a plugin is missing, broken or collides with another
    │   ├── MissingInput  2   a file, model or data set does not exist
    │   ├── Busy          2   another process is using it
    │   └── Mismatch      2   two things that must belong together do not
    ├── DamagedData       4   stored data have changed since they were written
    ├── Lost              1   another process of the run ended without a word, or hangs
    ├── Elsewhere         -   another process of the run failed (with its exit code) and reports the cause
    └── Interrupted     130   stopped by Ctrl-C or `cancel` (143: SIGTERM, 129: terminal closed), after saving its work

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
    """The request cannot be carried out as it stands."""

    exit_code: ClassVar[int] = 2


class RecipeError(UsageError):
    """A recipe is wrong.

    Attributes:
        problems: Every problem, each a line `file:line:column: path: message`.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class PluginError(UsageError):
    """A plugin is missing, broken, or collides with another."""


class MissingInput(UsageError):
    """A file, model or data set does not exist."""


class Busy(UsageError):
    """Another process is using what this one must write."""


class Mismatch(UsageError):
    """Two things that must belong together do not: tokenizers, a cache and a teacher, a recipe and a run folder."""


class DamagedData(KdkitError):
    """Stored data have changed since they were written."""

    exit_code: ClassVar[int] = 4


class Lost(KdkitError):
    """Another process of the run ended without saying why, or it hangs.

    Attributes:
        signal_exit_code: 1, or the code of a signal that asked for a stop before.
    """

    def __init__(self, message: str, *, signal_exit_code: int = KdkitError.exit_code) -> None:
        super().__init__(message)
        self.signal_exit_code = signal_exit_code


class Elsewhere(KdkitError):
    """Another process of the run failed and reports the cause itself.

    Attributes:
        signal_exit_code: The exit code of that process.
    """

    def __init__(self, message: str, *, exit_code_there: int) -> None:
        super().__init__(message)
        self.signal_exit_code = exit_code_there


class Interrupted(KdkitError):
    """A signal, or the `cancel` of a call, stopped the work, after what was done had been saved.

    Attributes:
        signal_exit_code: 128 and the signal's number: 130 for Ctrl-C and for `cancel`, 143 for SIGTERM, 129 for SIGHUP.
    """

    exit_code: ClassVar[int] = 130

    def __init__(self, message: str, *, signal_exit_code: int = 130) -> None:
        super().__init__(message)
        self.signal_exit_code = signal_exit_code
