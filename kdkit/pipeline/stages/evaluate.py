"""Evaluate: scores student, teacher and baselines on the held-out rows, against the ground truth and each other."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from kdkit.api.suites import MEASURED
from kdkit.api.values import Direction, Prediction
from kdkit.data import corpus as corpora
from kdkit.data.splitting import drawn
from kdkit.errors import KdkitError
from kdkit.evaluation import baselines, labels_only, record
from kdkit.evaluation.costs import student_cost, teacher_cost
from kdkit.evaluation.evidence import TEXTS, Evidence
from kdkit.evaluation.fine_tuning import bits_per_byte, changes_of
from kdkit.evaluation.headline import WITHOUT_SUITES, headline_of
from kdkit.evaluation.label_texts import LabelTexts
from kdkit.evaluation.losses import RowLoss
from kdkit.evaluation.record import EvaluationRecord, VocabularyCost
from kdkit.evaluation.scoring import Column
from kdkit.pipeline.asking import ask_all, texts_file
from kdkit.runs.stage import Planned
from kdkit.runs.stage_facts import BaselineMade, Estimate, Evaluated
from kdkit.store import predictions
from kdkit.store.rows import rows_of
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.values import Corpus, Cost, Score
    from kdkit.data.rows import Rows
    from kdkit.evaluation.row_scores import Array
    from kdkit.pipeline.asking import Asked
    from kdkit.recipe import Recipe
    from kdkit.runs.run import Run
    from kdkit.runs.stage import RowsPlanned

PARTS = "predictions/rows.jsonl"
"""The held-out rows where they are blocks of texts or turns of conversations."""
IMITATORS = ("student", labels_only.NAME)
"""The models whose texts every suite also compares with the teacher's."""


def score(run: Run) -> Evaluated:
    """Write the texts of student and baselines, `evaluation.json` and `rows.npz`."""
    corpus = run.read_taught()
    asked = ask_all(run, corpus)
    return run.team.lead_does(lambda: _write(run, corpus, asked))


def seconds(run: Run, _took: Mapping[str, float]) -> float | None:
    """Each model's texts in the time that the teacher's took, for a student is smaller; losses and scores are quick."""
    file, found = texts_file(run.path, "teacher"), run.told(Estimate)
    a_text = _seconds_a_text(file, file.stat().st_mtime_ns) if file.exists() else None
    texts = _writers(run.recipe, found) * found.generated_rows + found.picking_rows
    if not texts:
        return None
    return None if a_text is None else texts * a_text


@lru_cache(maxsize=1)
def _seconds_a_text(file: Path, _changed: int) -> float | None:
    """What a text of a file took; read once, for it is asked for whenever progress is drawn."""
    known = [said.seconds for said in predictions.read(file) if said.seconds is not None]
    return sum(known) / len(known) if known else None


def plan(recipe: Recipe, _rows: RowsPlanned, found: Estimate) -> Planned:
    """The number of texts that are written, and the suites that score them."""
    writers = _writers(recipe, found)
    by = f" by each of {writers} models" if writers > 1 else ""
    picking = f", of {plural(found.picking_rows, 'validation row')} by the student" if found.picking_rows else ""
    if not recipe.evaluation.wants_texts:
        left_out = "; the baselines constant and nearest are left out, for they are texts"
        return Planned(work=f"losses and tokens, no texts{left_out if recipe.evaluation.baselines else ''}")
    suites = ", ".join(named.name for named in recipe.evaluation.suites)
    each = f", {recipe.generation.max_new_tokens:,} tokens at most"
    return Planned(work=f"{found.texts_in_words(recipe.generation.in_words)}{by}{picking}{each}; {suites}")


def _writers(recipe: Recipe, found: Estimate) -> int:
    """How many models write texts: the student, the untouched one, and the one of the labels alone."""
    return 1 + recipe.evaluation.baselines + bool(found.baseline_steps)


def _write(run: Run, corpus: Corpus, asked: Asked) -> Evaluated:
    """The lead's own work: time student and teacher, score texts and losses."""
    held_out = asked.held_out
    if held_out.examples is not held_out.chosen:  # which `data/` does not have
        corpora.write_rows(run.path / PARTS, held_out.examples)
    facts = _facts_of_models(run)
    lengths: dict[str, Array] = {}
    evidence = _evidence(run, held_out)
    if run.recipe.evaluation.wants_texts:
        facts |= _write_other_texts(run, corpus, held_out)
        said = _all_texts(run, held_out, ["teacher", "student", *facts])
        lengths = _lengths(run, asked.tokenizer, said)
        _score_texts(evidence, held_out, said, lengths)
    _score_losses(evidence, asked)
    costs = _costs(run, corpus, held_out)
    validation_scores, failures = _validation_scores(run, asked)
    found = EvaluationRecord(
        split="test" if corpus.test else "validation",
        row_count=len(held_out.examples),
        scores=tuple(evidence.scores),
        validation_scores=validation_scores,
        differences=tuple(each for than in ("teacher", labels_only.NAME) for each in evidence.differences(than)),
        calibration={model: bins.calibration() for model, bins in evidence.bins.items()},
        costs={
            name: attrs.evolve(cost, tokens_per_sample=float(lengths[name].mean()) if lengths else None)
            for name, cost in costs.items()
        },
        baselines=facts,
        headline=_headline(run.recipe, evidence.scores, held_out),
        fine_tuning=changes_of(_evidence(run, held_out), *asked.fine_tuning) if asked.fine_tuning is not None else (),
        vocabulary=_vocabulary(run, asked),
    )
    evidence.rows.write(run.path)
    record.write(run.path, found)
    if failed := {**failures, **evidence.failures}:
        first = next(iter(failed.values()))
        raise KdkitError(
            f"{first}; all other scores are in {run.path / record.FILE} and `kdkit report {run.path}` shows "
            "them; correct the suite and run the same command again, which scores the same texts"
        )
    return Evaluated(split=found.split, rows=found.row_count)


def _vocabulary(run: Run, asked: Asked) -> VocabularyCost | None:
    """What trimming the teacher's vocabulary costs."""
    facts = run.told(Estimate).vocabulary
    found = [bits_per_byte(_evidence(run, rows), answers) for rows, answers in asked.vocabulary]
    if facts is None or not found or None in found:
        return None
    before, after = (each for each in found if each is not None)
    return VocabularyCost(facts=facts, before=before, after=after)


def _headline(recipe: Recipe, scores: Sequence[Score], held_out: Rows) -> str:
    """The metric that the verdict is about."""
    asked = recipe.evaluation.headline
    if asked in MEASURED and any((each.model, f"{each.suite}.{each.metric}") == ("student", asked) for each in scores):
        return asked
    if not recipe.evaluation.wants_texts:
        return WITHOUT_SUITES
    suites = [named.name for named in recipe.evaluation.suites]
    of_student = [each for each in scores if (each.model, each.against) == ("student", "truth")]
    return headline_of(
        [(each.suite, each.metric) for suite in suites for each in of_student if each.suite == suite],
        asked=recipe.evaluation.headline,
        best_by=recipe.training.best_by,
        targets=[example.target for example in held_out.examples],
    )


def _costs(run: Run, corpus: Corpus, held_out: Rows) -> dict[str, Cost]:
    """The costs of student and teacher, timed one after the other; a teacher that is not a model has none."""
    recipe, generation, device = run.recipe, run.recipe.generation, run.device
    prompts = held_out.prompts if recipe.evaluation.wants_texts else ()
    shown = run.progress
    student = student_cost(recipe.student, run.student_folder, prompts, generation, device=device, progress=shown)
    costs, folder = {"student": student}, run.teacher_folder
    if folder is not None:
        costs["teacher"] = teacher_cost(
            recipe.teacher, folder, prompts, generation, data=recipe.data, corpus=corpus, device=device, progress=shown
        )
    return costs


def _evidence(run: Run, rows: Rows) -> Evidence:
    recipe = run.recipe
    return Evidence(
        examples=rows.examples,
        texts=LabelTexts.of_rows(rows),
        documents=rows.documents if len(set(rows.documents)) < len(rows.documents) else None,
        suites=recipe.evaluation.suites,
        resamples=recipe.evaluation.bootstrap,
        seed=recipe.seed,
        together=recipe.evaluation.rows_together(recipe.generation),
    )


def _facts_of_models(run: Run) -> dict[str, Any]:
    """Facts of the baselines that are models."""
    if not run.recipe.evaluation.baselines:
        return {}
    trained = run.told(BaselineMade)
    facts: dict[str, Any] = {"untouched": {}}
    if trained.folder is not None:
        facts[labels_only.NAME] = {"folder": trained.folder, "reused": trained.reused}
    return facts


def _write_other_texts(run: Run, corpus: Corpus, held_out: Rows) -> dict[str, Any]:
    """Write the texts of the baselines that are not models; gives facts of these."""
    if not run.recipe.evaluation.baselines:
        return {}
    known = drawn(corpus.train, run.recipe.training.rows)
    if known[0].form != "pair":
        known = rows_of(known, held_out.tokenizer, held_out.encoding).examples
    constant = baselines.most_frequent_target(known)
    nearest = baselines.nearest_targets(known, [example.source for example in held_out.examples])
    for name, texts in (("constant", [constant] * len(nearest)), ("nearest", nearest)):
        ids = [example.id for example in held_out.examples]
        predictions.write(
            texts_file(run.path, name), [Prediction(id=i, text=text) for i, text in zip(ids, texts, strict=True)]
        )
    return {"constant": {"text": constant}, "nearest": {}}


def _all_texts(run: Run, held_out: Rows, names: Sequence[str]) -> dict[str, list[str]]:
    """The texts of models and baselines for each row."""
    by_id = {name: {said.id: said.text for said in predictions.read(texts_file(run.path, name))} for name in names}
    return {name: [texts[example.id] for example in held_out.examples] for name, texts in by_id.items()}


def _lengths(run: Run, tokenizer: Tokenizer, said: dict[str, list[str]]) -> dict[str, Array]:
    """Tokens of each text, end token included; at most the limit for texts that a model wrote here.

    They are those of the text as the tokenizer splits it. A model that writes broken characters may have used fewer.
    """
    most = run.recipe.generation.max_new_tokens
    recorded = ("teacher",) if run.teacher_folder is None else ()
    lengths = {}
    for name, texts in said.items():
        length_R = np.array([len(ids) for ids in tokenizer(texts, verbose=False)["input_ids"]], dtype=np.float64)
        free = name in {"constant", "nearest", *recorded}
        lengths[name] = length_R if free else np.minimum(length_R, most)
    return lengths


def _length_column(length_R: Array) -> Column:
    return Column(suite=TEXTS, metric="length", values_R=length_R, direction=Direction.NEITHER)


def _score_texts(evidence: Evidence, rows: Rows, said: dict[str, list[str]], lengths: dict[str, Array]) -> None:
    truth = [example.target for example in rows.examples]
    for name, texts in said.items():
        length = _length_column(lengths[name])
        evidence.add_texts(name, "truth", texts, truth, more=[length])
    for name, texts in said.items():
        if name == "teacher":
            continue
        same = np.array([own == theirs for own, theirs in zip(texts, said["teacher"], strict=True)], dtype=np.float64)
        agreement = Column(suite=TEXTS, metric="agreement", values_R=same)
        if name in IMITATORS:
            evidence.add_texts(name, "teacher", texts, said["teacher"], more=[agreement])
        else:
            evidence.add_columns(name, "teacher", [agreement])


def _score_losses(evidence: Evidence, asked: Asked) -> None:
    """Losses and tokens of each model; of the teacher as far as its cached logits tell them."""
    if asked.teacher is not None:
        losses = [
            RowLoss(total=hard, hard=hard, soft=math.nan, hard_tokens=row.tokens if math.isfinite(hard) else 0)
            for hard, row in zip(asked.teacher.hard, asked.teacher.rows, strict=True)
        ]
        evidence.add_loss("teacher", "truth", "hard", losses)
        evidence.add_tokens("teacher", asked.teacher.rows, losses)
    for name, answers in asked.answers.items():
        evidence.add_loss(name, "truth", "hard", answers.losses)
        evidence.add_loss(name, "teacher", "soft", answers.losses)
        evidence.add_loss(name, "truth and teacher", "total", answers.losses)
        evidence.add_tokens(name, answers.tokens, answers.losses)


def _validation_scores(run: Run, asked: Asked) -> tuple[tuple[Score, ...], dict[str, str]]:
    """The student's scores on the validation rows, to choose by if test rows are reported; none without such rows.

    And of suites that failed, why.
    """
    if asked.validation is None:
        return (), {}
    rows, answers = asked.validation
    evidence = _evidence(run, rows)
    if run.recipe.evaluation.wants_texts:
        by_id = {said.id: said.text for said in predictions.read(texts_file(run.path, "student-validation"))}
        texts = [by_id[example.id] for example in rows.examples]
        length = _length_column(_lengths(run, asked.tokenizer, {"student": texts})["student"])
        evidence.add_texts("student", "truth", texts, [example.target for example in rows.examples], more=[length])
    evidence.add_loss("student", "truth", "hard", answers.losses)
    evidence.add_tokens("student", answers.tokens, answers.losses)
    return tuple(evidence.scores), evidence.failures
