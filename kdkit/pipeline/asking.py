"""Asks student and baselines about the held-out rows: their texts, and the results of a forward pass."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.values import END
from kdkit.evaluation.costs import closing
from kdkit.evaluation.questions import Questions
from kdkit.evaluation.tokens import cached_tokens
from kdkit.logits.targets import NoTargets
from kdkit.losses import HardLoss, loss_at
from kdkit.pipeline.asked_models import HiddenModel, a_teacher, baselines, student_digest, when_needed
from kdkit.pipeline.needed_logits import captured_targets
from kdkit.pipeline.vocabulary import whole_teacher
from kdkit.runs.stage_facts import Captured
from kdkit.store.rows import rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.values import Corpus
    from kdkit.data.rows import Rows
    from kdkit.evaluation.answers import Answers
    from kdkit.evaluation.tokens import CachedTokens
    from kdkit.pipeline.asked_models import AskedModel
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
    """Ask the models, one in memory at a time; those whose answers and texts the store has are not opened."""
    recipe, most = run.recipe, run.recipe.evaluation.rows
    folder = run.student_folder
    with closing(recipe.student.open(folder, device=run.device)) as student:  # which has the tokenizer
        tokenizer, weights = student.tokenizer, student_digest(recipe, folder)
        held_out = rows_of(corpus.held_out, tokenizer, recipe.encoding, at_most=most)
        teacher, questions = _questions(run, held_out)
        answers = {"student": questions.answers(lambda: student, name="student", weights=weights)}
        questions.write_texts(lambda: student, texts_file(run.path, "student"), name="student")
        validation = None
        if corpus.test and corpus.validation:
            rows = rows_of(corpus.validation, tokenizer, recipe.encoding, at_most=most)
            picking, name = attrs.evolve(_on_labels(questions), rows=rows), "student on validation rows"
            validation = rows, picking.answers(lambda: student, name=name, weights=weights)
            picking.write_texts(lambda: student, texts_file(run.path, "student-validation"), name=name)
    for each in baselines(run, corpus):
        with when_needed(each.opened) as model:
            answers[each.name] = questions.answers(model, name=each.name, weights=each.weights)
            path, kept_as = texts_file(run.path, each.name), partial(each.texts_kept_as, model)
            questions.write_texts(model, path, name=each.name, kept_as=kept_as)
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


def _asked(questions: Questions, teacher: AskedModel) -> Answers:
    with when_needed(teacher.opened) as model:
        return questions.answers(model, name=teacher.name, weights=teacher.weights)


def _fine_tuning(run: Run, corpus: Corpus, questions: Questions) -> tuple[Answers, Answers] | None:
    """What the teacher says of the held-out rows before and after its fine-tuning: by the same forward pass.

    None where no trained model was fine-tuned, or the teacher does not show its model. The cache tells less of the
    fine-tuned one: by some codecs not how likely a label is.
    """
    teacher, tuned = run.recipe.teacher, run.teacher_folder
    if teacher.fine_tune is None or tuned is None:
        return None
    folder = teacher.find_folder()
    if folder is None:
        return None
    as_it_is: Any = teacher
    untuned = attrs.evolve(as_it_is, fine_tune=None)
    if getattr(untuned, "dtype", "") == "auto":
        untuned = attrs.evolve(untuned, dtype="float32")  # in which the fine-tuned one is saved
    try:
        after = _asked(questions, a_teacher(run, corpus, teacher, tuned, name="teacher"))
        before = a_teacher(run, corpus, untuned, folder, name="untuned teacher")
        return _asked(questions, before), after
    except HiddenModel:
        return None


def _vocabulary(run: Run, corpus: Corpus, questions: Questions) -> Iterator[tuple[Rows, Answers]]:
    """The held-out rows and what the teacher says of them, with its whole vocabulary and trimmed, untrained both."""
    recipe, whole = run.recipe, whole_teacher(run.recipe)
    if whole is None:
        return
    trimmed: Any = recipe.teacher
    after = attrs.evolve(whole, model=trimmed.model, tokenizer="")
    for teacher, name in ((whole, "teacher before trimming"), (after, "trimmed teacher")):
        tokenizer = teacher.load_tokenizer(corpus)
        rows = rows_of(corpus.held_out, tokenizer, recipe.encoding, at_most=recipe.evaluation.rows)
        asked = a_teacher(run, corpus, teacher, teacher.find_folder(), name=name)
        yield rows, _asked(attrs.evolve(questions, rows=rows), asked)


def _questions(run: Run, held_out: Rows) -> tuple[CachedTokens | None, Questions]:
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
    targets = captured_targets(run.told(Captured), held_out.encoded, codec=recipe.codec, device=run.device)
    teacher = cached_tokens(
        held_out.encoded,
        targets,
        recipe.codec,
        pad_id=held_out.tokenizer.pad_token_id,
        batch_size=recipe.generation.batch_size,
        team=run.team,
    )
    ids = teacher.ids if teacher is not None else {}
    return teacher, attrs.evolve(questions, targets=targets, teacher_ids=ids, knows_teacher=teacher is not None)


def texts_file(run_dir: Path, name: str) -> Path:
    """The file of a model's texts."""
    return run_dir / "predictions" / f"{name}.jsonl"
