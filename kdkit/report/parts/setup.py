"""How a run was set up and what that came to: data, models, settings, times, a section each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdkit.api.values import SPLITS
from kdkit.report.numbers.versions import versions
from kdkit.report.page import formats
from kdkit.report.page.document import Items, Remarks, Section, Sections
from kdkit.report.page.tables import Cell, Group, Row, Table
from kdkit.report.parts import training
from kdkit.report.read.files import as_table, number
from kdkit.report.read.run import STAGES
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.report.read.run import RunFacts

NO_LIMIT = ("rows", "max_steps", "batch_tokens")
"""Endings of the settings whose 0 means that there is no limit: as a number it would read as none at all."""


def sections(facts: RunFacts) -> Sections:
    """Every section that there is something to say in."""
    made: dict[str, Sequence[Table | Items | Remarks]] = {
        "Data": _data(facts),
        "Teacher": _items(_settings(_without(facts.table("teacher"), "fine_tune"))),
        "Fine-tuning of the teacher": _items(_fine_tuning(facts)),
        "Student": _items(_settings(facts.table("student"))),
        "Training of the student": _items(_training(facts)),
        "Evaluation": [*_items(_evaluation(facts)), *_notes(facts)],
        "Logit cache": _items(_cache(facts)),
        "Time by stage": _times(facts),
        "Versions": _items(versions([facts.run])),
        "Where it came from": _items(_way_back(facts)),
    }
    return Sections(tuple(Section(title=title, blocks=tuple(blocks)) for title, blocks in made.items() if blocks))


def _items(found: Sequence[tuple[str, str]]) -> list[Items]:
    return [Items(tuple(found))] if found else []


def _notes(facts: RunFacts) -> list[Remarks]:
    """What metric suites said before the training."""
    told = as_table(as_table(as_table(facts.run.get("stages")).get("check")).get("facts")).get("notes")
    notes = tuple(str(note) for note in told) if isinstance(told, list) else ()
    return [Remarks(notes)] if notes else []


def _without(table: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in names}


def _trained_on(facts: RunFacts) -> str:
    """Which held-out rows count as trained on."""
    is_written = facts.table("teacher").get("write_targets") is not None
    return "whose prompt is that of a training row" if is_written else "that do so with their sources"


def _data(facts: RunFacts) -> list[Items | Table | Remarks]:
    rows, leakage = as_table(facts.data.get("rows")), as_table(facts.data.get("leakage"))
    repeated = as_table(facts.data.get("repeated_rows"))
    splits = [split for split in SPLITS if rows.get(split)]
    found: list[Items | Table | Remarks] = [*_items(_settings(facts.table("data")))]
    if splits:
        told = {split: (formats.count(number(rows[split])), formats.percent(number(leakage.get(split))),
                        formats.count(number(repeated.get(split)))) for split in splits}  # fmt: skip
        found.append(
            Table.of(
                ("", "rows", "leakage", "trained on"),
                (Row(label=split, cells=tuple(map(Cell, texts))) for split, texts in told.items()),
                title="Rows",
                note="Leakage: the share of a split's targets that occur word for word in training. "
                f"Trained on: its rows {_trained_on(facts)}.",
            )
        )
    lengths = as_table(facts.data.get("lengths"))
    if lengths:
        found.append(
            Table(
                title="Lengths in tokens",
                note="Rows as long as the limit may have been cut to it.",
                columns=("", "median", "90th percentile", "longest", "as long as the limit"),
                groups=tuple(
                    Group(title=split, rows=_lengths(as_table(lengths[split]))) for split in SPLITS if split in lengths
                ),
            )
        )
    found += _tokenizer(facts)
    drops = [as_table(drop) for drop in facts.data.get("drops") or ()]
    if drops:
        dropped = sum(int(number(drop.get("count")) or 0) for drop in drops)
        found.append(Remarks(tuple(map(_drop, drops)), title=f"{plural(dropped, 'row')} left out, by reason"))
    return found


def _tokenizer(facts: RunFacts) -> list[Table]:
    """What `kdkit.data.target_facts` says of each split; older runs do not have it."""
    told = as_table(facts.data.get("tokenizer"))
    rows = []
    for split in (split for split in SPLITS if split in told):
        table = as_table(told[split])
        unknown = as_table(table.get("unknown"))
        counts = (formats.count(number(as_table(table.get(key)).get("rows"))) for key in ("changed", "cut", "spelt"))
        shares = (formats.percent(number(unknown.get(side))) for side in ("source", "target"))
        rows.append(Row(label=split, cells=tuple(map(Cell, (*counts, *shares)))))
    if not rows:
        return []
    return [
        Table.of(
            ("", "not writable", "cut", "spelling a special token", "unknown in sources", "unknown in targets"),
            rows,
            title="What the tokenizer makes of it",
            note="Not writable: targets that are another text once they are encoded and decoded. Unknown: the share of "
            "tokens that stand for something that the tokenizer does not know.",
        )
    ]


def _lengths(sides: Mapping[str, Any]) -> tuple[Row, ...]:
    """A row for source and target, of what `kdkit.data.corpus.lengths` says of a split."""
    return tuple(
        Row(
            label=side,
            cells=tuple(
                Cell(formats.count(number(as_table(sides[side]).get(key))))
                for key in ("median", "p90", "max", "at_limit")
            ),
        )
        for side in ("source", "target")
        if side in sides
    )


def _drop(drop: Mapping[str, Any]) -> str:
    count = int(number(drop.get("count")) or 0)
    first = [str(place) for place in drop.get("first") or ()]
    places = f" (first at {', '.join(first)})" if first else ""
    return f"{plural(count, 'row')} dropped because {drop.get('reason', 'no reason is given')}{places}."


def _fine_tuning(facts: RunFacts) -> list[tuple[str, str]]:
    """How the teacher was fine-tuned; nothing where it was not."""
    items = _training_settings(as_table(facts.table("teacher").get("fine_tune")), facts)
    items += _padding(facts, "teacher")
    reused = facts.stage("teacher").get("reused")
    if items and isinstance(reused, bool):
        items.append(("done", "by an earlier run" if reused else "by this run"))
    return items


def _training(facts: RunFacts) -> list[tuple[str, str]]:
    training, done = facts.table("training"), facts.stage("distill")
    loss = _settings(facts.table("loss"))
    items = [("loss", ", ".join(text if key == "name" else f"{key} {text}" for key, text in loss))] if loss else []
    items += _training_settings(training, facts)
    for label, key in (("steps taken", "steps"), ("best at step", "best_step"), ("best value", "best_value")):
        value = number(done.get(key))
        if value is not None:
            items.append((label, formats.metric(value) if key == "best_value" else formats.count(value)))
    items += _padding(facts, "student")
    tokens = [f"{key} {text}" for key, text in _settings(facts.table("tokens"))]
    items += [("tokens", ", ".join(tokens))] if tokens else []
    return items


def _training_settings(training: Mapping[str, Any], facts: RunFacts) -> list[tuple[str, str]]:
    """The settings of a training, without those that a token budget takes the place of."""
    replaced = ("batch_size", "drop_last") if training.get("batch_tokens") else ()
    all_rows = number(as_table(facts.data.get("rows")).get("train"))
    return [
        (key, f"{text} of {formats.count(all_rows)}" if key == "rows" and all_rows is not None else text)
        for key, text in _settings(_without(training, *replaced))
    ]


def _padding(facts: RunFacts, stage: str) -> list[tuple[str, str]]:
    """The share of padding in what was trained on; a line of `metrics.jsonl` tells it of the steps since the last."""
    weighted, weights, last = 0.0, 0.0, 0.0
    for line in training.lines(facts, stage, "train"):
        share, step = number(line.get("padding")), number(line.get("step"))
        if step is None:
            continue
        if share is not None:
            weighted += share * (step - last)
            weights += step - last
        last = step
    return [("padding", formats.percent(weighted / weights))] if weights else []


def _evaluation(facts: RunFacts) -> list[tuple[str, str]]:
    suites = [
        ", ".join(text if key == "name" else f"{key} {text}" for key, text in _settings(as_table(suite)))
        if isinstance(suite, Mapping)
        else formats.setting(suite)
        for suite in facts.table("evaluation").get("suites") or ()
    ]
    items = [("suites", "; ".join(suites))] if suites else []
    items += _settings(_without(facts.table("evaluation"), "suites"))
    generation = [f"{key} {text}" for key, text in _settings(facts.table("generation"))]
    items += [("generation", ", ".join(generation))] if generation else []
    return items


def _cache(facts: RunFacts) -> list[tuple[str, str]]:
    capture = facts.stage("capture")
    items = [(key if key != "name" else "codec", text) for key, text in _settings(facts.table("codec"))]
    if not items and capture.get("codec"):
        items.append(("codec", str(capture["codec"])))
    items += [
        (key, formats.count(number(capture[key])))
        for key in ("records", "tokens")
        if number(capture.get(key)) is not None
    ]
    if number(capture.get("bytes")) is not None:
        items.append(("size", formats.size(number(capture["bytes"]))))
    if (smaller := number(facts.stage("check").get("subspace_bytes"))) is not None:
        items.append(("size with subspace", f"about {formats.size(smaller)}"))
    if number(capture.get("bytes_per_token")) is not None:
        items.append(("bytes per token", f"{number(capture['bytes_per_token']):,.1f}"))
    if isinstance(capture.get("reused"), bool):
        items.append(("captured", "by an earlier run" if capture["reused"] else "by this run"))
    return items


def _times(facts: RunFacts) -> list[Table]:
    seconds = {stage: number(facts.stage(stage).get("seconds")) for stage in STAGES}
    known = {stage: value for stage, value in seconds.items() if value is not None}
    if not known:
        return []
    total = sum(known.values())
    rows = [
        Row(label=stage, cells=(Cell(formats.duration(value)), Cell(formats.percent(value / total if total else None))))
        for stage, value in known.items()
    ]
    rows.append(Row(label="together", cells=(Cell(formats.duration(total)), Cell(""))))
    return [Table.of(("", "time", "share"), rows)]


def _way_back(facts: RunFacts) -> list[tuple[str, str]]:
    items = [("run folder", facts.folder)]
    if facts.run.get("recipe_digest"):
        items.append(("recipe digest", str(facts.run["recipe_digest"])))
    if facts.run.get("started"):
        items.append(("started", str(facts.run["started"])))
    seeds = as_table(facts.run.get("seeds")) or {"seed": facts.recipe.get("seed")}
    items += [
        (f"seed of {name}" if name != "seed" else "seed", str(seed)) for name, seed in seeds.items() if seed is not None
    ]
    return items


def _settings(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A recipe table as its keys and values; nested tables flattened, what is empty or sets no limit left out."""
    found: list[tuple[str, str]] = []
    for key, value in table.items():
        if isinstance(value, Mapping) and not formats.is_schedule(value):
            found += _settings(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            plain = [item for item in value if not isinstance(item, Mapping)]
            found += [(f"{prefix}{key}", formats.setting(plain))] if plain else []
        elif value not in (None, "") and not (value == 0 and key.endswith(NO_LIMIT)):
            found.append((f"{prefix}{key}", formats.setting(value)))
    return found
