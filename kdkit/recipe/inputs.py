"""What a recipe refers to: checks that teacher and student exist, and reads the rows of its data set."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from kdkit.api.interfaces import FetchedSource, InputChecker, PromptSource, StreamedSource
from kdkit.errors import MissingInput, UsageError
from kdkit.recipe.compatibility import check_kinds, check_parts
from kdkit.recipe.placing import placing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdkit.api.values import Corpus
    from kdkit.recipe.sections import Recipe
    from kdkit.system.progress import Progress


def check_inputs(recipe: Recipe) -> None:
    """Refuse, before the data are read, parts that do not fit, and a teacher or student whose files do not exist.

    Raises:
        MissingInput: A model or tokenizer is not available.
        UsageError: A named file or folder is of another kind.
    """
    check_parts(recipe)
    for role, component in (("teacher", recipe.teacher), ("student", recipe.student)):
        if isinstance(component, InputChecker):
            with naming(role):
                component.check_inputs()


def read_rows(recipe: Recipe, progress: Progress, *, when: str) -> Corpus:
    """The rows of a recipe's data set, for commands that do not fetch it.

    Args:
        recipe: The recipe.
        progress: Where progress is shown.
        when: When a data set has to be fetched, for the message.

    Raises:
        MissingInput: The data set has not been fetched yet, or a model or tokenizer is not available.
        UsageError: A named file or folder is of another kind.
    """
    check_inputs(recipe)
    if isinstance(recipe.data, FetchedSource) and not recipe.data.is_here():
        raise MissingInput(
            f"data set {recipe.names['data']} must be fetched {when}; `kdkit run` does that, or set an option "
            "of [data] to the path of a copy"
        )
    return load_rows(recipe, progress)


def load_rows(recipe: Recipe, progress: Progress) -> Corpus:
    """The rows of a recipe's data set, fetched if need be, and checked.

    Raises:
        PluginError: The data set gives something else than rows.
        UsageError: There are no training or no validation rows, or two rows have one id; or the models cannot read such
            rows.
    """
    source = recipe.data
    with placing(recipe, "data"):
        if isinstance(source, InputChecker):
            source.check_inputs()
        check_kinds(recipe)
        from kdkit.data.given import checked_corpus, read_stream  # with NumPy

        owner = f'data set "{recipe.names["data"]}"'
        if recipe.writing is not None and isinstance(source, PromptSource):
            return read_stream(source.stream_prompts(progress), owner=owner, to_write=True)
        if isinstance(source, StreamedSource):
            return read_stream(source.stream(progress), owner=owner)
        return checked_corpus(source.load(progress), owner=owner)


@contextmanager
def naming(role: str) -> Iterator[None]:
    """Add to an error raised within whether it is about the teacher or the student."""
    try:
        yield
    except UsageError as error:
        error.args = (f"{role}: {error}",)
        raise
