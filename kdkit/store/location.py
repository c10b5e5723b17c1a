"""Where the store is, and how runs that share it wait for each other."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from kdkit.system.files import user_path
from kdkit.system.url import is_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kdkit.recipe import Recipe

STORE = "KDKIT_CACHE"


def store_of(recipe: Recipe, path: Path) -> Path:
    """The folder that runs share: the recipe's, else the environment's, else `cache` beside the run folder.

    A URL is no folder: at one there are only logits (`logits_of`). The trials of a sweep share the store that a run
    beside the sweep has.
    """
    named = next((each for each in _named_stores(recipe) if not is_url(each)), "")
    return user_path(named) if named else (sweep_of(path) or path.absolute()).parent / "cache"


def sweep_of(path: Path) -> Path | None:
    """The folder of the sweep that a run folder is a trial of, if it is one."""
    trials = path.absolute().parent
    return trials.parent if trials.name == "trials" and (trials.parent / "sweep.json").is_file() else None


def logits_of(recipe: Recipe, store: Path) -> Path | str:
    """Where the logits of all teachers are kept: in the store, or at the URL that is named instead."""
    named = next(iter(_named_stores(recipe)), "")
    return f"{named.rstrip('/')}/logits" if is_url(named) else store / "logits"


@contextmanager
def making(entry: Path, note: Callable[[str], None], *, what: str) -> Iterator[None]:
    """Within the block no other run makes the same entry of the store; whoever comes second waits, however long.

    Look for the entry inside the block: the one that was waited for has made it, unless it failed.

    Args:
        entry: What is to be made.
        note: Told of waiting.
        what: What it is: "teacher".

    Raises:
        KeyboardInterrupt: A signal came while waiting, within `kdkit.system.signals.leaving`.
    """
    entry.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(entry.with_name(f".{entry.name}.making.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        note(f"waits for another run that makes the same {what} ({entry})")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _named_stores(recipe: Recipe) -> list[str]:
    return [named for named in (recipe.cache.dir, os.environ.get(STORE, "")) if named]
