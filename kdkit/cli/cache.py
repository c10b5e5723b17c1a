"""`kdkit cache`: inspects the logit caches of a folder; verifies, merges, repairs, converts and moves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import rich_click as click

from kdkit.cli.cache_exchange import export, import_, rows
from kdkit.cli.cache_facts import caches_at, facts, is_finished, manifest_of, numbers, size_of, summary_of, with_state
from kdkit.cli.groups import Group
from kdkit.cli.output import print_json, put, say
from kdkit.cli.places import folder_of, folders_of, place_of, url_of
from kdkit.errors import DamagedData
from kdkit.system.wording import plural

_FOLDER = click.argument("folder", callback=folder_of, metavar="FOLDER")
_OUT = click.argument("out", callback=folder_of, metavar="OUT")
_PLACE = click.argument("folder", type=place_of, metavar="FOLDER")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("cache", cls=Group)
def command() -> None:
    """Inspect logit caches; verify, merge, repair, convert, import and export them; fetch and push them."""


command.add_command(import_)
command.add_command(export)
command.add_command(rows)


@command.command()
@_PLACE
@_JSON
def info(folder: Path | str, as_json: bool) -> None:  # noqa: FBT001 - click passes a flag as a bool
    """Show what a cache holds, or list every cache below FOLDER, one a line. FOLDER may be a URL."""
    caches = caches_at(folder)
    single = caches == [folder]
    tables = [facts(cache) for cache in caches]
    if as_json:
        print_json(tables[0] if single else tables)
    elif single:
        for name, value in tables[0].items():
            say(f"{name + ':':17}{_shown(value)}", indent=17)
    else:
        for table in tables:
            say(_line(table))


@command.command()
@_PLACE
@_JSON
def verify(folder: Path | str, as_json: bool) -> None:  # noqa: FBT001 - click passes a flag as a bool
    """Read every byte of every cache in or below FOLDER, and list the damage. FOLDER may be a URL.

    The exit code is 4 if anything is.
    """
    caches = caches_at(folder)
    single = caches == [folder]
    results = [_verified(cache) for cache in caches if single or is_finished(cache)]
    if as_json:
        print_json(results[0] if single else results)
    else:
        for cache in caches:
            if not single and not is_finished(cache):
                say(f"{cache}: not verified: its capture has not finished", err=True)
        for result in results:
            prefix = "" if single else f"{result['folder']}: "
            say("\n".join(f"{prefix}{line}" for line in _verdict(result)))
    faults = sum(len(result["faults"]) for result in results)
    if faults and isinstance(folder, str):
        from kdkit.logits.cache.remote.mirror import push_advice

        damaged = [result["folder"] for result in results if not result["ok"]]
        raise DamagedData(
            f"{plural(faults, 'fault')} in {folder}; {push_advice(damaged[0] if len(damaged) == 1 else 'URL')}"
        )
    if faults:
        raise DamagedData(
            f"{plural(faults, 'fault')} in {folder}; run `kdkit cache repair` on {_in_words(results)}: it "
            "keeps every intact record, and only the others must be captured again"
        )


@command.command()
@_OUT
@click.argument("parts", callback=folders_of, nargs=-1, required=True, metavar="PART...")
@_JSON
def merge(out: Path, parts: tuple[Path, ...], as_json: bool) -> None:  # noqa: FBT001 - click passes a flag as a bool
    """Merge the finished caches PART... into OUT, a new cache or one that lacks some of their records.

    All must be of one teacher, tokenizer and codec. The parts stay as they are. If killed, run the same
    command to resume.
    """
    from kdkit.logits import cache
    from kdkit.system import progress

    merged = cache.merge(out, parts, progress=progress.for_stderr())
    summary = merged.manifest.summary()
    if as_json:
        new = {"new_shards": merged.shards, "new_records": merged.records, "repeated": merged.repeated}
        print_json({"folder": str(out), **new, **summary})
    else:
        say(f"{out}: {numbers(summary)} ({merged.describe()})")


@command.command()
@_FOLDER
@click.option(
    "--run",
    "run_dir",
    type=click.Path(path_type=Path),
    metavar="RUN_DIR",
    help="The folder of a run that captured this cache: its teacher captures the lost records again.",
)
@_JSON
def repair(folder: Path, run_dir: Path | None, as_json: bool) -> None:  # noqa: FBT001 - click passes a flag as a bool
    """Keep every intact record of the cache in FOLDER, and delete the damaged ones.

    A cache that lost records is an unfinished one until a run has captured them again. The exit code is 4 if any are
    missing at the end.
    """
    from kdkit.logits import cache
    from kdkit.system import progress

    shown = progress.for_stderr()
    if run_dir is not None:  # before anything is thrown away
        from kdkit.pipeline.recapture import check_run

        check_run(folder, run_dir)
    repaired = cache.repair(folder, progress=shown)
    for fault in repaired.faults:
        say(f"deleted: {fault}" if fault.record is not None else f"found: {fault}", err=True)
    finished, records, still = repaired.finished, repaired.kept, repaired.missing
    if run_dir is not None and not finished:
        from kdkit.pipeline.recapture import recapture

        records = len(recapture(folder, run_dir, progress=shown))
        finished, still = True, max(0, repaired.missing - (records - repaired.kept))
    table = {
        "folder": str(folder),
        "finished": finished,
        "faults": [str(fault) for fault in repaired.faults],
        "records": records,
        "recaptured": records - repaired.kept,
        "missing": still,
        "unknown_shards": [] if finished else list(repaired.unknown),
    }
    if as_json:
        print_json(table)
    else:
        say("\n".join(_repair_lines(table)))
    if not finished and repaired.lost:
        raise DamagedData(
            f"{folder} has lost {repaired.lost}; to capture {'it' if repaired.lost == '1 record' else 'them'} "
            f"again, run `kdkit cache repair {folder} --run RUN_DIR` with the folder of a run that captured "
            f"this cache ({repaired.identity.teacher_name})"
        )


@command.command()
@_FOLDER
@_OUT
@click.option("--codec", "spec", required=True, metavar="NAME[:KEY=VALUE,...]", help="The new codec and its options.")
@_JSON
def convert(folder: Path, out: Path, spec: str, as_json: bool) -> None:  # noqa: FBT001 - click passes a flag as a bool
    """Write the logits of the cache in FOLDER into OUT, with another codec.

    What FOLDER's own codec has lost stays lost. Run the same command again to resume.
    """
    from kdkit.logits import cache
    from kdkit.recipe.codec_spec import read_codec_spec
    from kdkit.system import progress

    chosen = read_codec_spec(spec)
    source = cache.LogitCache.open(folder)
    manifest = cache.convert(source, out, name=chosen.name, codec=chosen.codec, progress=progress.for_stderr())
    summary, before = with_state(out, manifest), with_state(folder, source.manifest)
    if as_json:
        sizes = {"source_bytes": before["bytes"], "source_state_bytes": before["state_bytes"]}
        print_json({"folder": str(out), **sizes, **summary})
    else:
        say(f"{out}: {numbers(summary)}; {size_of(before)} before")


@command.command()
@click.argument("url", callback=url_of, metavar="URL")
@_JSON
def fetch(url: str, as_json: bool) -> None:  # noqa: FBT001 - click passes a flag as a bool
    """Fetch the cache at URL into its local mirror, and print that folder. Intact files of the mirror stay."""
    from kdkit.logits.cache.remote.transfer import fetch as fetch_cache
    from kdkit.system import progress

    folder = fetch_cache(url, note=progress.for_stderr().note)
    if as_json:
        print_json({"url": url, "folder": str(folder)})
    else:
        put(folder)


@command.command()
@_FOLDER
@click.argument("url", callback=url_of, metavar="URL")
@click.option("--mend", is_flag=True, help="First read everything at URL, and replace damaged files.")
@_JSON
def push(folder: Path, url: str, mend: bool, as_json: bool) -> None:  # noqa: FBT001 - click passes flags as bools
    """Push the finished cache in FOLDER to URL, or the part that URL lacks.

    What URL has besides comes into FOLDER first, so that both hold the same in the end.
    """
    from kdkit.logits.cache.remote.transfer import push as push_cache
    from kdkit.system import progress

    push_cache(folder, url, mend=mend, note=progress.for_stderr().note)
    summary = summary_of(folder)
    if as_json:
        print_json({"url": url, "folder": str(folder), **summary})
    else:
        say(f"{url}: {numbers(summary)}")


def _in_words(results: list[dict[str, Any]]) -> str:
    """The folders that are damaged."""
    return " and ".join(result["folder"] for result in results if not result["ok"])


def _repair_lines(table: dict[str, Any]) -> list[str]:
    records = plural(table["records"], "record")
    if not table["faults"] and not table["recaptured"]:
        return [
            f"ok: {records}; nothing to repair"
            if table["finished"]
            else f"not finished: {records}, none damaged; run the recipe that captures them to resume"
        ]
    again = f", {table['recaptured']:,} of them captured again" if table["recaptured"] else ""
    lines = [f"repaired: {records}{again}"]
    if table["finished"] and table["missing"]:
        lines.append(
            f"{plural(table['missing'], 'record')} of other recipes are still missing; "
            "they are captured again when these recipes run"
        )
    return lines


def _line(table: dict[str, Any]) -> str:
    if "problem" in table:
        return f"{table['folder']}: {table['state']}: {table['problem']}"
    return (
        f"{table['folder']}: {table['teacher_name']}, {table['codec']} {json.dumps(table['codec_options'])}, "
        f"{plural(table['records'], 'record')}, {plural(table['tokens'], 'token')}, {size_of(table)}"
    )


def _verified(folder: Path | str) -> dict[str, Any]:
    import attrs

    from kdkit.logits.cache import verify
    from kdkit.logits.cache.remote.contents import verify_remote

    faults = verify_remote(folder) if isinstance(folder, str) else verify(folder)
    result: dict[str, Any] = {"folder": str(folder), "ok": not faults}
    if not faults:
        summary = manifest_of(folder).summary()
        result |= {name: summary[name] for name in ("records", "tokens", "bytes")}
    return {**result, "faults": [{**attrs.asdict(fault), "text": str(fault)} for fault in faults]}


def _verdict(result: dict[str, Any]) -> list[str]:
    if not result["ok"]:
        return [fault["text"] for fault in result["faults"]]
    return [f"ok: {numbers(result)}"]


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return json.dumps(value)
    return f"{value:,}" if isinstance(value, int | float) else str(value)
