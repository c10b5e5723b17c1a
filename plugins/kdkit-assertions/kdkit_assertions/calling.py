"""How a placed test is called, and what its end says.

A test is called as a plain function. What pytest and unittest would do around it is done in part: the set-up methods of
module and class, and `pytest.mark.parametrize`, each of whose cases is run. Everything else that takes a test runner (a
fixture, a coroutine, a test that is skipped) makes a test that cannot be run here.
"""

from __future__ import annotations

import inspect
import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

HOLDS, FAILS, DOES_NOT_RUN, NOT_RUNNABLE = "holds", "fails", "does_not_run", "not_runnable"


class NotRunnable(Exception):
    """The test cannot be called here, whatever its assertion says."""


def calls_of(namespace: Mapping[str, Any], path: Sequence[str]) -> Iterator[Callable[[], object]]:
    """The calls that run a test: one, or one for each case of its parameters; set-up is part of each.

    Args:
        namespace: Its module's names.
        path: Classes, then the function.

    Raises:
        NotRunnable: It takes more than a call.
    """
    owner = namespace[path[0]] if len(path) > 1 else None
    for name in path[1:-1]:
        owner = getattr(owner, name)
    function = namespace[path[0]] if owner is None else getattr(owner, path[-1])
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise NotRunnable("it is a coroutine or a generator")
    marks = [*_marks(namespace.get("pytestmark")), *_marks(getattr(owner, "pytestmark", None))]
    marks += _marks(getattr(function, "pytestmark", None))
    cases = list(_cases(marks))
    wanted = _required(function)
    is_method = owner is not None and not isinstance(
        inspect.getattr_static(owner, path[-1]), staticmethod | classmethod
    )
    if is_method:
        wanted = wanted[1:]
    if missing := set(wanted) - set(cases[0] if cases else {}):
        raise NotRunnable(f"it takes fixtures: {', '.join(sorted(missing))}")
    for arguments in cases:
        yield lambda arguments=arguments: _call(namespace, owner, path[-1], arguments)  # type: ignore[misc]


def _call(namespace: Mapping[str, Any], owner: Any, name: str, arguments: Mapping[str, Any]) -> None:
    for set_up in ("setUpModule", "setup_module"):
        if callable(found := namespace.get(set_up)):
            _with_as_many(found, None)
    if owner is None:
        if callable(found := namespace.get("setup_function")):
            _with_as_many(found, namespace[name])
        namespace[name](**arguments)
        return
    for set_up in ("setUpClass", "setup_class"):
        if callable(found := getattr(owner, set_up, None)):
            _with_as_many(found, owner)
    instance = owner(name) if hasattr(owner, "failureException") else owner()  # unittest's classes take the name
    for set_up in ("setUp", "setup_method"):
        if callable(found := getattr(instance, set_up, None)):
            _with_as_many(found, getattr(instance, name))
    getattr(instance, name)(**arguments)


def _with_as_many(function: Callable[..., object], argument: object) -> None:
    """Call a set-up function, which may take what it sets up."""
    function(*[argument][: len(_required(function))])


def _required(function: Callable[..., object]) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_ONLY)
    parameters = inspect.signature(function).parameters.values()
    return [one.name for one in parameters if one.default is one.empty and one.kind in kinds]


def _marks(found: Any) -> list[Any]:
    """The marks of pytest as it keeps them, told by what they have and not by their class: pytest need not be there."""
    marks = found if isinstance(found, list | tuple) else [found]
    return [getattr(mark, "mark", mark) for mark in marks if mark is not None]


def _cases(marks: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """The arguments of each call.

    Raises:
        NotRunnable: The marks ask for more than a call.
    """
    axes: list[list[dict[str, Any]]] = []
    for mark in marks:
        if mark.name in {"skip", "usefixtures", "asyncio", "anyio"}:
            raise NotRunnable(f"it is marked {mark.name}")
        if mark.name == "skipif" and any(condition for condition in mark.args[:1] if not isinstance(condition, str)):
            raise NotRunnable("it is skipped here")
        if mark.name == "parametrize":
            names, values = [
                *mark.args,
                *(mark.kwargs[key] for key in ("argnames", "argvalues") if key in mark.kwargs),
            ][:2]
            if mark.kwargs.get("indirect"):
                raise NotRunnable("its parameters go through fixtures")
            axes.append(list(_axis(names, values)))
    for parts in itertools.product(*axes):
        yield {name: value for part in parts for name, value in part.items()}


def _axis(names: str | Sequence[str], values: Any) -> Iterator[dict[str, Any]]:
    listed = [name.strip() for name in names.split(",") if name.strip()] if isinstance(names, str) else list(names)
    alone = isinstance(names, str) and "," not in names
    for value in values:
        if type(value).__name__ == "ParameterSet":
            yield dict(zip(listed, value.values, strict=True))
        else:
            yield dict(zip(listed, [value] if alone else value, strict=True))


def verdict_of(error: BaseException, failure: type[BaseException] = AssertionError) -> str:
    """What it says that a test ended with an exception.

    `AssertionError` fails, and so does `Failed`, as pytest and sympy call it where nothing was raised that should be.
    sympy wraps tests that are known to fail: what it wraps counts.

    Args:
        error: The exception.
        failure: What an `assert` raises, which code may have hidden by another class of that name.
    """
    classes = type(error).__mro__  # the class itself; what it says of itself may be anything
    names = {one.__name__ for one in classes}
    if failure in classes or "Failed" in names:
        return FAILS
    if "XFail" in names:
        return verdict_of(error.__context__, failure) if error.__context__ is not None else DOES_NOT_RUN
    if "XPass" in names:
        return HOLDS
    if NotRunnable in classes or names & {"Skipped", "SkipTest"}:
        return NOT_RUNNABLE
    return DOES_NOT_RUN
