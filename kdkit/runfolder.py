"""A run folder: which stages are done, from which recipe, in which versions; and the store that runs share.

runs/NAME/
recipe.toml       the recipe with every default filled in
run.json          status, digests, seeds, versions, and of each stage: status, seconds, facts
metrics.jsonl     training and validation, teacher and student
data/  teacher/  student/best/  student/final/  predictions/  evaluation.json  report.html  report.md
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from filelock import FileLock, Timeout

from kdkit.cache.url import RemoteFolder, is_url
from kdkit.canonical import digest_of
from kdkit.errors import Interrupted, UsageError
from kdkit.files import user_path, write_atomically, write_json
from kdkit.runrecord import check_recipe, read_record, versions
from kdkit.stopping import leaving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from kdkit.progress import Progress
    from kdkit.recipe import Recipe

STORE = "KDKIT_CACHE"
RECIPE = "recipe.toml"


@attrs.frozen(kw_only=True)
class Stage:
    """A stage of a run.

    Attributes:
        name: Its name.
        work: Does it, and gives facts about it for `run.json`. Under "outputs" these may name further files.
        outputs: The files in the run folder without which it is not done.
        leftovers: What else it writes there; patterns. Deleted when an earlier stage is done anew.
        restore: Called instead of `work` where it is done but some of its outputs are lost, or a later stage that may
            need what it left outside the run folder is not done: makes exactly that again, and gives the facts that
            changed. So the loss of what can be had again costs no finished stage after it. None where the same is not
            to be had: the stage and those after it are then done anew.
    """

    name: str
    work: Callable[[Run], dict[str, Any] | None]
    outputs: tuple[str, ...]
    leftovers: tuple[str, ...] = ()
    restore: Callable[[Run], dict[str, Any] | None] | None = None


@attrs.define(kw_only=True)
class Run:
    """An open run: what its stages need.

    Attributes:
        recipe: The recipe.
        path: The run folder.
        store: The folder of caches and fine-tuned teachers that runs share.
        device: "cpu", "cuda", ...
        progress: Where progress is shown.
    """

    recipe: Recipe
    path: Path
    store: Path
    device: str
    progress: Progress
    _record: dict[str, Any] = attrs.field(factory=dict)
    _claim: dict[str, Any] = attrs.field(factory=dict)

    def facts(self, stage: str) -> dict[str, Any]:
        """What a finished stage noted."""
        facts: dict[str, Any] = self._record["stages"][stage]["facts"]
        return facts

    def is_done(self, stage: Stage, stages: Sequence[Stage]) -> bool:
        """Whether the stage is finished: by its record, its digest, and its files being there."""
        return is_done(self._record, self.path, self.recipe, stage, stages)

    def do(self, stage: Stage, stages: Sequence[Stage]) -> None:
        """Do a stage unless it is done; what comes after a stage that is done anew is done anew too."""
        later = stages[stages.index(stage) + 1 :]
        if self.is_done(stage, stages):
            if self._restored(stage, stages):
                self.progress.note(f"{stage.name}: done before")
                return
            self.progress.note(f"{stage.name}: what was lost cannot be had again, so it is done anew")
        kept = self._record["stages"]
        for other in later:
            if kept.pop(other.name, None) is not None:
                _delete(file for name in (*other.outputs, *other.leftovers) for file in list(self.path.glob(name)))
        self.claim()
        began, before = time.perf_counter(), kept.get(stage.name, {}).get("seconds", 0.0)
        entry = {"status": "running", "digest": _digest(self.recipe, stage, stages), "seconds": before, "facts": {}}
        self._record |= {"status": "running", "stages": {**kept, stage.name: entry}}
        self._save()
        try:
            with leaving(f"stage {stage.name} is not finished, those before it are"):
                entry["facts"] = stage.work(self) or {}
        except BaseException as error:
            stopped = isinstance(error, (Interrupted, KeyboardInterrupt))
            entry["status"] = self._record["status"] = "interrupted" if stopped else "failed"
            raise
        else:
            entry["status"] = "done"
        finally:
            entry["seconds"] = before + time.perf_counter() - began
            self._save()

    def _restored(self, stage: Stage, stages: Sequence[Stage]) -> bool:
        """Whether all of a finished stage is there, by restoring what is lost."""
        later = stages[stages.index(stage) + 1 :]
        if _has_outputs(self._record, self.path, stage) and all(self.is_done(other, stages) for other in later):
            return True
        return self.restore(stage)

    def restore(self, stage: Stage) -> bool:
        """Have again what a finished stage left and is lost, whether or not anything needs it.

        Returns:
            Whether it is to be had.
        """
        if stage.restore is None:
            return True
        with leaving(f"what stage {stage.name} had lost is not whole yet"):
            changed = stage.restore(self)
        if changed is None:
            return False
        self.facts(stage.name).update(changed)
        self._save()
        return True

    def leave_as(self, status: str) -> None:
        """Note the status that the run had when it was opened: none of its stages was done."""
        self._record["status"] = status
        self._save()

    def claim(self) -> None:
        """Note who works here. A finished run is not claimed, and so not touched, before something of it is done anew.

        The record comes first: a folder that holds it is ours, whatever else a kill leaves there.
        """
        self._record |= self._claim
        self._save()
        write_atomically(self.path / RECIPE, self.recipe.to_toml().encode())

    def finish(self) -> None:
        """Every stage is done."""
        if self._record["status"] == "done":
            return
        self._record |= {"status": "done", "finished": _now()}
        self._save()

    def _save(self) -> None:
        write_json(self.path / "run.json", self._record)


@contextmanager
def open_run(
    recipe: Recipe, run_dir: Path, *, fresh: bool, progress: Progress, plugins: dict[str, str], device: str
) -> Iterator[Run]:
    """Take a run folder for this process: a new one, or one of the same recipe.

    Raises:
        Mismatch: The folder belongs to another recipe; the message gives the differences.
        UsageError: The folder holds something else, the recipe's own file included, or another process works in it.
    """
    path = Path(run_dir)
    check_folders(recipe, path)
    _spare_recipe_file(recipe, path, fresh=fresh)
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UsageError(f"another kdkit process works in {path}; wait for it or use another --run-dir") from None
    try:
        if fresh:
            _empty(path, recipe)
        record = _record_of(path, recipe)
        run = Run(
            recipe=recipe,
            path=path,
            store=store_of(recipe, path),
            device=device,
            progress=progress,
            record=record,
            claim={"versions": versions(), "plugins": plugins, "device": device, "status": "running"},
        )
        if record["status"] != "done":
            run.claim()
        yield run
    finally:
        lock.release()


def is_done(record: dict[str, Any], path: Path, recipe: Recipe, stage: Stage, stages: Sequence[Stage]) -> bool:
    """Whether a run folder with this record holds the finished stage."""
    entry = record.get("stages", {}).get(stage.name, {})
    return (
        entry.get("status") == "done"
        and entry.get("digest") == _digest(recipe, stage, stages)
        and (stage.restore is not None or _has_outputs(record, path, stage))
    )


def _has_outputs(record: dict[str, Any], path: Path, stage: Stage) -> bool:
    noted = record["stages"][stage.name].get("facts", {}).get("outputs", ())
    return all((path / output).exists() for output in (*stage.outputs, *noted))


def check_folders(recipe: Recipe, path: Path) -> None:
    """Refuse a run folder, or a shared store, that cannot be one.

    Raises:
        UsageError: It is a file or lies below one; it holds something else than a run; the two are one folder; or
            the URL for logits is one that no file system serves.
    """
    store, logits = store_of(recipe, path), logits_of(recipe, path)
    if isinstance(logits, str):
        RemoteFolder.at(logits)
    for folder, advice in ((path, "--run-dir"), (store, f"cache.dir or {STORE}")):
        blocked = next((each for each in (folder, *folder.parents) if each.exists() and not each.is_dir()), None)
        if blocked is not None:
            raise UsageError(f"{blocked} is a file; name another folder with {advice}")
    if path.resolve() in {folder.resolve() for folder in (store, store / "logits", store / "teachers")}:
        raise UsageError(
            f"{path} cannot be a run folder: {store} is the store that runs share; "
            f"name another folder with --run-dir, or another store with cache.dir or {STORE}"
        )
    if (
        path.is_dir()
        and not (path / "run.json").exists()
        and not all(_is_ours(child, recipe) for child in path.iterdir())
    ):
        raise UsageError(f"{path} is not empty and no run folder; name another with --run-dir")


def store_of(recipe: Recipe, path: Path) -> Path:
    """The folder that runs share: the recipe's, else the environment's, else `cache` beside the run folder.

    A URL is no folder: at one there are only logits (`logits_of`).
    """
    named = next((each for each in _named_stores(recipe) if not is_url(each)), "")
    return user_path(named) if named else path.absolute().parent / "cache"


def logits_of(recipe: Recipe, store: Path) -> Path | str:
    """Where the logits of all teachers are kept: in the store, or at the URL that is named instead."""
    named = next(iter(_named_stores(recipe)), "")
    return f"{named.rstrip('/')}/logits" if is_url(named) else store / "logits"


def _named_stores(recipe: Recipe) -> list[str]:
    return [named for named in (recipe.cache.dir, os.environ.get(STORE, "")) if named]


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
        "started": _now(),
        "finished": None,
        "stages": {},
    }


def _digest(recipe: Recipe, stage: Stage, stages: Sequence[Stage]) -> str:
    """Of the recipe and the stages up to this one."""
    return digest_of([recipe.digest, [each.name for each in stages[: stages.index(stage) + 1]]])


def _spare_recipe_file(recipe: Recipe, path: Path, *, fresh: bool) -> None:
    """Refuse to overwrite or to delete the file that the recipe was read from."""
    if recipe.path is None:
        return
    file, folder = recipe.path.resolve(), path.resolve()
    if file == folder / RECIPE:
        if not _holds_resolved(path, recipe):
            raise UsageError(
                f"{recipe.path} would be overwritten with the recipe that has every default filled in; "
                "name another folder with --run-dir"
            )
    elif fresh and file.is_relative_to(folder):
        raise UsageError(f"--fresh would delete the recipe {recipe.path}; move it out of {path}")


def _holds_resolved(path: Path, recipe: Recipe) -> bool:
    """Whether a folder's recipe.toml is, to the byte, what a run of this recipe writes there."""
    file = path / RECIPE
    return file.is_file() and file.read_bytes() == recipe.to_toml().encode()


def _empty(path: Path, recipe: Recipe) -> None:
    """Delete what a run left in its folder; the lock stays, and a recipe.toml that would be written anew.

    What marks it as a run folder goes last: a kill on the way leaves a folder that can be emptied again.
    """
    kept = {".lock", "run.json", *([RECIPE] if _holds_resolved(path, recipe) else [])}
    _delete(child for child in list(path.iterdir()) if child.name not in kept)
    _delete([path / "run.json"])


def _delete(files: Iterable[Path]) -> None:
    for child in files:
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink(missing_ok=True)


def _is_ours(child: Path, recipe: Recipe) -> bool:
    """Whether it is what a run that was killed at its start or while it was deleted leaves in its folder."""
    return (
        child.name == ".lock"
        or child.name.startswith((f".{RECIPE}.", ".run.json."))
        or (child.name == RECIPE and _holds_resolved(child.parent, recipe))
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
