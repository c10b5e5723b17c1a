"""Evaluate: the student's texts and losses beside the teacher's, against the ground truth and each other."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch

from kdkit import hf, predictions
from kdkit.cache import LogitCache
from kdkit.engine import Forward, RowLoss, loss_samples, row_losses
from kdkit.files import folder_bytes, write_json
from kdkit.generation import predict
from kdkit.interfaces import SparseCodec
from kdkit.losses import HardLoss, loss_at
from kdkit.rows import read_corpus, rows_of
from kdkit.scoring import columns_of, differences_of, scores_of, weighted_mean
from kdkit.targets import CachedTargets, NoTargets, check_covers, keys_of
from kdkit.timing import seconds_per_sample
from kdkit.training import rows_together
from kdkit.values import END, Cost, Score, TokenCounts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.interfaces import TextModel
    from kdkit.rows import Rows
    from kdkit.runfolder import Run
    from kdkit.targets import TargetSource
    from kdkit.values import Corpus, Difference, FloatArray, Prediction

LOSS_SUITE = "loss"


def score(run: Run) -> dict[str, Any]:
    """Write `predictions/student.jsonl` and `evaluation.json`."""
    corpus = read_corpus(run)
    asked = _ask_student(run, corpus)
    return run.team.lead_does(lambda: _write(run, corpus, asked))


def _write(run: Run, corpus: Corpus, asked: Asked) -> dict[str, Any]:
    """What the lead does alone: time the teacher, score texts and losses."""
    held_out, student_cost = asked.held_out, asked.cost
    losses = _loss_scores(run, asked.losses, held_out)
    teacher_cost = _teacher_cost(run, corpus, held_out)  # the student is closed: the two are never in memory together
    folder = run.path / "predictions"
    said = {model: predictions.read(folder / f"{model}.jsonl") for model in ("teacher", "student")}
    scores, differences = _text_scores(run, held_out, said)
    evaluation = {
        "split": "test" if corpus.test else "validation",
        "rows": len(held_out.examples),
        "scores": [attrs.asdict(each) for each in (*scores, *losses)],
        "differences": [attrs.asdict(each) for each in differences],
        "costs": {name: attrs.asdict(cost) for name, cost in {"student": student_cost, **teacher_cost}.items()},
    }
    write_json(run.path / "evaluation.json", evaluation)
    return {"split": evaluation["split"], "rows": evaluation["rows"]}


@attrs.frozen(kw_only=True, eq=False)
class Asked:
    """What came of asking the student.

    Attributes:
        held_out: The rows that are scored.
        losses: The losses on them.
        cost: What the student costs.
    """

    held_out: Rows
    losses: list[RowLoss]
    cost: Cost


def _ask_student(run: Run, corpus: Corpus) -> Asked:
    """Losses and cost of the student; its texts go to their file."""
    recipe = run.recipe
    student = recipe.student.open(run.path / "student" / "best", device=run.device)
    held_out = rows_of(corpus.held_out, student.tokenizer, recipe.tokens, at_most=recipe.evaluation.rows)
    predictions.fill(
        run.path / "predictions" / "student.jsonl",
        held_out.encoded,
        lambda rows, done: predict(student, rows, recipe.generation, device=run.device, done=done),
        progress=run.progress,
        name="student writes",
        team=run.team,
        batch_size=recipe.generation.batch_size,
    )
    losses = _losses(run, student, held_out)
    # Nothing else is computed meanwhile: the others wait.
    cost = run.team.lead_does(lambda: _student_cost(run, student, held_out))
    return Asked(held_out=held_out, losses=losses, cost=cost)


def _text_scores(run: Run, held_out: Rows, said: dict[str, list[Prediction]]) -> tuple[list[Score], list[Difference]]:
    """Teacher and student against the ground truth, the student against the teacher; and how far the two differ."""
    evaluation = run.recipe.evaluation
    suites = [(named.name, named.suite) for named in evaluation.suites]
    texts = {model: {prediction.id: prediction.text for prediction in rows} for model, rows in said.items()}
    of = {model: [by_id[example.id] for example in held_out.examples] for model, by_id in texts.items()}
    truth = [example.target for example in held_out.examples]
    columns = {
        ("teacher", "truth"): columns_of(suites, of["teacher"], truth, held_out.examples),
        ("student", "truth"): columns_of(suites, of["student"], truth, held_out.examples),
        ("student", "teacher"): columns_of(suites, of["student"], of["teacher"], held_out.examples),
    }
    resampling = {"resamples": evaluation.bootstrap, "seed": run.recipe.seed}
    scores = [
        score for (model, against), found in columns.items() for score in scores_of(model, against, found, **resampling)
    ]
    return scores, differences_of(columns["student", "truth"], columns["teacher", "truth"], **resampling)


def _losses(run: Run, student: TextModel, held_out: Rows) -> list[RowLoss]:
    """The student's losses on each row."""
    recipe, rows = run.recipe, held_out.encoded
    targets: TargetSource = NoTargets()
    if recipe.loss.needs_teacher:
        cache, keys = _cached(run, held_out)
        targets = CachedTargets(cache=cache, keys=keys, device=run.device)
    return row_losses(
        rows,
        Forward.of(student),
        loss_at(recipe.loss, END),
        targets,
        pad_id=student.tokenizer.pad_token_id,
        device=run.device,
        batch_size=recipe.generation.batch_size,
        together=rows_together(recipe),
        team=run.team,
    )


def _cached(run: Run, held_out: Rows) -> tuple[LogitCache, dict[str, bytes]]:
    """The cache of the teacher's logits, and each row's key in it."""
    facts = run.facts("capture")
    keys = keys_of(held_out.encoded, teacher=facts["identity"], tokenizer=facts["tokenizer"])
    cache = LogitCache.open(Path(facts["cache"]))
    check_covers(cache, keys)
    return cache, keys


def _loss_scores(run: Run, losses: list[RowLoss], held_out: Rows) -> list[Score]:
    """Total, hard and soft loss of the student; the hard loss of the teacher, where its cached logits tell it."""
    recipe = run.recipe
    teacher: list[RowLoss] = []
    # A sparse codec does not know the probability of every label.
    if recipe.loss.needs_teacher and not isinstance(recipe.codec, SparseCodec):
        cache, keys = _cached(run, held_out)
        teacher = [_teacher_loss(cache.decode(keys[row.id]), row.target_ids) for row in held_out.encoded]
    return [
        *_loss_score(run, teacher, "teacher", "truth", "hard"),
        *_loss_score(run, losses, "student", "truth", "hard"),
        *_loss_score(run, losses, "student", "teacher", "soft"),
        *_loss_score(run, losses, "student", "truth and teacher", "total"),
    ]


def _teacher_loss(logits_TV: FloatArray, target_ids: Sequence[int]) -> RowLoss:
    """The teacher's hard loss on one row, over the labels that it has logits for."""
    labels_T = torch.tensor(target_ids[: len(logits_TV)], dtype=torch.int64)
    hard = float(HardLoss()(torch.from_numpy(logits_TV)[: len(labels_T)], labels_T, None, TokenCounts(hard=1)).hard)
    return RowLoss(total=hard, hard=hard, soft=math.nan, hard_tokens=len(labels_T), soft_tokens=0)


def _loss_score(run: Run, losses: Sequence[RowLoss], model: str, against: str, name: str) -> list[Score]:
    """One loss as a score, with its interval; none where no token counts."""
    recipe = run.recipe
    values, weights = loss_samples(losses, name, rows_together(recipe))
    if not values:
        return []
    value, low, high = weighted_mean(
        np.array(values), np.array(weights, dtype=np.float64), resamples=recipe.evaluation.bootstrap, seed=recipe.seed
    )
    return [
        Score(
            model=model,
            against=against,
            suite=LOSS_SUITE,
            metric=name,
            value=value,
            low=low,
            high=high,
            count=sum(row.tokens(name) > 0 for row in losses),
        )
    ]


def _student_cost(run: Run, student: TextModel, held_out: Rows) -> Cost:
    generation = run.recipe.generation
    seconds = seconds_per_sample(
        held_out.encoded,
        lambda rows: predict(student, rows, generation, device=run.device),
        batch_size=generation.batch_size,
    )
    return _cost(run, seconds, run.path / "student" / "best", hf.count_parameters(student.module))


def _teacher_cost(run: Run, corpus: Corpus, held_out: Rows) -> dict[str, Cost]:
    """What the teacher costs, timed right after the student on the same rows; nothing where it is no model."""
    recipe, named = run.recipe, run.facts("teacher")["folder"]
    if named is None:
        return {}
    folder = run.path / named
    teacher = recipe.teacher.open(folder, recipe.data, corpus, device=run.device)
    try:
        seconds = seconds_per_sample(
            held_out.encoded,
            lambda rows: teacher.generate(rows, recipe.generation),
            batch_size=recipe.generation.batch_size,
        )
        parameters = hf.size_of(recipe.teacher.model_config(teacher.tokenizer)).parameters
    finally:
        teacher.close()
    return {"teacher": _cost(run, seconds, folder, parameters)}


def _cost(run: Run, seconds: Sequence[float], folder: Path, parameters: int) -> Cost:
    """Size, and the spread of the time per sample over the timed batches."""
    low, median, high = np.quantile(seconds, (0.25, 0.5, 0.75)) if seconds else (math.nan,) * 3
    return Cost(
        parameters=parameters,
        bytes_on_disk=folder_bytes(folder, "*.safetensors") or folder_bytes(folder, "*.bin"),
        seconds_per_sample=float(median),
        seconds_low=float(low),
        seconds_high=float(high),
        batch_size=run.recipe.generation.batch_size,
        beams=run.recipe.generation.beams,
    )
