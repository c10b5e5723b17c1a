"""The scores of a run in the model card of its student."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kdkit.report.numbers.names import LABELS_ONLY, MODELS, NO_SUITES
from kdkit.report.numbers.student_folder import BEST
from kdkit.report.page.formats import interval, metric
from kdkit.runs.model_card import CARD_FILE, with_scores
from kdkit.system.files import write_atomically
from kdkit.system.reading import read_text
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from huggingface_hub import EvalResult

    from kdkit.api.values import Score
    from kdkit.report.read.run import RunFacts

SHOWN = ("student", LABELS_ONLY, "teacher")
WITHOUT_SUITES = ("loss.hard", "tokens.perplexity", "tokens.bits_per_byte", "tokens.accuracy")
"""What is said of a student that was not asked for texts."""
_DIGITS = 4


def add_scores(facts: RunFacts) -> None:
    """Write the scores into the card of the best student of a run; does nothing where there is no card."""
    card = facts.path / BEST / CARD_FILE if facts.path is not None else None
    if card is None or not card.is_file():
        return
    before = read_text(card, errors="replace")
    rows = _rows(facts.evaluation.scores, facts.evaluation.headline)
    if rows and (after := with_scores(before, _section(facts, rows), _results(facts, rows), name=facts.name)) != before:
        write_atomically(card, after.encode())


def _rows(scores: Sequence[Score], headline: str) -> list[dict[str, Score]]:
    """The scores against the ground truth by model, a row for each metric, the headline first."""
    true = [score for score in scores if score.against == "truth" and "/" not in score.metric]
    if any(score.suite not in NO_SUITES for score in true):
        true = [score for score in true if score.suite not in NO_SUITES]
    else:
        true = [score for score in true if score.name in WITHOUT_SUITES]
    names = dict.fromkeys(score.name for score in true if score.model == "student" and math.isfinite(score.value))
    rows = [{score.model: score for score in true if score.name == name} for name in names]
    return sorted(rows, key=lambda row: row["student"].name != headline)


def _section(facts: RunFacts, rows: Sequence[dict[str, Score]]) -> str:
    models = [model for model in SHOWN if any(model in row for row in rows)]
    count = plural(max(row["student"].count for row in rows), facts.scored_in)
    lines = [
        f"On {count} of the {facts.split} split, against the ground truth, with 95 % intervals.",
        "",
        f"| metric | {' | '.join(MODELS[model] for model in models)} |",
        "|---" * (len(models) + 1) + "|",
    ]
    for row in rows:
        cells = [_cell(row[model]) if model in row else "" for model in models]
        lines.append(f"| {row['student'].name.replace('|', chr(92) + '|')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(score: Score) -> str:
    found = interval(score)
    return f"{metric(score.value)} ({found})" if found else metric(score.value)


def _results(facts: RunFacts, rows: Sequence[dict[str, Score]]) -> list[EvalResult]:
    from huggingface_hub import EvalResult

    data = facts.recipe.get("data", {})
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=str(data.get("path") or data.get("name") or "unknown"),
            dataset_name=facts.name,
            dataset_split=facts.split,
            metric_type=row["student"].metric,
            metric_name=row["student"].name,
            metric_value=round(row["student"].value, _DIGITS),
        )
        for row in rows
    ]
