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
    """The function that a hook receives: `register(name, component)`."""

    def __call__(self, name: str, target: type[Any] | str, /) -> None:
        """Register a component under a name: a class, or "package.module:Class", imported when first needed."""


@hookspec
def register_datasets(register: Register) -> None:
    """Register the data sets that `[data]` can use."""


@hookspec
def register_teachers(register: Register) -> None:
    """Register the teachers that `[teacher]` can use."""


@hookspec
def register_students(register: Register) -> None:
    """Register the students that `[student]` can use."""


@hookspec
def register_codecs(register: Register) -> None:
    """Register the logit codecs that `[codec]` can use."""


@hookspec
def register_losses(register: Register) -> None:
    """Register the losses that `[loss]` can use."""


@hookspec
def register_metrics(register: Register) -> None:
    """Register the metric suites that `[evaluation] suites` can use."""


@hookspec
def register_references(register: Register) -> None:
    """Register the published numbers that `[reference]` can print beside yours."""


@hookspec
def register_searches(register: Register) -> None:
    """Register the searches that `[sweep.search]` can propose trials with."""


@hookspec
def register_trackers(register: Register) -> None:
    """Register the trackers that `[track]` can send a run's numbers to."""
