"""A run folder: which stages are done, from which recipe, in which versions.

runs/NAME/
recipe.toml       the recipe with every default filled in
run.json          status, digests, seeds, versions, and of each stage: status, seconds, facts
metrics.jsonl     training and validation, teacher and student
data/  teacher/  student/best/  student/final/  predictions/  evaluation.json  rows.npz  report.html  report.md

Where several processes do a run, only the lead locks the folder, keeps the record, and decides what is to be done. The
others follow, and have the same record in memory.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from filelock import FileLock, Timeout

from kdkit.data import corpus
from kdkit.errors import Interrupted, UsageError
from kdkit.runs.folders import RECIPE, check_folders, delete, empty, spare_recipe_file
from kdkit.runs.record import check_recipe, read_record, versions
from kdkit.runs.tracking import UNTRACKED
from kdkit.store import store_of
from kdkit.system.digests import digest_of
from kdkit.system.files import write_atomically, write_json
from kdkit.system.signals import leaving
from kdkit.system.team import ALONE, Team

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kdkit.api.values import Corpus
    from kdkit.recipe import Recipe
    from kdkit.runs.tracking import Tracking
    from kdkit.system.progress import Progress


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
            to be had: the stage and those after it are then done anew. Done by the lead alone.
        together: Whether all processes of a run do it; else the lead does, and the others wait.
    """

    name: str
    work: Callable[[Run], dict[str, Any] | None]
    outputs: tuple[str, ...]
    leftovers: tuple[str, ...] = ()
    restore: Callable[[Run], dict[str, Any] | None] | None = None
    together: bool = False


@attrs.define(kw_only=True)
class Run:
    """An open run: what its stages need.

    Attributes:
        recipe: The recipe.
        path: The run folder.
        store: The folder of caches and fine-tuned teachers that runs share.
        device: "cpu", "cuda", ...; this process's own.
        progress: Where progress is shown.
        team: The processes that do this run.
        tracking: Who is told the numbers of its trainings.
    """

    recipe: Recipe
    path: Path
    store: Path
    device: str
    progress: Progress
    team: Team = ALONE
    tracking: Tracking = UNTRACKED
    _record: dict[str, Any] = attrs.field(factory=dict)
    _claim: dict[str, Any] = attrs.field(factory=dict)

    @property
    def alone(self) -> Run:
        """The same run, for what the lead does while the others wait."""
        return attrs.evolve(self, team=ALONE) if self.team.size > 1 else self

    def facts(self, stage: str) -> dict[str, Any]:
        """What a finished stage noted."""
        facts: dict[str, Any] = self._record["stages"][stage]["facts"]
        return facts

    def read_corpus(self) -> Corpus:
        """The rows that the data stage wrote.

        Raises:
            DamagedData: They are not what was written.
        """
        return corpus.read(self.path / "data", self.facts("data")["digest"])

    def is_done(self, stage: Stage, stages: Sequence[Stage]) -> bool:
        """Whether the stage is finished: by its record, its digest, and its files being there."""
        return is_done(self._record, self.path, self.recipe, stage, stages)

    def do(self, stage: Stage, stages: Sequence[Stage]) -> None:
        """Do a stage unless it is done; what comes after a stage that is done anew is done anew too."""
        begun, self._record = self.team.lead_does(lambda: (self._begin(stage, stages), self._record))
        if not begun:
            return
        entry = self._record["stages"][stage.name]
        began, before = time.perf_counter(), entry["seconds"]
        try:
            with leaving(f"stage {stage.name} is not finished, those before it are"):
                entry["facts"] = self._facts_of_doing(stage)
        except BaseException as error:
            stopped = isinstance(error, (Interrupted, KeyboardInterrupt))
            entry["status"] = self._record["status"] = "interrupted" if stopped else "failed"
            raise
        else:
            entry["status"] = "done"
        finally:
            entry["seconds"] = before + time.perf_counter() - began
            if self.team.leads:
                self._save()

    def _begin(self, stage: Stage, stages: Sequence[Stage]) -> bool:
        """Note that a stage is being done; whether it has to be."""
        later = stages[stages.index(stage) + 1 :]
        if self.is_done(stage, stages):
            if self._restored(stage, stages):
                self.progress.note(f"{stage.name}: done before")
                return False
            self.progress.note(f"{stage.name}: what was lost cannot be had again, so it is done anew")
        kept = self._record["stages"]
        for other in later:
            if kept.pop(other.name, None) is not None:
                delete(file for name in (*other.outputs, *other.leftovers) for file in list(self.path.glob(name)))
        self.claim()
        before = kept.get(stage.name, {}).get("seconds", 0.0)
        entry = {"status": "running", "digest": _digest(self.recipe, stage, stages), "seconds": before, "facts": {}}
        self._record |= {"status": "running", "stages": {**kept, stage.name: entry}}
        self._save()
        return True

    def _facts_of_doing(self, stage: Stage) -> dict[str, Any]:
        """Do a stage; all wait for each other at its end, and have the lead's facts."""
        if stage.together:
            facts = stage.work(self)
            return self.team.lead_does(lambda: facts or {})
        return self.team.lead_does(lambda: stage.work(self.alone) or {})

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
            changed = stage.restore(self.alone)
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
        if self._record["status"] == "done" or not self.team.leads:
            return
        self._record |= {"status": "done", "finished": _now()}
        self._save()

    def _save(self) -> None:
        write_json(self.path / "run.json", self._record)


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

    Raises:
        Mismatch: The folder belongs to another recipe; the message gives the differences.
        UsageError: The folder holds something else, the recipe's own file included, or another process works in it; or
            not all processes of the team see it.
    """
    path = Path(run_dir)
    with ExitStack() as held:
        record = team.lead_does(lambda: _take(recipe, path, fresh=fresh, held=held))
        run = Run(
            recipe=recipe,
            path=path,
            store=store_of(recipe, path),
            device=device,
            progress=progress,
            team=team,
            record=record,
            claim={"versions": versions(), "plugins": plugins, "device": device, "status": "running"},
        )
        if record["status"] != "done":
            team.lead_does(run.claim)
        saved = team.lead_does((path / "run.json").read_bytes)
        team.all_do(lambda: _check_seen(path, saved))
        yield run


def _take(recipe: Recipe, path: Path, *, fresh: bool, held: ExitStack) -> dict[str, Any]:
    """Lock a run folder until `held` ends; gives its record."""
    check_folders(recipe, path)
    spare_recipe_file(recipe, path, fresh=fresh)
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UsageError(f"another kdkit process works in {path}; wait for it or use another --run-dir") from None
    held.callback(lock.release)
    if fresh:
        empty(path, recipe)
    return _record_of(path, recipe)


def _check_seen(path: Path, saved: bytes) -> None:
    """Refuse a folder that is not the lead's: one of the same name on another machine."""
    file = path / "run.json"
    if not file.exists() or file.read_bytes() != saved:
        raise UsageError(
            f"{path.absolute()} is not the run folder that process 0 has opened; start all processes in one folder, "
            "and put it, or --run-dir, on a file system that all of them see"
        )


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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
