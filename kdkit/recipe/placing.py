"""Faults that show only once a recipe is at work, with the place in the recipe of the option that they are about."""

from __future__ import annotations

import functools
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from kdkit.errors import Mismatch, MissingInput, PluginError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kdkit.recipe.sections import Recipe

Work = TypeVar("Work", bound="Callable[..., Any]")
_OWN_PLACE = re.compile(r"\S+:(\d| row \d)|-o ")
_PATH = re.compile(r"[a-z_]+(?:\.[a-z_0-9]+)+")
_FIELD = re.compile(r"([a-z_]+): ([a-z_]+)\b")
_KEY = re.compile(r"([a-z_]+) = ")
_KINDS = (UsageError, MissingInput, Mismatch, PluginError)


@contextmanager
def placing(recipe: Recipe, section: str = "") -> Iterator[None]:
    """Within the block a refusal that begins with an option of the recipe begins with the option's place.

    Args:
        recipe: The recipe.
        section: The section that is at work: a refusal then need only name the option, wherever that is in it.

    Raises:
        UsageError: One within; with its place.
    """
    try:
        yield
    except UsageError as error:
        place = place_of(recipe, str(error), section)
        if type(error) not in _KINDS or not place:
            raise
        raise type(error)(f"{place}: {error}") from error


def placed(work: Work) -> Work:
    """A function of a recipe, its first argument, whose refusals begin with places: see `placing`."""

    @functools.wraps(work)
    def placed_work(recipe: Recipe, *args: Any, **options: Any) -> Any:
        with placing(recipe):
            return work(recipe, *args, **options)

    return cast(Work, placed_work)


def place_of(recipe: Recipe, sentence: str, section: str = "") -> str:
    """The place of the option that a refusal is about; empty where it has a place, or is about none that is given."""
    if _OWN_PLACE.match(sentence):
        return ""
    sections = {key[0] for key in recipe.places}
    path: tuple[str, ...]
    if (found := _PATH.match(sentence)) and found[0].partition(".")[0] in sections:
        path = tuple(found[0].split("."))
    elif (found := _FIELD.match(sentence)) and found[1] in sections:
        path = (found[1], found[2])
    elif (found := _KEY.match(sentence)) and found[1] in sections:
        path = (found[1],)
    else:
        options = {key[1] for key in recipe.places if key[:1] == (section,) and len(key) > 1}
        named = [word for word in re.findall(r"[a-z_]+", sentence) if word in options]
        values = recipe.resolved.get(section, {})
        named += [name for name, value in values.items() if name in options and _is_said(value, sentence)]
        path = (section, named[0]) if named else (section,)
    near = [path[:length] for length in range(len(path), 0, -1) if path[:length] in recipe.places]
    return str(recipe.places[near[0]]) if near else ""


def _is_said(value: object, sentence: str) -> bool:
    """Whether a text of a recipe, such as a path, stands in a sentence."""
    return isinstance(value, str) and bool(value) and value in sentence
