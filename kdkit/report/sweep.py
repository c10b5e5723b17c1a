"""The report of a sweep: `report.html` and `report.md` in its folder, made from what its trials left there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.errors import PluginError
from kdkit.report.numbers.configurations import by_configuration
from kdkit.report.numbers.reference import load_reference
from kdkit.report.numbers.selection import headline, select
from kdkit.report.numbers.statistics import Statistics
from kdkit.report.page.document import Document
from kdkit.report.page.writing import write_page
from kdkit.report.parts import (
    along,
    best,
    by_metric,
    cautions,
    codecs,
    costs,
    gains,
    grids,
    provenance,
    published,
    scores,
    sweep_verdict,
)
from kdkit.report.parts.drawn import chosen, headline_first
from kdkit.report.read.sweep import read_sweep_runs
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from kdkit.report.numbers.reference import Published
    from kdkit.report.numbers.selection import Selection
    from kdkit.report.page.document import Part
    from kdkit.sweeps import SweepFacts


@attrs.frozen(kw_only=True, eq=False)
class SweepReport:
    """What a sweep came to.

    Attributes:
        sweep: Its trials; one that is done but cannot be read is among the failed, with the reason.
        stats: Its configurations and their scores.
        selection: The configurations from the best to the worst, on the validation rows.
        document: The report.
        damages: A sentence for each trial that is done and cannot be read.
    """

    sweep: SweepFacts
    stats: Statistics
    selection: Selection
    document: Document
    damages: Sequence[str] = ()


def write(folder: Path) -> SweepReport:
    """Write `report.html` and `report.md`, each whole or not at all, and give what is in them.

    Raises:
        MissingInput: The folder is no sweep's.
        DamagedData: Its sweep.json cannot be read.
    """
    report = assemble(folder)
    write_page(report.document, folder / "report.html")
    return report


def assemble(folder: Path) -> SweepReport:
    """The content of a sweep's report.

    Raises:
        MissingInput: The folder is no sweep's.
        DamagedData: Its sweep.json cannot be read.
    """
    sweep, runs_read, damages = read_sweep_runs(folder)
    stats = Statistics(by_configuration((trial.values, run) for trial, run in runs_read))
    return report_of(sweep, stats, select(stats, sweep.axes), damages)


def report_of(sweep: SweepFacts, stats: Statistics, selection: Selection, damages: Sequence[str] = ()) -> SweepReport:
    """The content of a sweep's report, from its trials and their scores."""
    runs = [run for each in stats.configurations for run in each.runs]
    split = " and ".join(dict.fromkeys(run.split for run in runs)) or "test"
    warnings = [*damages, *cautions.of_sweep(sweep, stats.configurations)]
    try:
        reference = load_reference(sweep.reference)
    except PluginError as error:
        reference = None
        warnings.append(f"The published values are left out: {error}.")
    key = headline(stats)
    found = sweep_verdict.of_sweep(stats, selection, key, split)
    document = Document(
        title=sweep.name,
        kind="sweep report",
        description=f"{sweep.description} {cautions.what_was_varied(sweep)}".strip(),
        verdict=attrs.evolve(found, detail=f"{found.detail} {cautions.how_far(sweep)}".strip()),
        opening=sweep_verdict.opening(stats, selection, key, split),
        warnings=tuple(warnings),
        parts=tuple(part for part in _parts(sweep, stats, selection, split, reference) if part is not None),
        footer=f"Made by kdkit from the folders of {plural(len(runs), 'trial')} alone.",
    )
    return SweepReport(sweep=sweep, stats=stats, selection=selection, document=document, damages=damages)


def _parts(
    sweep: SweepFacts, stats: Statistics, selection: Selection, split: str, reference: Published | None
) -> Iterator[Part | None]:
    """The sections, in their order."""
    if stats.configurations:
        key = headline(stats)
        drawn = headline_first(chosen(stats), key)
        leads = key is not None and sweep_verdict.axis_of_finding(stats, key) is not None
        yield gains.of_sweep(stats, key)
        yield best.of_sweep(stats, selection, split)
        yield from along.of_sweep(stats, drawn, reference, leads=leads)
        yield grids.of_sweep(stats, drawn)
        yield codecs.of_sweep(stats, drawn)
        yield by_metric.of_sweep(stats, split)
        yield scores.of_several(stats, "Every score")
        yield published.of_sweep(stats, reference)
        yield costs.of_several(stats.configurations)
    yield provenance.failed(sweep.trials)
    yield provenance.of_sweep(sweep, stats.configurations)
