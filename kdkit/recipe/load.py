"""Loads a recipe from a file, the name of a shipped one, or a dict; or reports everything that is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit import plugins as plugin_loading
from kdkit.errors import KdkitError, RecipeError
from kdkit.plugins.checks import show
from kdkit.plugins.fields import digested, table_of
from kdkit.plugins.structure import MOST_TOLD, WRONG, Structurer, dotted
from kdkit.recipe.defaults import filled
from kdkit.recipe.document import read_document, read_stored_document, with_overrides
from kdkit.recipe.former_names import HINTS
from kdkit.recipe.requires import unmet
from kdkit.recipe.sections import SECTIONS, SWEEP, Preamble, Recipe
from kdkit.recipe.suggestions import all_options, suggestion
from kdkit.system.wording import did_you_mean

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from kdkit.api.suites import NamedSuite
    from kdkit.plugins import Plugins
    from kdkit.plugins.fields import KeyPath
    from kdkit.recipe.document import Document, Place

    Check = Callable[[Mapping[str, Any], Structurer], None]

_MOST_SAID = 200
"""Problems of a recipe that are listed one by one."""
_LONGEST_KEY = 200
_MONITORS = ("loss", "hard", "soft")


def load_recipe(
    recipe: str | os.PathLike[str] | Mapping[str, Any], overrides: Sequence[str] = (), plugins: Plugins | None = None
) -> Recipe:
    """Read and check a recipe; nothing heavy is imported or opened.

    Args:
        recipe: A TOML file, the name of a shipped recipe, or the tables themselves.
        overrides: `section.key=value`, laid over the recipe in this order.
        plugins: What components there are; by default the built-in and installed ones.

    Raises:
        MissingInput: There is no such recipe.
        RecipeError: It is wrong; carries every problem. (Faults that stop the reading, which are those of TOML itself
            and of `extends`, come alone.)
    """
    document, path = read_document(recipe)
    document, malformed = with_overrides(document, overrides)
    loaded = plugins if plugins is not None else plugin_loading.load()
    if SWEEP in document.table:
        sentence = (
            "this recipe is a sweep of many trials, and a single run is needed here; use `kdkit run`, `kdkit "
            "plan` or `kdkit recipes validate`, which take sweeps, or kdkit.load_sweep"
        )
        raise RecipeError(said([(document.place((SWEEP,)), (SWEEP,), sentence)]))
    return made_of(document, path, loaded, malformed)


def load_stored(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe that this kdkit or an earlier one wrote into a run's folder or beside a model.

    Args:
        path: The file.
        overrides: As of `load_recipe`.

    Raises:
        RecipeError: It is not what kdkit wrote, or names components that are not there.
    """
    document, malformed = with_overrides(read_stored_document(path), overrides)
    return made_of(document, None, plugin_loading.load(), malformed, is_stored=True)


def made_of(
    document: Document,
    path: Path | None,
    plugins: Plugins,
    malformed: Sequence[str],
    *,
    is_stored: bool = False,
    check: Check | None = None,
) -> Recipe:
    """The recipe that a document is.

    Args:
        document: The document.
        path: The file it was read from, if any.
        plugins: What components there are.
        malformed: What is wrong with it already, said at the end.
        is_stored: Whether kdkit wrote it (see `Structurer`).
        check: Called with the sections that were made; by default `check_monitors`.

    Raises:
        RecipeError: It is wrong; carries every problem.
    """
    structurer = Structurer(plugins, is_stored=is_stored or document.is_whole)
    made = structured(document, path, structurer, check=check)
    problems = [*said((document.place(key), key, sentence) for key, sentence in structurer.problems), *malformed]
    if problems or made is None:
        raise RecipeError(problems)
    return made


def said(problems: Iterable[tuple[Place, KeyPath, str]]) -> list[str]:
    """Problems as sentences, in the order of the file; of very many, the first and the number of the rest."""
    ordered = sorted(problems, key=_order)
    sentences = [f"{place}: {_shortened(dotted(key))}: {sentence}" for place, key, sentence in ordered[:_MOST_SAID]]
    more = len(ordered) - len(sentences)
    return (
        [*sentences, f"{ordered[-1][0]}: {more:,} more problems up to here; correct the ones above first"]
        if more
        else sentences
    )


def _shortened(key: str) -> str:
    return key if len(key) <= _LONGEST_KEY else f"{key[: _LONGEST_KEY - 4]} ..."


def _order(found: tuple[Place, KeyPath, str]) -> tuple[bool, Place]:
    """Files before overrides, lines in order."""
    place = found[0]
    return place.line == 0, place


def structured(
    document: Document, path: Path | None, structurer: Structurer, *, check: Check | None = None
) -> Recipe | None:
    """The recipe; None if anything is wrong, which the structurer has then noted; see `made_of`."""
    table, problems = document.table, structurer.problems
    structurer.suggestion = lambda key, known: suggestion(key, known, all_options(table, structurer.plugins))
    preamble_keys = ["name", *attrs.fields_dict(Preamble)]
    unknown = [key for key in table if key not in SECTIONS and key not in preamble_keys]
    for key in unknown[:MOST_TOLD]:
        structurer.no_key((key,), "a key or section of a recipe", [*preamble_keys, "extends", *SECTIONS, SWEEP])
    if len(unknown) > MOST_TOLD:
        problems.append(((unknown[-1],), f"is one of {len(unknown) - MOST_TOLD:,} more unknown keys"))
    name = _name(table.get("name", path.stem if path is not None else "recipe"), structurer)
    given = {key: table[key] for key in attrs.fields_dict(Preamble) if key in table}
    preamble = structurer.instance(Preamble, given, (), owner="a recipe")
    if isinstance(table.get("requires"), list):
        for index, requirement in enumerate(table["requires"]):
            unmet_because = unmet(requirement, structurer.plugins) if isinstance(requirement, str) else None
            if unmet_because:
                problems.append((("requires", index), unmet_because))
    sections, names = sections_of(document, structurer)
    (check or check_monitors)(sections, structurer)
    problems[:] = [(key, HINTS.get(key, sentence)) for key, sentence in problems]
    if problems:
        return None
    fields = {key: getattr(preamble, key) for key in attrs.fields_dict(Preamble)}

    def tables(as_table: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        named = {section: {"name": names[section]} if section in names else {} for section in sections}
        made = {section: table | as_table(sections[section]) for section, table in named.items()}
        return {"name": name, **as_table(preamble), **made}

    return Recipe(
        name=name,
        **fields,
        **sections,
        names=names,
        resolved=tables(table_of),
        digested=tables(digested),
        path=path,
        places=document.places,
    )


def _name(raw: Any, structurer: Structurer) -> Any:
    name = structurer.value(str, raw, ("name",))
    if name is not WRONG and (not name.strip() or name in {".", ".."} or any(c in "/\\" or ord(c) < 32 for c in name)):
        structurer.problems.append((("name",), f"must be usable as the name of a folder, is {show(name)}"))
    return name


def sections_of(
    document: Document, structurer: Structurer, wanted: Iterable[str] = tuple(SECTIONS)
) -> tuple[dict[str, Any], dict[str, str]]:
    """The sections made, by default all of them, and the names of components."""
    table = document.table
    made: dict[str, Any] = {}
    names: dict[str, str] = {}
    for name in wanted:
        section = SECTIONS[name]
        if name not in table and section.is_optional:
            continue
        if name not in table and section.is_required:
            assert section.kind is not None
            known = ", ".join(structurer.plugins.names(section.kind))
            structurer.problems.append(((name,), f"is missing: a recipe needs [{name}] with a name, one of: {known}"))
            continue
        content = table.get(name, {})
        if isinstance(content, dict):
            content = filled(name, {**section.default, **content}, table, document.format)
        if section.kind is not None:
            names[name], made[name] = structurer.component(section.kind, content, (name,), section.default_name)
        else:
            assert section.options is not None
            made[name] = structurer.instance(section.options, content, (name,), owner=f"[{name}]")
    return made, names


def check_monitors(sections: Mapping[str, Any], structurer: Structurer) -> None:
    """Refuse a `best_by` that is neither a loss nor a metric of a configured suite."""
    evaluation, teacher, training = (sections.get(name, WRONG) for name in ("evaluation", "teacher", "training"))
    if evaluation is WRONG:
        return
    suites = evaluation.suites
    trainings = {("training",): training, ("teacher", "fine_tune"): getattr(teacher, "fine_tune", None)}
    for path, options in trainings.items():
        if options is None or options is WRONG or options.best_by in _MONITORS:
            continue
        suite = evaluation.suite_of(options.best_by)
        meant = [] if suite is None else [m for m in _metrics_of(suite) if m.lower() == options.best_by.lower()]
        if meant and options.best_by not in meant:
            sentence = f'is "{options.best_by}"; did you mean "{meant[0]}"?'
            structurer.problems.append(((*path, "best_by"), sentence))
        elif suite is None:
            metrics = [metric for suite in suites for metric in _metrics_of(suite)]
            meant = [metric for metric in metrics if metric.partition(".")[2] == options.best_by]
            hint = f'; did you mean "{meant[0]}"?' if meant else did_you_mean(options.best_by, [*_MONITORS, *metrics])
            sentence = (
                f"must be one of {', '.join([*_MONITORS, *metrics])}, is "
                f'"{options.best_by}"{hint or "; the suites are listed in [evaluation]"}'
            )
            structurer.problems.append(((*path, "best_by"), sentence))


def _metrics_of(named: NamedSuite) -> list[str]:
    """The metrics of a suite, as `best_by` names them, found by scoring no rows."""
    try:
        metrics = list(named.score([], [], []))
    except KdkitError:  # one that cannot do that breaks a rule of its kind; this is about best_by
        metrics = []
    return [f"{named.name}.{metric}" for metric in metrics] or [f"{named.name}.METRIC"]
