"""The stages of an evaluation of a finished run: those of a run that train nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from kdkit.data import corpus as corpora
from kdkit.errors import Mismatch
from kdkit.pipeline.asking import texts_file
from kdkit.pipeline.open_teachers import open_teacher
from kdkit.pipeline.stages import STAGES, capture, check, data, evaluate
from kdkit.pipeline.tokenizers import tokenizer_of
from kdkit.pipeline.vocabulary import facts_of
from kdkit.recipe import load_stored
from kdkit.recipe.compatibility import check_headline
from kdkit.recipe.inputs import naming
from kdkit.runs.folders import RECIPE
from kdkit.runs.rescoring import Rescoring
from kdkit.runs.stage_facts import Captured, DataRead, Estimate, Evaluated, TeacherAsked
from kdkit.store import predictions
from kdkit.system.files import write_atomically, write_json
from kdkit.system.reading import LARGEST_ROWS, read_bytes, read_json

if TYPE_CHECKING:
    from kdkit.api.values import Corpus
    from kdkit.runs.run import Run
    from kdkit.runs.stage import Stage


def load(run: Run) -> DataRead:
    """Write the rows that are scored: those that the run held out or, of another data set, those that it holds out."""
    assert isinstance(run, Rescoring)
    scored, folder = run.scored, run.path / "data"
    if _is_as_in_run(run, "data"):
        corpus = scored.read_corpus()
        held_out = attrs.evolve(corpus, train=(), validation=() if corpus.test else corpus.validation, drops=())
        report = read_json(scored.path / "data" / "report.json")
    else:
        found = data.read(run)
        held_out = attrs.evolve(found, train=(), validation=(), test=found.held_out)  # which picked no epoch
        corpus = scored.read_taught()
        tokenizer = tokenizer_of(run.recipe, scored.own_targets(corpus), run.store, run.progress)
        both = attrs.evolve(corpus, validation=(), test=held_out.test, drops=found.drops)
        report = data.account(run.recipe, both, tokenizer, run.progress)
    digests = corpora.write_splits(folder, held_out)
    write_json(folder / "report.json", report)
    counts = {**report["rows"], "validation": len(held_out.validation), "test": len(held_out.test)}
    return DataRead(digest=corpora.digest_of_splits(digests), rows=counts, outputs=())


def _is_as_in_run(run: Rescoring, *sections: str) -> bool:
    """Whether some sections of the recipe are those of the run."""
    there = load_stored(run.scored.path / RECIPE).digested
    return all(there[section] == run.recipe.digested[section] for section in sections)


def check_scoring(run: Run) -> Estimate:
    """Refuse an evaluation that cannot succeed.

    Raises:
        UsageError: The headline is not a metric, or texts would be longer than a model has positions.
        KdkitError: A metric suite will not be able to score here.
    """
    assert isinstance(run, Rescoring)
    recipe, corpus = run.recipe, run.read_taught()
    check_headline(recipe, corpus)
    _check_positions(run, corpus)
    notes = tuple(check.suite_notes(recipe, corpus))
    for note in notes:
        run.progress.note(f"check: {note}")
    found, rows = run.scored.told(Estimate), min(recipe.evaluation.rows or len(corpus.held_out), len(corpus.held_out))
    return attrs.evolve(
        found,
        rows={**found.rows, "validation": len(corpus.validation), "test": len(corpus.test)},
        generated_rows=rows if recipe.evaluation.wants_texts else 0,
        picking_rows=0,
        notes=notes or None,
        vocabulary=facts_of(recipe, corpus, found.teacher),
    )


def _check_positions(run: Rescoring, corpus: Corpus) -> None:
    recipe, form = run.recipe, corpus.held_out[0].form
    tokenizer = tokenizer_of(recipe, run.own_targets(corpus), run.store, run.progress)
    with naming("teacher"):
        teacher_config, kind = recipe.teacher.model_config(tokenizer), recipe.teacher.model_kind
        if kind is not None:
            kind.check_positions(teacher_config, recipe.tokens, recipe.generation, form)
    with naming("student"):
        config = recipe.student.model_config(recipe.student.load_tokenizer(tokenizer), teacher_config)
        recipe.student.model_kind.check_positions(config, recipe.tokens, recipe.generation, form)


def ask_teacher(run: Run) -> TeacherAsked:
    """Have the teacher's logits of the rows that are scored, and its texts; it is not opened if it is not needed.

    Raises:
        Mismatch: The teacher is not the one of the run.
        UsageError: There is no room on the disk for the logits that the store lacks.
    """
    assert isinstance(run, Rescoring)
    recipe, corpus = run.recipe, run.read_taught()
    told = run.scored.told(Captured if recipe.loss.needs_teacher else TeacherAsked)
    held_out = attrs.evolve(corpus, train=())
    if not recipe.evaluation.wants_texts and _has_logits(run, told, held_out):
        predictions.write(run.path / "predictions" / "teacher.jsonl", ())
        return attrs.evolve(told, reused=True) if isinstance(told, Captured) else told
    with open_teacher(run, corpus) as teacher:
        if run.teacher_folder is not None and teacher.identity != told.identity:  # recorded logits are of their rows
            raise Mismatch(
                f"the teacher of {run.scored.path} is not the one whose logits its student learnt from; put its former "
                "files back, or run the recipe again"
            )
        if recipe.loss.needs_teacher:
            told = capture.filling_of(run, teacher, held_out).fill()
        capture.write_held_out(run, teacher, held_out)
    return told


def _has_logits(run: Rescoring, told: TeacherAsked, held_out: Corpus) -> bool:
    return not isinstance(told, Captured) or capture.covers(run, Path(told.cache), told, held_out)


def score(run: Run) -> Evaluated:
    """Score all models; the student's texts of the same rows are those that the run has."""
    assert isinstance(run, Rescoring)
    there, here = (texts_file(each.path, "student") for each in (run.scored, run))
    if there.is_file() and not here.exists() and _is_as_in_run(run, "data", "generation"):
        write_atomically(here, read_bytes(there, at_most=LARGEST_ROWS))
    return evaluate.score(run)


_OF_RUNS = {stage.name: stage for stage in STAGES}
RESCORING: tuple[Stage, ...] = (
    attrs.evolve(_OF_RUNS["data"], work=load, restore=None, outputs=("data/report.json",)),
    attrs.evolve(_OF_RUNS["check"], work=check_scoring),
    attrs.evolve(_OF_RUNS["capture"], work=ask_teacher, restore=None),
    attrs.evolve(_OF_RUNS["evaluate"], work=score),
    _OF_RUNS["report"],
)
"""The stages, in order."""
