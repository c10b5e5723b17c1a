"""Checks before a run begins that it can write to the store, and to the mirror of a store at a URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.errors import UsageError
from kdkit.pipeline.stages.teacher import entry_of
from kdkit.store import STORE, logits_of, why_unwritable
from kdkit.system.mirrors import MIRROR, mirrors_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kdkit.api.values import Corpus
    from kdkit.runs.run import Run
    from kdkit.runs.stage_facts import Estimate


@attrs.frozen(kw_only=True)
class _Place:
    """A folder that a run keeps something in.

    Attributes:
        folder: The folder, which need not be there.
        what: What is kept there.
        advice: How another is named.
        is_of_teacher: Whether none of it can be there before the teacher is made.
    """

    folder: Path
    what: str
    advice: str
    is_of_teacher: bool = True


def check_store(run: Run, corpus: Corpus, found: Estimate) -> None:
    """Refuse a store or mirror that the run cannot write to; a read-only one will do if nothing is missing.

    Raises:
        UsageError: It takes nothing, and cannot have what the run needs.
    """
    for place in _places(run, found):
        why = why_unwritable(place.folder)
        if why is None:
            continue
        if _has_any(place.folder) and not (place.is_of_teacher and _makes_teacher(run, corpus)):
            run.progress.note(
                f"{place.folder} cannot be written ({why}): the run will stop if it needs {place.what} "
                "that are not there"
            )
            continue
        raise UsageError(
            f"{place.folder} cannot be written ({why}), but the run must keep {place.what} there; make it "
            f"writable, or name another folder with {place.advice}"
        )


def _places(run: Run, found: Estimate) -> Iterator[_Place]:
    recipe = run.recipe
    store, advice = run.store, f"store.dir or {STORE}"
    if recipe.teacher.is_made_here:
        yield _Place(folder=store / "teachers", what="teachers", advice=advice)
    if found.capture_rows:
        logits = logits_of(recipe.store.dir, store)
        if isinstance(logits, str):
            yield _Place(folder=mirrors_folder(), what="mirrors of logits", advice=MIRROR)
        else:
            yield _Place(folder=logits, what="logits", advice=advice)
    if found.baseline_steps:
        yield _Place(folder=store / "baselines", what="baselines", advice=advice, is_of_teacher=False)
    if recipe.evaluation.baselines or recipe.teacher.model_kind is not None:
        yield _Place(folder=store / "texts", what="texts", advice=advice)


def _has_any(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except OSError:
        return False


def _makes_teacher(run: Run, corpus: Corpus) -> bool:
    return run.recipe.teacher.is_made_here and not entry_of(run, corpus).is_dir()
