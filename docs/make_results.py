"""Writes the pages and figures of `docs/results` from the numbers that lie there: `python docs/make_results.py`.

Each folder has a `numbers.json`: scores of every trial, means and paired differences with their intervals, and what its
page draws as a picture. The rows that they were computed from are too many to be kept.
`python docs/make_results.py keep SWEEP NAME` writes the numbers of a finished sweep into `docs/results/NAME`, and makes
its page.
"""

from __future__ import annotations

import json
import shutil
import sys
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.values import Cost, Difference, Direction, Score
from kdkit.evaluation.row_scores import RowKey, RowScores
from kdkit.report import sweep
from kdkit.report.numbers.configurations import by_configuration
from kdkit.report.numbers.names import LABELS_ONLY
from kdkit.report.numbers.selection import Selection, headline, select
from kdkit.report.numbers.statistics import Measure, Statistics, Unpaired
from kdkit.report.page import html, markdown
from kdkit.report.page.charts.svg import PICTURE
from kdkit.report.page.document import Part
from kdkit.report.page.tables import Cell, Row, Table
from kdkit.report.parts import along
from kdkit.report.parts.sweep_verdict import axis_of_finding
from kdkit.report.read.scored import ScoredRun
from kdkit.sweeps import SweepFacts, TrialFacts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kdkit.report.numbers.configurations import Configuration

RESULTS = Path(__file__).with_name("results")
NUMBERS = "numbers.json"
KEPT_OF_RECIPE = ("training.best_by", "evaluation.headline", "training.seed")
KEPT_OF_RECORD = ("versions", "plugins", "device", "run_dir")


class Kept(Statistics):
    """Statistics that were kept, with the means and differences that only the rows of the trials tell.

    Args:
        configurations: Those that were compared.
        numbers: What was kept of them.
    """

    def __init__(self, configurations: Sequence[Configuration], numbers: Mapping[str, Any]) -> None:
        super().__init__(configurations)
        self._place = {id(each): place for place, each in enumerate(configurations)}
        self._kept_measures = numbers["measures"]
        self._kept_differences = {
            (ours, key, theirs, their_key): ends for ours, key, theirs, their_key, *ends in numbers["differences"]
        }

    def _measure(self, configuration: Configuration, key: RowKey) -> Measure | None:
        found = self._kept_measures[self._place[id(configuration)]].get("|".join(key))
        if found is None:
            return None
        value, low, high, seeds, count = found
        return Measure(value=value, low=_end(low), high=_end(high), seeds=seeds, count=count)

    def _difference(
        self, ours: Configuration, theirs: Configuration, key: RowKey, their_key: RowKey
    ) -> Difference | Unpaired:
        mine, other = (self._place[id(ours)], "|".join(key)), (self._place[id(theirs)], "|".join(their_key))
        if (found := self._kept_differences.get((*mine, *other))) is not None:
            value, low, high, count = found
        elif (found := self._kept_differences.get((*other, *mine))) is not None:
            value, high, low, count = (-found[0], -found[1], -found[2], found[3])
        else:
            return Unpaired(reason="their difference was not kept")
        ends = {"value": value, "low": low, "high": high, "count": count}
        told = {"suite": key.suite, "metric": key.metric, "model": key.model, "than": their_key.model}
        return Difference(**told, **ends, direction=self.direction(key))


def keep(folder: Path, name: str) -> None:
    """Write the numbers of a finished sweep into `docs/results/NAME`."""
    report = sweep.assemble(folder)
    stats, facts = report.stats, report.sweep
    place = {id(each): index for index, each in enumerate(stats.configurations)}
    runs = [run for each in stats.configurations for run in each.runs]
    key = headline(stats)
    axis = None if key is None else axis_of_finding(stats, key)
    numbers = {
        "name": facts.name,
        "description": facts.description,
        "axes": list(facts.axes),
        "seeds": list(facts.seeds),
        "reference": facts.reference,
        "trials": [
            {"id": trial.id, "values": dict(trial.values), "seed": trial.seed, "status": trial.status,
             "seconds": trial.seconds, "error": trial.error}
            for trial in facts.trials
        ],
        "runs": {run.name: _run(run) for run in runs},
        "directions": {
            f"{each.suite}|{each.metric}": stats.direction(each).value
            for each in stats.keys
            if stats.direction(each) is not Direction.HIGHER
        },
        "measures": [
            {
                "|".join(key): [*_ends(measure), measure.seeds, measure.count]
                for key in stats.keys
                if (measure := stats.measure(each, key)) is not None
            }
            for each in stats.configurations
        ],
        "differences": [
            [place[id(ours)], "|".join(key), place[id(theirs)], "|".join(their_key), *_ends(found), found.count]
            for ours, theirs, key, their_key in _pairs(stats)
            if not isinstance(found := stats.difference(ours, theirs, key, their_key), Unpaired)
        ],
        "figures": {} if key is None or axis is None else {"gain.png": ["gain", axis, "|".join(key)]},
    }  # fmt: skip
    target = RESULTS / name
    target.mkdir(exist_ok=True)
    (target / NUMBERS).write_text(json.dumps(numbers, separators=(",", ":")) + "\n", encoding="utf-8")
    shutil.copyfile(folder / "sweep.toml", target / "sweep.toml")


def make(folder: Path) -> dict[str, bytes]:
    """The files of a folder of results, made from its numbers: its page, the same as Markdown, and its figures."""
    numbers = json.loads((folder / NUMBERS).read_text(encoding="utf-8"))
    page, stats = page_of(folder, numbers)
    found = {"report.html": html.render(page).encode(), "report.md": markdown.render(page).encode()}
    for file, (what, axis, key) in numbers["figures"].items():
        draw = along.gain if what == "gain" else _score
        figure = draw(stats, axis, (RowKey(*key.split("|")),))
        if figure is not None:
            found[file] = attrs.evolve(figure.chart, width=PICTURE).png()
    return found


def page_of(folder: Path, numbers: Mapping[str, Any]) -> tuple[Any, Statistics]:
    """The page of kept numbers, and the statistics that it shows."""
    trials = tuple(TrialFacts(folder=folder / "trials" / each["id"], **each) for each in numbers["trials"])
    facts = SweepFacts(
        name=numbers["name"],
        description=numbers["description"],
        folder=folder,
        axes=tuple(numbers["axes"]),
        seeds=tuple(numbers["seeds"]),
        trials=trials,
        reference=numbers["reference"],
    )
    scored = ((trial.values, _scored(trial, numbers)) for trial in trials if trial.id in numbers["runs"])
    stats = Kept(by_configuration(scored), numbers)
    selection = select(stats, facts.axes)
    if "chosen" in numbers:
        told = numbers["chosen"]
        best = stats.configurations[told["configuration"]]
        key = RowKey(*told["key"].split("|"))
        selection = Selection(by=told["by"], ranked=((best, told["value"]),), note=told["note"], key=key)
    page = sweep.report_of(facts, stats, selection).document
    parts = tuple(_with_kept(page.parts, numbers.get("parts", {})))
    return attrs.evolve(page, parts=parts, footer="Made by kdkit from the numbers of this sweep alone."), stats


def _with_kept(parts: Sequence[Part], kept: Mapping[str, Any]) -> Iterator[Part]:
    """Parts, and around all scores those of which only the words were kept."""
    for part in parts:
        if part.key == "scores":
            yield from _kept_part(kept, "by-metric", "Best by each metric")
        yield part
        if part.key == "scores":
            yield from _kept_part(kept, "costs", "What they cost")


def _kept_part(kept: Mapping[str, Any], key: str, title: str) -> Iterator[Part]:
    if key in kept:
        told = kept[key]
        rows = (
            Row(label=label, note=note, cells=tuple(Cell(*cell) for cell in cells))
            for label, note, cells in told["rows"]
        )
        table = Table.of(told["columns"], rows, title=told["title"], note=told["note"], look=told["look"])
        yield Part(key=key, title=title, blocks=(table,))


def _score(stats: Statistics, axis: str, group: Sequence[RowKey]) -> Any:
    return along.along(stats, axis, group, None)


def _pairs(stats: Statistics) -> Iterator[tuple[Configuration, Configuration, RowKey, RowKey]]:
    """What pages of sweeps compare: each configuration with labels only, and each with each."""
    keys = stats.of_student()
    for each in stats.configurations:
        yield from ((each, each, key, key._replace(model=LABELS_ONLY)) for key in keys)
    for one, other in combinations(stats.configurations, 2):
        yield from ((one, other, key, key) for key in keys)


def _run(run: ScoredRun) -> dict[str, Any]:
    return {
        "split": run.split,
        "rows": run.row_count,
        "recipe": {key: run.recipe[key] for key in KEPT_OF_RECIPE if key in run.recipe},
        "record": {key: run.record[key] for key in KEPT_OF_RECORD if key in run.record},
        "bytes_per_token": run.facts("capture").get("bytes_per_token"),
        "seconds": run.record.get("stages", {}).get("distill", {}).get("seconds"),
        "best": {key: run.facts("distill").get(key) for key in ("best_by", "best_value")},
        "scores": {"|".join(key): score.value for key, score in run.scores.items()},
        "validation": {"|".join(key): score.value for key, score in run.validation.items()},
        "costs": {model: attrs.asdict(cost) for model, cost in run.costs.items()},
    }


def _scored(trial: TrialFacts, numbers: Mapping[str, Any]) -> ScoredRun:
    """A trial as it was kept: its values, and no rows."""
    kept = numbers["runs"][trial.id]

    def scores(told: Mapping[str, float]) -> dict[RowKey, Score]:
        found = {}
        for name, value in told.items():
            key = RowKey(*name.split("|"))
            direction = Direction(numbers["directions"].get(f"{key.suite}|{key.metric}", "higher"))
            found[key] = Score(
                **key._asdict(), value=value, low=value, high=value, count=kept["rows"], direction=direction
            )
        return found

    stages = {
        "capture": {"facts": {"bytes_per_token": kept["bytes_per_token"]}},
        "distill": {"facts": kept["best"], "seconds": kept["seconds"]},
    }
    return ScoredRun(
        folder=trial.folder,
        recipe=kept["recipe"],
        record={**kept["record"], "stages": stages},
        split=kept["split"],
        row_count=kept["rows"],
        scores=scores(kept["scores"]),
        validation=scores(kept["validation"]),
        costs={model: Cost(**cost) for model, cost in kept["costs"].items()},
        rows=RowScores(ids=(), values={}),  # there were rows: what they told is in the means and differences
    )


def _ends(found: Measure | Difference) -> list[float | None]:
    """A value and its interval, short; None for an end that is not known."""
    return [end if end == end else None for end in (found.value, found.low, found.high)]  # noqa: PLR0124


def _end(told: float | None) -> float:
    return float("nan") if told is None else told


def main(arguments: Sequence[str]) -> None:
    """Keep a sweep's numbers where the arguments say so, and make every page."""
    if arguments[:1] == ["keep"]:
        _, folder, name = arguments
        keep(Path(folder), name)
    for numbers in sorted(RESULTS.glob(f"*/{NUMBERS}")):
        for file, content in make(numbers.parent).items():
            (numbers.parent / file).write_bytes(content)


if __name__ == "__main__":
    main(sys.argv[1:])
