"""The nine hooks of kdkit: each is called once, at start-up, with a function that takes a name and a component.

A component is a frozen attrs class whose fields are its recipe options, or the string "package.module:Class", which is
imported only when a recipe names it. `kdkit.api` says what each kind of component does.
"""

from __future__ import annotations

from typing import Any, Protocol

import pluggy

hookspec = pluggy.HookspecMarker("kdkit")
hookimpl = pluggy.HookimplMarker("kdkit")


class Register(Protocol):
    """What a hook is given: `register(name, component)`."""

    def __call__(self, name: str, target: type[Any] | str, /) -> None:
        """Enter a component under a name: a class, or "package.module:Class" to be imported when first needed."""


@hookspec
def register_datasets(register: Register) -> None:
    """Name the data sets that `[data]` can use."""


@hookspec
def register_teachers(register: Register) -> None:
    """Name the teachers that `[teacher]` can use."""


@hookspec
def register_students(register: Register) -> None:
    """Name the students that `[student]` can use."""


@hookspec
def register_codecs(register: Register) -> None:
    """Name the logit codecs that `[codec]` can use."""


@hookspec
def register_losses(register: Register) -> None:
    """Name the loss mixers that `[loss]` can use."""


@hookspec
def register_metrics(register: Register) -> None:
    """Name the metric suites that `[evaluation] suites` can use."""


@hookspec
def register_references(register: Register) -> None:
    """Name the published numbers that `[reference]` can print beside ours."""


@hookspec
def register_searches(register: Register) -> None:
    """Name what `[sweep.search]` can propose trials with."""


@hookspec
def register_trackers(register: Register) -> None:
    """Name who `[track]` can tell a run's numbers."""
