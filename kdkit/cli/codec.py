"""`kdkit codec`: compares codecs on real logits."""

from __future__ import annotations

import math
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from kdkit.cli.groups import Group
from kdkit.cli.output import say
from kdkit.cli.places import place_of
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kdkit.logits.bench import Coder, Material, Result
    from kdkit.system.progress import Progress

_PATH = click.Path(path_type=Path)


class _Temperatures(click.ParamType):  # type: ignore[type-arg]  # generic in some releases of click only
    """Numbers above 0, separated by commas."""

    name = "temperatures"

    def convert(
        self, value: str | tuple[float, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(dict.fromkeys(float(part) for part in value.split(",")))
        except ValueError:
            numbers = ()
        if not numbers or not all(0 < number < math.inf for number in numbers):
            self.fail(f"{value!r} must be numbers above 0, separated by commas: 0.5,1,2,4", param, ctx)
        return numbers


@click.group("codec", cls=Group)
def command() -> None:
    """Compare logit codecs."""


@command.command()
@click.option("--logits", type=_PATH, metavar="FILE", help="A safetensors file: `logits`, or `hidden` and `head`.")
@click.option(
    "--cache", type=place_of, metavar="FOLDER", help="A finished logit cache, or its URL; its logits count as exact."
)
@click.option("--recipe", metavar="RECIPE", help="A recipe: the logits of its teacher on its training rows.")
@click.option(
    "--model",
    metavar="NAME",
    help="A decoder-only model, as teacher.model: its logits on Python's standard library.",
)
@click.option(
    "-o",
    "--override",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a value of the recipe; repeatable.",
)
@click.option(
    "--codec",
    "specs",
    multiple=True,
    metavar="NAME[:KEY=VALUE,...]",
    help="A codec to measure; repeatable. Default: all codecs.",
)
@click.option(
    "--temperatures",
    type=_Temperatures(),
    default="0.5,1,2,4",
    show_default=True,
    help="Temperatures of the KL divergence.",
)
@click.option(
    "--rows",
    type=click.IntRange(min=2),
    default=256,
    show_default=True,
    help="With --recipe or --model: how many rows at most.",
)
@click.option("--run-dir", type=_PATH, metavar="DIR", help="With --recipe: its run folder; by default runs/NAME.")
@click.option("--plot", type=_PATH, metavar="FILE", help="Draw KL against bytes into a .png, .svg or .pdf file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def bench(
    logits: Path | None,
    cache: Path | str | None,
    recipe: str | None,
    model: str | None,
    overrides: tuple[str, ...],
    specs: tuple[str, ...],
    temperatures: tuple[float, ...],
    rows: int,
    run_dir: Path | None,
    plot: Path | None,
    *,
    as_json: bool,
) -> None:
    """Measure codecs on real logits: bytes, speed, and the errors of distributions and gradients.

    The logits are those of one of --logits, --cache, --recipe and --model.
    """
    if sum(given is not None for given in (logits, cache, recipe, model)) != 1:
        raise click.UsageError("give exactly one of --logits FILE, --cache FOLDER, --recipe RECIPE and --model NAME")
    if overrides and recipe is None:
        raise click.UsageError("-o changes a value of a recipe; give it together with --recipe RECIPE")
    from kdkit import plugins
    from kdkit.logits.bench import check_plot, default_candidates, draw_plot, measure, parse_candidate
    from kdkit.system import progress

    if plot is not None:
        check_plot(plot)
    shown = progress.for_stderr()
    installed = plugins.load()
    named = [parse_candidate(spec, installed) for spec in specs]
    with _material(logits, cache, recipe, model, overrides, run_dir, rows, shown) as material:
        everything = () if named else default_candidates(installed)
        coders = [*_fitted(named, material), *_those_that_can(everything, material, shown)]
        measurement = measure(material, coders, temperatures=temperatures, progress=shown)
    facts = {
        "file": material.name,
        "tokens": measurement.tokens,
        "records": measurement.records,
        "vocab_size": material.vocab_size,
        "learnt_from": material.learnt_from,
        "student": measurement.student,
    }
    _print(facts, measurement.results, temperatures, as_json=as_json)
    if plot is not None:  # last: a disk that is full by now costs the plot alone
        draw_plot(measurement.results, plot, temperature=1.0 if 1.0 in temperatures else temperatures[0])


@contextmanager
def _material(
    logits: Path | None,
    cache: Path | str | None,
    recipe: str | None,
    model: str | None,
    overrides: tuple[str, ...],
    run_dir: Path | None,
    rows: int,
    shown: Progress,
) -> Iterator[Material]:
    from kdkit.logits.bench import read_tensors
    from kdkit.pipeline.measured_logits import of_cache, of_model, of_recipe

    if logits is not None:
        yield read_tensors(logits)
    elif cache is not None:
        yield of_cache(cache)
    elif model is not None:
        with of_model(model, rows=rows, progress=shown) as material:
            yield material
    else:
        assert recipe is not None
        from kdkit.recipe import load_recipe

        with of_recipe(load_recipe(recipe, overrides), run_dir, rows=rows, progress=shown) as material:
            yield material


def _fitted(candidates: Sequence[Any], material: Material) -> list[Coder]:
    from kdkit.logits.bench import fit_candidate

    coders = []
    for candidate in candidates:
        try:
            coders.append(fit_candidate(candidate, material))
        except UsageError as error:
            raise UsageError(f"--codec {candidate.label}: {error}") from error
    return coders


def _those_that_can(candidates: Sequence[Any], material: Material, shown: Progress) -> list[Coder]:
    """Leave out, with a note, a codec that cannot code such logits, unless it was asked for by name."""
    from kdkit.logits.bench import fit_candidate

    coders = []
    for candidate in candidates:
        try:
            coders.append(fit_candidate(candidate, material))
        except UsageError as error:
            shown.note(f"codec {candidate.label} is left out: {error}")
    return coders


def _print(facts: dict[str, Any], results: Sequence[Result], temperatures: Sequence[float], *, as_json: bool) -> None:
    from kdkit.cli.output import print_json, print_table

    if as_json:
        print_json({**facts, "results": [result.to_json() for result in results]})
        return
    print_table(*table_of(results, temperatures))
    say(f"{facts['tokens']:,} tokens in {facts['records']:,} records of {facts['file']}: {facts['learnt_from']}")
    say(f"student: {facts['student']}")


def table_of(results: Sequence[Result], temperatures: Sequence[float]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of results, the smallest first."""
    columns = [
        "codec", "B/token", *(f"KL T={t:g}" for t in temperatures), "max KL", "top-1", "tail error", "gradient cos",
        "encode/s", "decode/s", "state",
    ]  # fmt: skip
    return columns, [_row(each, temperatures) for each in sorted(results, key=lambda each: each.bytes_per_token)]


def _row(result: Result, temperatures: Sequence[float]) -> list[str]:
    from kdkit.system.files import size_text

    return [
        result.label,
        f"{result.bytes_per_token:,.1f}",
        *(_small(result.kl[t]) for t in temperatures),
        _small(result.kl_max),
        f"{result.top1_agreement:.4f}",
        _small(result.tail_mass_error),
        "-" if result.gradient_cosine is None else f"{result.gradient_cosine:.6f}",
        f"{result.encode_tokens_per_s:,.0f}",
        f"{result.decode_tokens_per_s:,.0f}",
        size_text(result.state_bytes) if result.state_bytes else "-",
    ]


def _small(number: float | None) -> str:
    return "-" if number is None else "0" if number == 0 else f"{number:.2e}"
