"""Reads a sweep's folder: its trials, and the state of each by its own run.json.

runs/NAME/
sweep.json        name, axes, seeds, and each trial's id, values and seed
sweep.toml        the recipe, without the defaults
trials/ID/        run folders (see `kdkit.runs.run`)
logs/ID.log       what each trial wrote
data/             data sets that trials share
results.json  results.csv  report.html  report.md
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from kdkit.errors import DamagedData, MissingInput
from kdkit.plugins.structure import dotted
from kdkit.recipe.former_names import todays_axis
from kdkit.recipe.spelling import key_path
from kdkit.runs.record import read_record
from kdkit.sweeps.swept_keys import title_of
from kdkit.sweeps.titles import titles_of
from kdkit.system.files import write_json
from kdkit.system.locks import is_held
from kdkit.system.reading import read_json, read_tail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from kdkit.sweeps.trials import Trial

SWEEP = "sweep.json"
VERSION = 2
_FORMER = 1  # whose axes have former names (see `kdkit.recipe.former_names`)
LOCK = ".lock"
# What a sweep needs of a trial besides its run.json; a trial that has lost any of it is done anew as far as need be.
NEEDED = ("recipe.toml", "evaluation.json", "rows.npz")
# What a trial has before its run.json; locks and files that were being written aside.
_BEFORE = {"recipe.toml"}
# What `kdkit run` says when a signal has ended it.
_LOG_TAIL = 2**20
"""Bytes of a log that are looked through from its end."""
_STOPPED = ("error: interrupted", "error: terminated")
Status = Literal["done", "running", "interrupted", "failed", "waiting"]


@attrs.frozen(kw_only=True)
class TrialFacts:
    """A trial, read from its run folder.

    Attributes:
        id: The first 16 digits of its recipe's digest.
        folder: Its run folder; not there yet where the trial waits.
        values: Each axis' value, those that it leaves as the recipe has them included.
        seed: The seed of its training, where the sweep varies it.
        status: How far it is.
        seconds: What its stages took so far.
        error: Why it failed: the last error of its log, or what is damaged in its folder; empty for the others.
        best_by: What picked its best epoch: `training.best_by`; empty before its student is trained.
        best: The best epoch's value of that, on the validation rows.
        title: Its values in a few words, where its sweep is known those that tell it from the other trials.
    """

    id: str
    folder: Path
    values: Mapping[str, Any]
    seed: int | None
    status: Status
    seconds: float
    error: str = ""
    best_by: str = ""
    best: float | None = None
    title: str = attrs.field()

    @title.default
    def _in_words(self) -> str:
        return title_of(self.values, self.seed)


@attrs.frozen(kw_only=True)
class SweepFacts:
    """A sweep, read from its folder.

    Attributes:
        name: What it is called.
        description: What it does, in a sentence.
        folder: Where it lies.
        axes: The keys that its trials vary, in the recipe's order, the seed excluded.
        seeds: The seeds; empty where they are not varied.
        trials: All trials, in the recipe's order.
        reference: The resolved `[reference]` table of the recipe, if it has one.
    """

    name: str
    description: str
    folder: Path
    axes: tuple[str, ...]
    seeds: tuple[int, ...]
    trials: tuple[TrialFacts, ...]
    reference: Mapping[str, Any] | None = None


def is_sweep(folder: str | PathLike[str]) -> bool:
    """Whether a folder is a sweep's."""
    return (Path(folder) / SWEEP).is_file()


def read_sweep(folder: str | PathLike[str]) -> SweepFacts:
    """Read a sweep's folder as it is at this moment.

    Raises:
        MissingInput: There is no sweep.
        DamagedData: Its sweep.json is not what was written.
    """
    path = Path(folder)
    if not is_sweep(path):
        raise MissingInput(
            f"{path} is not the folder of a sweep: it has no {SWEEP}; give the folder that `kdkit run` made"
        )
    try:
        table = read_json(path / SWEEP)
        if table["kdkit_sweep"] == _FORMER:
            table = _todays(table)
        elif table["kdkit_sweep"] != VERSION:
            raise ValueError(f"it has version {table['kdkit_sweep']}, but this kdkit reads {VERSION}")  # noqa: TRY301
        return SweepFacts(
            name=table["name"],
            description=table["description"],
            folder=path,
            axes=tuple(table["axes"]),
            seeds=tuple(table["seeds"]),
            trials=_titled(
                [trial_facts(path, each["id"], values=each["values"], seed=each["seed"]) for each in table["trials"]]
            ),
            reference=table["reference"],
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedData(f"{path / SWEEP} is damaged ({error}); run the sweep again to write it again") from error


def _titled(trials: Sequence[TrialFacts]) -> tuple[TrialFacts, ...]:
    titles = titles_of([(trial.values, trial.seed) for trial in trials])
    return tuple(attrs.evolve(trial, title=title) for trial, title in zip(trials, titles, strict=True))


def is_former(folder: Path) -> bool:
    """Whether a sweep's folder was made by an earlier kdkit, for which its trials had other digests."""
    try:
        return bool(read_json(folder / SWEEP)["kdkit_sweep"] == _FORMER)
    except (DamagedData, ValueError, KeyError, TypeError):
        return False  # a damaged one is written again


def _todays(table: dict[str, Any]) -> dict[str, Any]:
    """The contents of an earlier sweep.json, under today's names."""

    def renamed(values: Mapping[str, Any]) -> dict[str, Any]:
        pairs = [todays_axis(key_path(axis), value) for axis, value in values.items()]
        return {dotted(axis): value for axis, value in pairs}

    trials = [{**each, "values": renamed(each["values"])} for each in table["trials"]]
    return {**table, "axes": list(renamed(dict.fromkeys(table["axes"]))), "trials": trials}


def trial_facts(folder: Path, trial: str, *, values: Mapping[str, Any], seed: int | None) -> TrialFacts:
    """A trial of a sweep's folder, as it is at this moment."""
    place, log = trial_folder(folder, trial), log_of(folder, trial)
    record, damage = _record_of(place)
    status = "failed" if damage else _status(folder, trial, record)
    trained = record.get("stages", {}).get("distill", {}).get("facts", {})
    return TrialFacts(
        id=trial,
        folder=place,
        values=values,
        seed=seed,
        status=status,
        seconds=sum(entry.get("seconds", 0.0) for entry in record.get("stages", {}).values()),
        error=damage or (last_error(log) if status == "failed" else ""),
        best_by=trained.get("best_by", ""),
        best=trained.get("best_value"),
    )


def write_sweep(
    folder: Path,
    *,
    name: str,
    description: str,
    axes: Sequence[str],
    seeds: Sequence[int],
    trials: Sequence[Trial],
    reference: Mapping[str, Any] | None,
) -> None:
    """Write sweep.json."""
    entries = [{"id": trial.id, "values": dict(trial.values), "seed": trial.seed} for trial in trials]
    table = {
        "kdkit_sweep": VERSION,
        "name": name,
        "description": description,
        "axes": list(axes),
        "seeds": list(seeds),
        "trials": entries,
        "reference": reference,
    }
    write_json(folder / SWEEP, table)


def trial_folder(folder: Path, trial: str) -> Path:
    """A trial's run folder."""
    return folder / "trials" / trial


def log_of(folder: Path, trial: str) -> Path:
    """Where a trial's output goes."""
    return folder / "logs" / f"{trial}.log"


def claim_of(folder: Path, trial: str) -> Path:
    """The lock of the sweep's process that has started a trial, held until that trial has ended."""
    return folder / "logs" / f".{trial}.lock"


def last_error(log: Path) -> str:
    """The last line of a log that is an error; else its last line; empty where there is none."""
    if not log.is_file():
        return ""
    lines = [line.strip() for line in read_tail(log, _LOG_TAIL).splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return errors[-1] if errors else lines[-1] if lines else ""


def is_worked_on(folder: Path, trial: str) -> bool:
    """Whether a process works on a trial: the trial's own, or one of a sweep that has just started it."""
    return is_held(claim_of(folder, trial)) or is_held(trial_folder(folder, trial) / LOCK)


def ends_with_error(log: Path) -> bool:
    """Whether the last line of a log says that its trial failed."""
    lines = read_tail(log, _LOG_TAIL).rstrip().splitlines() if log.is_file() else []
    return bool(lines) and lines[-1].startswith("error: ") and not lines[-1].startswith(_STOPPED)


def _record_of(place: Path) -> tuple[dict[str, Any], str]:
    """A trial's run.json, or the reason why it cannot be read, with advice that deletes only this trial."""
    advice = f"delete the folder {place} and run the sweep again, which repeats this trial"
    try:
        record = read_record(place)
    except DamagedData as error:
        return {}, f"{str(error).partition(';')[0]}; {advice}"
    if not record and place.is_dir():
        left = [child.name for child in place.iterdir() if child.name not in _BEFORE and not child.name.startswith(".")]
        if left:
            return {}, f"{place} has no run.json any more; {advice}"
    return record, ""


def _status(folder: Path, trial: str, record: Mapping[str, Any]) -> Status:
    place, log = trial_folder(folder, trial), log_of(folder, trial)
    # A folder is named by its recipe's digest, so it should never be that of another.
    noted = record.get("status") if record.get("recipe_digest", "").startswith(place.name) else None
    is_whole = noted != "done" or all((place / name).is_file() for name in NEEDED)
    if is_whole and noted in {"done", "interrupted", "failed"}:
        status: Status = noted
        return status
    if noted is not None and is_worked_on(folder, trial):
        return "running"
    # Its process could not say more: whoever started it wrote into the log what it died of.
    if ends_with_error(log):
        return "failed"
    return "waiting" if noted is None else "interrupted"
