"""Whether the teacher and the student of a recipe name what is there."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from kdkit.api.interfaces import InputChecker
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdkit.recipe.sections import Recipe


def check_inputs(recipe: Recipe) -> None:
    """Refuse, before the data are read, a teacher or student that names what is not there.

    Raises:
        MissingInput: A model or tokenizer is not to be had.
        UsageError: What is there is no such thing.
    """
    for role, component in (("teacher", recipe.teacher), ("student", recipe.student)):
        if isinstance(component, InputChecker):
            with naming(role):
                component.check_inputs()


@contextmanager
def naming(role: str) -> Iterator[None]:
    """Say of an error within whether it is about the teacher or the student."""
    try:
        yield
    except UsageError as error:
        error.args = (f"{role}: {error}",)
        raise
