"""Opening a run folder: a new one, or one of the same recipe, for one process or for those that do a run together.

Of several processes only the lead locks the folder and writes its record; the others have the same record in memory.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdkit.errors import UsageError
from kdkit.runs.folders import LOCK, check_folders, empty, spare_recipe_file
from kdkit.runs.record import check_recipe, now, read_record, versions
from kdkit.runs.run import RESERVE, Run
from kdkit.store import store_of
from kdkit.system.devices import threads
from kdkit.system.files import make_folder
from kdkit.system.folders import check_inside
from kdkit.system.locks import HeldError, Lock
from kdkit.system.reading import read_bytes
from kdkit.system.signals import acquired, leaving
from kdkit.system.team import ALONE, Team

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdkit.recipe import Recipe
    from kdkit.system.progress import Progress

_TURN = threading.RLock()


@contextmanager
def open_run(
    recipe: Recipe,
    run_dir: Path,
    *,
    fresh: bool,
    progress: Progress,
    plugins: dict[str, str],
    device: str,
    team: Team = ALONE,
) -> Iterator[Run]:
    """Take a run folder for this process or its team: a new one, or one of the same recipe.

    Runs in several threads of one process take turns: torch draws the noise of all of them from one generator, so that
    two at once would not give the numbers that each gives alone.

    Raises:
        Mismatch: The folder belongs to another recipe; the message gives the differences.
        UsageError: The folder holds something else, the recipe's own file included, or another process works in it; or
            not all processes of the team see it.
    """
    path = Path(run_dir)
    with ExitStack() as held:
        if team.size == 1:  # processes that a launcher started do one run at a time
            held.enter_context(_turn(progress))
        record = team.lead_does(lambda: _take(recipe, path, fresh=fresh, held=held))
        run = Run(
            recipe=recipe,
            path=path,
            store=store_of(recipe.store.dir, path),
            device=device,
            progress=progress,
            team=team,
            record=record,
            claim={
                "run_dir": str(path),
                "versions": versions(),
                "plugins": plugins,
                "device": device,
                "threads": threads(),
                "status": "running",
            },
        )
        if record["status"] != "done":
            team.lead_does(run.claim)
        saved = team.lead_does(lambda: read_bytes(path / "run.json"))
        team.all_do(lambda: _check_seen(path, saved))
        try:
            yield run
        finally:
            if team.leads:
                (path / RESERVE).unlink(missing_ok=True)


@contextmanager
def _turn(progress: Progress) -> Iterator[None]:
    """Wait until no other thread of this process has a run open."""
    if not _TURN.acquire(blocking=False):
        progress.note("another thread of this process has a run open; waiting for it")
        with leaving("the run has not begun"):
            acquired(lambda seconds: _TURN.acquire(timeout=seconds))
    try:
        yield
    finally:
        _TURN.release()


def _take(recipe: Recipe, path: Path, *, fresh: bool, held: ExitStack) -> dict[str, Any]:
    """Lock a run folder until `held` ends; returns its record."""
    check_folders(recipe, path)
    spare_recipe_file(recipe, path, fresh=fresh)
    make_folder(path)
    lock = Lock(path / LOCK)
    try:
        lock.acquire(0)
    except HeldError as held_by:
        raise UsageError(
            f"another kdkit process works in {path}{held_by.who}; wait for it or use another --run-dir"
        ) from None
    held.callback(lock.release)
    if fresh:
        empty(path, recipe)
    check_inside(path)
    return _record_of(path, recipe)


def _check_seen(path: Path, saved: bytes) -> None:
    """Refuse a folder that is not the lead's but has the same name on another machine."""
    file = path / "run.json"
    if not file.exists() or read_bytes(file) != saved:
        raise UsageError(
            f"{path.absolute()} is not the run folder that process 0 opened; start all processes in one "
            "folder, and put that folder, or --run-dir, on a file system that all of them can see"
        )


def _record_of(path: Path, recipe: Recipe) -> dict[str, Any]:
    check_recipe(path, recipe)
    record = read_record(path)
    if record and record["recipe_digest"] == recipe.digest:
        return record
    return {
        "name": recipe.name,
        "status": "running",
        "recipe_digest": recipe.digest,
        "seeds": {"seed": recipe.seed},
        "started": now(),
        "finished": None,
        "stages": {},
    }
