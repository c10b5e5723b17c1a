"""Baseline: trains the student without a teacher, once for all runs that differ only in their loss or codec."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.api.interfaces import RuledTexts
from kdkit.data import corpus as corpora
from kdkit.evaluation import labels_only
from kdkit.logits.targets import NoTargets
from kdkit.losses import HardLoss
from kdkit.models import find_folder, tokenizer_digest, weights_digest
from kdkit.pipeline.estimate import bytes_of_weights, check_space
from kdkit.pipeline.fitting import Fitting, chosen_by
from kdkit.pipeline.students import untrained
from kdkit.runs.model_card import model_texts
from kdkit.runs.stage import Planned
from kdkit.runs.stage_facts import BaselineMade, Estimate, TeacherMade
from kdkit.store import folders, found_or_making
from kdkit.store.tokenized import entry_for
from kdkit.system.digests import digest_of
from kdkit.system.files import folder_bytes
from kdkit.system.folders import discard_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kdkit.api.interfaces import TextModel
    from kdkit.api.values import Corpus
    from kdkit.recipe import Recipe
    from kdkit.runs.run import Run
    from kdkit.runs.stage import RowsPlanned


def fit(run: Run) -> BaselineMade:
    """Make the baseline in the store; does nothing if the recipe switches it off.

    Raises:
        UsageError: It has to be trained, and there is no room on the disk.
        DamagedData: The store's copy is not what was put there.
    """
    return _have(run) if labels_only.is_wanted(run.recipe.evaluation, run.recipe.loss) else BaselineMade(folder=None)


def plan(recipe: Recipe, _rows: RowsPlanned, found: Estimate) -> Planned:
    """How many steps the baseline is trained for, if it is."""
    if not found.baseline_steps:
        return Planned(work="none to train")
    return Planned(
        work=f"the same student, {found.baseline_steps:,} steps on labels only (unless the store has it)",
        tokens=found.student_tokens * recipe.training.epochs,
        bytes=found.baseline_bytes,
    )


def seconds(run: Run, took: Mapping[str, float]) -> float | None:
    """As many steps as the student's, none of them slower: there is no teacher to follow."""
    found = run.told(Estimate)
    if not found.baseline_steps:
        return 0.0
    distilled = took.get("distill")
    return None if distilled is None else distilled * found.baseline_steps / found.student_steps


def restore(run: Run) -> BaselineMade | None:
    """Restore the baseline if the store has lost it; None if that would give other weights.

    Raises:
        UsageError: It has to be trained again, and there is no room on the disk.
        DamagedData: The store's copy is not what was put there.
    """
    told = run.told(BaselineMade)
    if told.folder is None:
        return told
    found = _have(run)
    return attrs.evolve(told, folder=found.folder) if found.weights == told.weights else None


def _have(run: Run) -> BaselineMade:
    corpus, workshop, recipe = run.read_taught(), run.path / labels_only.NAME, run.recipe
    model = untrained(run, corpus)
    named = run.store / "baselines" / _key(recipe, corpus, model)
    entry = run.team.lead_does(lambda: entry_for(named, model.tokenizer, corpus, recipe.encoding))
    note = run.progress.note
    with found_or_making(entry, what="baseline", note=note, is_there=entry.is_dir, team=run.team) as reused:
        if reused:
            note(f"baseline: taken from {entry}")
        else:
            run.team.lead_does(lambda: _check_room(run, workshop))
            _train(run, model, corpus, workshop)
            run.team.lead_does(lambda: folders.put(workshop / "best", entry))
    return run.team.lead_does(lambda: _told(entry, workshop, reused=reused))


def _check_room(run: Run, workshop: Path) -> None:
    found = run.told(Estimate)
    left = max(found.student_bytes - folder_bytes(workshop, "**/*"), 0)
    check_space({run.path: left, run.store: bytes_of_weights(found.student.parameters)})


def _train(run: Run, model: TextModel, corpus: Corpus, workshop: Path) -> None:
    Fitting.of(run).train(
        model,
        corpus,
        labels_only.training_of(run.recipe.training),
        HardLoss(),
        lambda _: NoTargets(),
        role=labels_only.NAME,
        folder=workshop,
        texts=model_texts(run.recipe, model.tokenizer, role=labels_only.NAME, pruning=run.told(TeacherMade).pruning),
    )


def _told(entry: Path, workshop: Path, *, reused: bool) -> BaselineMade:
    folders.check(entry)
    discard_folder(workshop)
    weights = weights_digest(find_folder(str(entry), weights=True))  # of adapters saved alone, with their base
    return BaselineMade(folder=str(entry.absolute()), reused=reused, weights=weights)


def _key(recipe: Recipe, corpus: Corpus, untouched: TextModel) -> str:
    """Everything that the trained baseline depends on, as a name in the store."""
    options, training = recipe.digested, labels_only.training_of(recipe.training)
    depends = {
        "start": labels_only.weights_in_memory(untouched),
        "student": [recipe.names["student"], {k: v for k, v in options["student"].items() if k != "model"}],
        "training": {**options["training"], "best_by": training.best_by, "seed": training.own_seed(recipe.seed)},
        "tokens": options["tokens"],
        "data": corpora.digest(attrs.evolve(corpus, test=())),
        "tokenizer": tokenizer_digest(untouched.tokenizer),
    }
    if isinstance(untouched, RuledTexts) and untouched.text_rules:
        depends["rules"] = untouched.text_rules  # of the teacher, and saved with the baseline
    depends |= chosen_by(training.best_by, recipe.evaluation, recipe.generation, options)
    return digest_of(depends)[:32]
