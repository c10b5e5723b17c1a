"""`kdkit cache`: what is in the logit caches of a folder, and whether it is whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import rich_click as click

from kdkit.errors import DamagedData, UsageError
from kdkit.files import size_text
from kdkit.texts import plural

_FOLDER = click.argument("folder", type=click.Path(path_type=Path))
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("cache")
def command() -> None:
    """Look into logit caches."""


@command.command()
@_FOLDER
@_JSON
def info(folder: Path, as_json: bool) -> None:  # noqa: FBT001 - click passes a flag as a bool
    """Say what a cache holds, or list every cache below FOLDER, one a line."""
    from kdkit.cache import caches_below

    caches = caches_below(folder)
    single = caches == [folder]
    tables = [_facts(cache) for cache in caches]
    if as_json:
        click.echo(json.dumps(tables[0] if single else tables, indent=2))
    elif single:
        for name, value in tables[0].items():
            click.echo(f"{name + ':':17}{_shown(value)}")
    else:
        for table in tables:
            click.echo(_line(table))


@command.command()
@_FOLDER
@_JSON
def verify(folder: Path, as_json: bool) -> None:  # noqa: FBT001 - click passes a flag as a bool
    """Read every cache in FOLDER or below it to the last byte, and list what is damaged.

    The exit code is 4 if anything is.
    """
    from kdkit.cache import caches_below

    caches = caches_below(folder)
    single = caches == [folder]
    results = [_verified(cache) for cache in caches if single or _is_finished(cache)]
    if as_json:
        click.echo(json.dumps(results[0] if single else results, indent=2))
    else:
        for cache in caches:
            if not single and not _is_finished(cache):
                click.echo(f"{cache}: not verified: its capture has not finished", err=True)
        for result in results:
            prefix = "" if single else f"{result['folder']}: "
            click.echo("\n".join(f"{prefix}{line}" for line in _verdict(result)))
    faults = sum(len(result["faults"]) for result in results)
    if faults:
        raise DamagedData(
            f"{plural(faults, 'fault')} in {folder}; delete the damaged files and the manifest.json beside them "
            "and run the recipe again, and only what was in them is captured again"
        )


def _facts(folder: Path) -> dict[str, Any]:
    from kdkit.cache import read_manifest

    try:
        return {"folder": str(folder), "state": "finished", **read_manifest(folder).summary()}
    except DamagedData as error:
        return {"folder": str(folder), "state": "damaged", "problem": str(error)}
    except UsageError as error:
        return {"folder": str(folder), "state": "not readable", "problem": str(error)}


def _is_finished(folder: Path) -> bool:
    from kdkit.cache.manifest import MANIFEST

    return (folder / MANIFEST).exists()


def _line(table: dict[str, Any]) -> str:
    if "problem" in table:
        return f"{table['folder']}: {table['state']}: {table['problem']}"
    return (
        f"{table['folder']}: {table['teacher_name']}, {table['codec']} {json.dumps(table['codec_options'])}, "
        f"{plural(table['records'], 'record')}, {plural(table['tokens'], 'token')}, {size_text(table['bytes'])}"
    )


def _verified(folder: Path) -> dict[str, Any]:
    import attrs

    from kdkit.cache import read_manifest, verify

    faults = verify(folder)
    result: dict[str, Any] = {"folder": str(folder), "ok": not faults}
    if not faults:
        summary = read_manifest(folder).summary()
        result |= {name: summary[name] for name in ("records", "tokens", "bytes")}
    return {**result, "faults": [{**attrs.asdict(fault), "text": str(fault)} for fault in faults]}


def _verdict(result: dict[str, Any]) -> list[str]:
    if not result["ok"]:
        return [fault["text"] for fault in result["faults"]]
    numbers = f"{plural(result['records'], 'record')}, {plural(result['tokens'], 'token')}"
    return [f"ok: {numbers}, {size_text(result['bytes'])}"]


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return json.dumps(value)
    return f"{value:,}" if isinstance(value, int | float) else str(value)
