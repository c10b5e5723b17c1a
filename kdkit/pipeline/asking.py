"""Asks student and baselines about the held-out rows: their texts, and the results of a forward pass."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.interfaces import ModelTeacher
from kdkit.api.values import END
from kdkit.evaluation import labels_only
from kdkit.evaluation.costs import closing
from kdkit.evaluation.questions import Answers, Questions
from kdkit.evaluation.tokens import cached_tokens
from kdkit.logits.targets import NoTargets
from kdkit.losses import HardLoss, loss_at
from kdkit.pipeline.needed_logits import captured_targets
from kdkit.pipeline.students import untrained
from kdkit.pipeline.vocabulary import whole_teacher
from kdkit.runs.stage_facts import BaselineMade, Captured
from kdkit.store.rows import rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from kdkit.api.interfaces import TextModel, Tokenizer
    from kdkit.api.values import Corpus
    from kdkit.data.rows import Rows
    from kdkit.evaluation.tokens import CachedTokens
    from kdkit.runs.run import Run


@attrs.frozen(kw_only=True, eq=False)
class Asked:
    """The models' answers.

    Attributes:
        held_out: The rows that are scored.
        tokenizer: The student's.
        teacher: What the cached logits say of the teacher.
        answers: What each model's forward pass says.
        validation: The validation rows and what the student's says of them, where other rows are held out.
        fine_tuning: What the teacher's says before and after it was fine-tuned, where a trained model was.
        vocabulary: The rows as the teacher's whole and trimmed vocabularies split them, and what the two models say of
            these; empty where none was trimmed.
    """

    held_out: Rows
    tokenizer: Tokenizer
    teacher: CachedTokens | None
    answers: dict[str, Answers]
    validation: tuple[Rows, Answers] | None
    fine_tuning: tuple[Answers, Answers] | None = None
    vocabulary: tuple[tuple[Rows, Answers], ...] = ()


def ask_all(run: Run, corpus: Corpus) -> Asked:
    """Ask the models, one in memory at a time."""
    recipe, most = run.recipe, run.recipe.evaluation.rows
    with closing(recipe.student.open(student_folder(run.path), device=run.device)) as student:
        held_out = rows_of(corpus.held_out, student.tokenizer, recipe.encoding, at_most=most)
        teacher, questions = _questions(run, student, held_out)
        answers = {"student": questions.answers(student)}
        questions.write_texts(student, texts_file(run.path, "student"), name="student")
        validation = None
        if corpus.test:
            rows = rows_of(corpus.validation, student.tokenizer, recipe.encoding, at_most=most)
            picking = attrs.evolve(_on_labels(questions), rows=rows)
            validation = rows, picking.answers(student)
            picking.write_texts(student, texts_file(run.path, "student-validation"), name="student on validation rows")
        tokenizer = student.tokenizer
    for name, kept_as, opened in _baseline_models(run, corpus):
        with opened as model:
            answers[name] = questions.answers(model)
            questions.write_texts(model, texts_file(run.path, name), name=name, kept_as=kept_as)
    return Asked(
        held_out=held_out,
        tokenizer=tokenizer,
        teacher=teacher,
        answers=answers,
        validation=validation,
        fine_tuning=_fine_tuning(run, corpus, _on_labels(questions)),
        vocabulary=tuple(_vocabulary(run, corpus, _on_labels(questions))),
    )


def _on_labels(questions: Questions) -> Questions:
    """The same questions without a teacher's logits."""
    return attrs.evolve(questions, loss=HardLoss(), targets=NoTargets(), teacher_ids={}, knows_teacher=False)


def _fine_tuning(run: Run, corpus: Corpus, questions: Questions) -> tuple[Answers, Answers] | None:
    """What the teacher says of the held-out rows before and after its fine-tuning: by the same forward pass.

    None where no trained model was fine-tuned, or the teacher does not show its model. The cache tells less of the
    fine-tuned one: by some codecs not how likely a label is.
    """
    teacher, folder = run.recipe.teacher, run.teacher_folder
    if teacher.fine_tune is None or folder is None or teacher.find_folder() is None:
        return None
    with contextlib.closing(teacher.open(folder, run.recipe.data, corpus, device=run.device)) as opened:
        if not isinstance(opened, ModelTeacher):
            return None
        after, dtype = questions.answers(opened.model), next(opened.model.module.parameters()).dtype
    seed = teacher.fine_tune.own_seed(run.recipe.seed)
    with closing(teacher.build(run.own_targets(corpus), seed=seed, device=run.device)) as untuned:
        untuned.module.to(dtype)
        return questions.answers(untuned), after


def _vocabulary(run: Run, corpus: Corpus, questions: Questions) -> Iterator[tuple[Rows, Answers]]:
    """The held-out rows and what the teacher says of them, with its whole vocabulary and trimmed, untrained both."""
    recipe, whole = run.recipe, whole_teacher(run.recipe)
    if whole is None:
        return
    trimmed: Any = recipe.teacher
    for teacher in (whole, attrs.evolve(whole, model=trimmed.model, tokenizer="")):
        folder = teacher.find_folder()
        with contextlib.closing(teacher.open(folder, recipe.data, corpus, device=run.device)) as opened:
            rows = rows_of(corpus.held_out, opened.tokenizer, recipe.encoding, at_most=recipe.evaluation.rows)
            yield rows, attrs.evolve(questions, rows=rows).answers(opened.model)


def _questions(run: Run, student: TextModel, held_out: Rows) -> tuple[CachedTokens | None, Questions]:
    """The teacher's tokens from the cache, and the questions for the models."""
    recipe = run.recipe
    questions = Questions(
        rows=held_out,
        loss=loss_at(recipe.loss, END),
        targets=NoTargets(),
        teacher_ids={},
        knows_teacher=False,
        generation=recipe.generation,
        wants_texts=recipe.evaluation.wants_texts,
        together=recipe.evaluation.rows_together(recipe.generation),
        store=run.store,
        device=run.device,
        progress=run.progress,
        team=run.team,
    )
    if not recipe.loss.needs_teacher:
        return None, questions
    targets = captured_targets(run.told(Captured), held_out.encoded, device=run.device)
    teacher = cached_tokens(
        held_out.encoded,
        targets,
        recipe.codec,
        pad_id=student.tokenizer.pad_token_id,
        batch_size=recipe.generation.batch_size,
        team=run.team,
    )
    ids = teacher.ids if teacher is not None else {}
    return teacher, attrs.evolve(questions, targets=targets, teacher_ids=ids, knows_teacher=teacher is not None)


def _baseline_models(run: Run, corpus: Corpus) -> Iterator[tuple[str, str, AbstractContextManager[TextModel]]]:
    """The baselines that are models: name, digest of the weights, and the model, to be opened."""
    if not run.recipe.evaluation.baselines:
        return
    recipe, trained = run.recipe, run.told(BaselineMade)
    if trained.folder is not None and trained.weights is not None:
        student = recipe.student.open(Path(trained.folder), device=run.device)
        yield labels_only.NAME, trained.weights, closing(student)
    untouched = untrained(run, corpus)
    yield "untouched", labels_only.weights_in_memory(untouched), closing(untouched)


def student_folder(run_dir: Path) -> Path:
    """The student of the best epoch."""
    return run_dir / "student" / "best"


def texts_file(run_dir: Path, name: str) -> Path:
    """The file of a model's texts."""
    return run_dir / "predictions" / f"{name}.jsonl"
