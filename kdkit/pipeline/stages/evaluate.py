"""Evaluate: student, teacher and baselines on the held-out rows, against the ground truth and each other."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from kdkit.api.values import END, Prediction
from kdkit.data.rows import rows_of
from kdkit.evaluation import baselines, labels_only, record
from kdkit.evaluation.costs import closing, open_student, student_cost, teacher_cost
from kdkit.evaluation.evidence import TEXTS, Evidence
from kdkit.evaluation.losses import RowLoss
from kdkit.evaluation.outputs import Answers, Questions
from kdkit.evaluation.record import EvaluationRecord
from kdkit.evaluation.scoring import Column
from kdkit.evaluation.tokens import cached_tokens
from kdkit.logits.cache import LogitCache
from kdkit.logits.targets import CachedTargets, NoTargets, check_covers, keys_of
from kdkit.losses import HardLoss, loss_at
from kdkit.runs.stage import Planned, Stage
from kdkit.runs.stage_facts import BaselineMade, Captured, Evaluated
from kdkit.store import predictions
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from kdkit.api.interfaces import TextModel, Tokenizer
    from kdkit.api.values import Corpus, Score
    from kdkit.data.rows import Rows
    from kdkit.evaluation.row_scores import Array
    from kdkit.evaluation.tokens import CachedTokens
    from kdkit.recipe import Recipe
    from kdkit.runs.run import Run
    from kdkit.runs.stage_facts import Estimate

IMITATORS = ("student", labels_only.NAME)
"""Whose texts every suite compares with the teacher's, too."""

WRITTEN = ("student", "student-validation", *baselines.NAMES)
"""Of the files of texts, those that are written here."""


def score(run: Run) -> Evaluated:
    """Write the texts of student and baselines, `evaluation.json` and `rows.npz`."""
    corpus = run.read_corpus()
    asked = _ask_all(run, corpus)
    return run.team.lead_does(lambda: _write(run, corpus, asked))


def plan(recipe: Recipe, _corpus: Corpus, found: Estimate) -> Planned:
    """How many texts are written, and what scores them."""
    writers = 1 + recipe.evaluation.baselines + bool(found.baseline_steps)
    by = f" by each of {writers} models" if writers > 1 else ""
    picking = f", of {plural(found.picking_rows, 'validation row')} by the student" if found.picking_rows else ""
    suites = ", ".join(named.name for named in recipe.evaluation.suites)
    return Planned(work=f"{found.texts_in_words(recipe.generation.beams)}{by}{picking}; {suites}")


@attrs.frozen(kw_only=True, eq=False)
class Asked:
    """What came of asking the models.

    Attributes:
        held_out: The rows that are scored.
        tokenizer: The student's.
        teacher: What the cached logits say of the teacher.
        answers: What each model's forward pass says.
        validation: The validation rows and what the student's says of them, where other rows are held out.
    """

    held_out: Rows
    tokenizer: Tokenizer
    teacher: CachedTokens | None
    answers: dict[str, Answers]
    validation: tuple[Rows, Answers] | None


def _ask_all(run: Run, corpus: Corpus) -> Asked:
    """Ask the models, one in memory at a time."""
    recipe, most = run.recipe, run.recipe.evaluation.rows
    with open_student(run, run.path / "student" / "best") as student:
        held_out = rows_of(corpus.held_out, student.tokenizer, recipe.tokens, at_most=most)
        teacher, questions = _questions(run, student, held_out)
        answers = {"student": questions.answers(student)}
        questions.write_texts(student, _texts(run, "student"), name="student")
        validation = None
        if corpus.test:
            rows = rows_of(corpus.validation, student.tokenizer, recipe.tokens, at_most=most)
            picking = Questions(run=run, rows=rows, loss=HardLoss(), targets=NoTargets(), teacher_ids={})
            validation = rows, picking.answers(student)
            picking.write_texts(student, _texts(run, "student-validation"), name="student on validation rows")
        tokenizer = student.tokenizer
    for name, kept_as, opened in _baseline_models(run, corpus):
        with opened as model:
            answers[name] = questions.answers(model)
            questions.write_texts(model, _texts(run, name), name=name, kept_as=kept_as)
    return Asked(held_out=held_out, tokenizer=tokenizer, teacher=teacher, answers=answers, validation=validation)


def _questions(run: Run, student: TextModel, held_out: Rows) -> tuple[CachedTokens | None, Questions]:
    """What the cache tells of the teacher, and what models are asked."""
    recipe = run.recipe
    loss = loss_at(recipe.loss, END)
    if not recipe.loss.needs_teacher:
        return None, Questions(run=run, rows=held_out, loss=loss, targets=NoTargets(), teacher_ids={})
    captured = run.told(Captured)
    keys = keys_of(held_out.encoded, teacher=captured.identity, tokenizer=captured.tokenizer)
    cache = LogitCache.open(Path(captured.cache))
    check_covers(cache, keys)
    targets = CachedTargets(cache=cache, keys=keys, device=run.device)
    teacher = cached_tokens(
        held_out.encoded,
        targets,
        recipe.codec,
        pad_id=student.tokenizer.pad_token_id,
        batch_size=recipe.generation.batch_size,
        team=run.team,
    )
    ids = teacher.ids if teacher is not None else {}
    return teacher, Questions(run=run, rows=held_out, loss=loss, targets=targets, teacher_ids=ids)


def _baseline_models(run: Run, corpus: Corpus) -> Iterator[tuple[str, str, AbstractContextManager[TextModel]]]:
    """The baselines that are models: name, digest of the weights, and the model, to be opened."""
    if not run.recipe.evaluation.baselines:
        return
    trained = run.told(BaselineMade)
    if trained.folder is not None and trained.weights is not None:
        yield labels_only.NAME, trained.weights, open_student(run, Path(trained.folder))
    untouched = labels_only.untouched_student(run, corpus)
    yield "untouched", labels_only.weights_in_memory(untouched), closing(untouched)


def _write(run: Run, corpus: Corpus, asked: Asked) -> Evaluated:
    """What the lead does alone: time student and teacher, score texts and losses."""
    held_out = asked.held_out
    said, facts = _all_texts(run, corpus, held_out)
    lengths = _lengths(run, asked.tokenizer, said)
    evidence = _evidence(run, held_out)
    _score_texts(evidence, held_out, said, lengths)
    _score_losses(evidence, asked)
    costs = {"student": student_cost(run, held_out), **teacher_cost(run, corpus, held_out)}
    found = EvaluationRecord(
        split="test" if corpus.test else "validation",
        row_count=len(held_out.examples),
        scores=tuple(evidence.scores),
        validation_scores=_validation_scores(run, asked),
        differences=tuple(
            each for than in ("teacher", labels_only.NAME) if than in said for each in evidence.differences(than)
        ),
        calibration={model: bins.calibration() for model, bins in evidence.bins.items()},
        costs={name: attrs.evolve(cost, tokens_per_sample=float(lengths[name].mean())) for name, cost in costs.items()},
        baselines=facts,
    )
    evidence.rows.write(run.path)
    record.write(run.path, found)
    return Evaluated(split=found.split, rows=found.row_count)


def _evidence(run: Run, rows: Rows) -> Evidence:
    recipe = run.recipe
    return Evidence(
        examples=rows.examples,
        suites=[(named.name, named.suite) for named in recipe.evaluation.suites],
        resamples=recipe.evaluation.bootstrap,
        seed=recipe.seed,
        together=recipe.evaluation.rows_together(recipe.generation),
    )


def _texts(run: Run, name: str) -> Path:
    return run.path / "predictions" / f"{name}.jsonl"


def _all_texts(run: Run, corpus: Corpus, held_out: Rows) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """Every model's text of each row, those of baselines that are no models made now; and facts of the baselines."""
    facts: dict[str, Any] = {}
    names = ["teacher", "student"]
    if run.recipe.evaluation.baselines:
        constant = baselines.most_frequent_target(corpus.train)
        nearest = baselines.nearest_targets(corpus.train, [example.source for example in held_out.examples])
        for name, texts in (("constant", [constant] * len(nearest)), ("nearest", nearest)):
            ids = [example.id for example in held_out.examples]
            predictions.write(
                _texts(run, name), [Prediction(id=i, text=text) for i, text in zip(ids, texts, strict=True)]
            )
        trained = run.told(BaselineMade)
        facts = {"untouched": {}, "constant": {"text": constant}, "nearest": {}}
        if trained.folder is not None:
            facts[labels_only.NAME] = {"folder": trained.folder, "reused": trained.reused}
        names += facts
    by_id = {name: {said.id: said.text for said in predictions.read(_texts(run, name))} for name in names}
    return {name: [texts[example.id] for example in held_out.examples] for name, texts in by_id.items()}, facts


def _lengths(run: Run, tokenizer: Tokenizer, said: dict[str, list[str]]) -> dict[str, Array]:
    """Tokens of each text, the end included; of texts that a model wrote here, no more than it may write.

    They are those of the text as the tokenizer splits it. A model that writes broken characters may have used fewer.
    """
    most = run.recipe.generation.max_tokens - 1  # the decoder's start token is none of the text
    recorded = ("teacher",) if run.teacher_folder is None else ()
    lengths = {}
    for name, texts in said.items():
        length_R = np.array([len(ids) for ids in tokenizer(texts, verbose=False)["input_ids"]], dtype=np.float64)
        free = name in {"constant", "nearest", *recorded}
        lengths[name] = length_R if free else np.minimum(length_R, most)
    return lengths


def _score_texts(evidence: Evidence, rows: Rows, said: dict[str, list[str]], lengths: dict[str, Array]) -> None:
    truth = [example.target for example in rows.examples]
    for name, texts in said.items():
        length = Column(suite=TEXTS, metric="length", values_R=lengths[name])
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
    """Losses and tokens of each model; those of the teacher where its cached logits tell them."""
    if asked.teacher is not None:
        losses = [
            RowLoss(total=hard, hard=hard, soft=math.nan, hard_tokens=row.tokens if math.isfinite(hard) else 0)
            for hard, row in zip(asked.teacher.hard, asked.teacher.rows, strict=True)
        ]
        evidence.add_loss("teacher", "truth", "hard", losses)
        evidence.add_tokens("teacher", asked.teacher.rows)
    for name, answers in asked.answers.items():
        evidence.add_loss(name, "truth", "hard", answers.losses)
        evidence.add_loss(name, "teacher", "soft", answers.losses)
        evidence.add_loss(name, "truth and teacher", "total", answers.losses)
        evidence.add_tokens(name, answers.tokens)


def _validation_scores(run: Run, asked: Asked) -> tuple[Score, ...]:
    """The student on the validation rows, to choose by where the test rows are reported; none where there are none."""
    if asked.validation is None:
        return ()
    rows, answers = asked.validation
    evidence = _evidence(run, rows)
    by_id = {said.id: said.text for said in predictions.read(_texts(run, "student-validation"))}
    texts = [by_id[example.id] for example in rows.examples]
    length = Column(
        suite=TEXTS, metric="length", values_R=_lengths(run, asked.tokenizer, {"student": texts})["student"]
    )
    evidence.add_texts("student", "truth", texts, [example.target for example in rows.examples], more=[length])
    evidence.add_loss("student", "truth", "hard", answers.losses)
    evidence.add_tokens("student", answers.tokens)
    return tuple(evidence.scores)


STAGE = Stage(
    name="evaluate",
    work=score,
    plan=plan,
    outputs=("predictions/student.jsonl", "evaluation.json", "rows.npz"),
    leftovers=tuple(f"predictions/{name}.jsonl*" for name in WRITTEN),
    together=True,
)
