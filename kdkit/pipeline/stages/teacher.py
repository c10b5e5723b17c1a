"""Teacher: makes the teacher if needed (from scratch, by fine-tuning), once for all runs that need the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.api.options import FineTuning
from kdkit.data import corpus as corpora
from kdkit.logits.targets import NoTargets
from kdkit.losses import HardLoss
from kdkit.models import rules_beside, tokenizer_digest, train_last_layers, weights_digest
from kdkit.pipeline.estimate import bytes_of_weights, check_space
from kdkit.pipeline.fitting import Fitting, chosen_by
from kdkit.pipeline.pruning import choose
from kdkit.pipeline.stages import WORKSHOP
from kdkit.pipeline.tokenizers import tokenizer_of
from kdkit.runs.model_card import model_texts
from kdkit.runs.stage import Planned
from kdkit.runs.stage_facts import Estimate, TeacherMade
from kdkit.store import folders, found_or_making, sweep_of
from kdkit.store.tokenized import entry_for
from kdkit.system.digests import digest_of
from kdkit.system.files import folder_bytes, weight_files
from kdkit.system.folders import discard_folder
from kdkit.system.wording import rounded

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.options import Training
    from kdkit.api.values import Corpus, Pruning
    from kdkit.recipe import Recipe
    from kdkit.runs.run import Run
    from kdkit.runs.stage import RowsPlanned


def fit(run: Run) -> TeacherMade:
    """Make the teacher, and choose the parts of it that the student is made of.

    The teacher is `teacher/`, taken from the store if another run has made the same. One that is used as it is stays
    where it lies; the trials of a sweep leave theirs in the store.

    Raises:
        UsageError: There is no room on the disk for what has to be made.
        DamagedData: The store's copy is not what was put there.
    """
    told = _have(run)
    return attrs.evolve(told, pruning=run.team.lead_does(lambda: _choose(run, told)))


def _have(run: Run) -> TeacherMade:
    if not run.recipe.teacher.is_made_here:
        folder = run.recipe.teacher.find_folder()
        if folder is None:
            return TeacherMade(made=False, folder=None)
        return TeacherMade(made=False, folder=str(folder.absolute()), weights=weights_digest(folder))
    stored, reused = _have_stored(run)
    # From the store also where it was made here: another run may have put the same teacher there first.
    told = run.team.lead_does(lambda: _take(run, stored))
    if reused:
        run.progress.note(f"teacher: taken from {stored}")
    return attrs.evolve(told, reused=reused)


def _choose(run: Run, told: TeacherMade) -> Pruning | None:
    if told.folder is None:
        return None
    folder = run.path / told.folder
    return choose(run.recipe, run.read_corpus(), folder, store=run.store, device=run.device, progress=run.progress)


def plan(recipe: Recipe, _rows: RowsPlanned, found: Estimate) -> Planned:
    """The teacher that is made, and the number of steps."""
    if found.teacher is None:
        known = f" ({found.imported})" if found.imported is not None else ""
        work = f"{recipe.names['teacher']}: nothing to make{known}"
        return Planned(work=work, bytes=found.teacher_bytes)
    fine_tune, tokens = recipe.teacher.fine_tune, 0
    if fine_tune is not None:
        how = f"{_trained(fine_tune, found)}{found.teacher_steps:,} steps on the ground truth (unless the store has it)"
        tokens = found.teacher_tokens * fine_tune.epochs
    elif recipe.teacher.is_made_here:
        how = "new and untrained (unless the store has it)"
    else:
        how = "used as it is"
    work = f"{rounded(found.teacher.parameters)} parameters, {how}"
    if found.vocabulary is not None:
        work += f"; of the vocabulary {found.vocabulary.in_words}"
    return Planned(work=work, tokens=tokens, bytes=found.teacher_bytes)


def _trained(fine_tune: Training, found: Estimate) -> str:
    """What is trained where that is not the whole model: `of which 9.7 M in the last 10 layers are trained, `."""
    if found.teacher_trained is None or not isinstance(fine_tune, FineTuning):
        return ""
    if fine_tune.lora is not None:
        return f"{rounded(found.teacher_trained)} more in adapters of rank {fine_tune.lora.rank} are trained, "
    where = "last layer" if fine_tune.layers == 1 else f"last {fine_tune.layers} layers"
    return f"of which {rounded(found.teacher_trained)} in the {where} are trained, "


def restore(run: Run) -> TeacherMade | None:
    """Restore a finished run's teacher if files are lost; None if that would give other weights.

    Raises:
        UsageError: It has to be made again, and there is no room on the disk.
        DamagedData: The store's copy is not what was put there.
    """
    told = run.told(TeacherMade)
    if all((run.path / name).exists() for name in told.outputs or ()):
        return told
    stored, _ = _have_stored(run)
    if weights_digest(stored) != told.weights:
        folders.check(stored)
        return None
    return attrs.evolve(_take(run, stored), reused=told.reused, pruning=told.pruning)


def entry_of(run: Run, corpus: Corpus) -> Path:
    """The store's entry for the run's teacher."""
    tokenizer = tokenizer_of(run.recipe, corpus, run.store, run.progress)
    entry = run.store / "teachers" / _key(run, corpus, tokenizer)
    return entry_for(entry, tokenizer, corpus, run.recipe.encoding)


def _have_stored(run: Run) -> tuple[Path, bool]:
    """The teacher's folder in the store, made if needed, and whether it already existed."""
    corpus, workshop = run.read_corpus(), run.path / WORKSHOP
    stored = run.team.lead_does(lambda: entry_of(run, corpus))
    note = run.progress.note
    with found_or_making(stored, what="teacher", note=note, is_there=stored.is_dir, team=run.team) as reused:
        run.team.lead_does(lambda: _check_room(run, workshop, reused=reused))
        if not reused:
            made = _make(run, corpus, workshop)
            run.team.lead_does(lambda: folders.put(made, stored))
    return stored, reused


def _take(run: Run, stored: Path) -> TeacherMade:
    """Take the teacher from the store; a trial of a sweep leaves it there."""
    target = run.path / "teacher"
    if sweep_of(run.path) is None:
        folders.take(stored, target)
        outputs = ["teacher/config.json", *weight_files(run.path, "teacher")]
        folder = "teacher"
    else:
        folders.check(stored)
        target = stored.absolute()
        outputs = [str(target / name) for name in ("config.json", *weight_files(target, "."))]
        folder = str(target)
    discard_folder(run.path / WORKSHOP)
    return TeacherMade(
        made=True, folder=folder, store=str(stored), weights=weights_digest(target), outputs=tuple(outputs)
    )


def _make(run: Run, corpus: Corpus, workshop: Path) -> Path:
    """Make the teacher; returns its folder."""
    teacher = run.recipe.teacher
    model = teacher.build(corpus, seed=_seed(run), device=run.device)
    texts = model_texts(run.recipe, model.tokenizer, role="teacher")
    if teacher.fine_tune is None:
        run.team.lead_does(lambda: model.save(workshop / "best", texts=texts))
    else:
        if isinstance(teacher.fine_tune, FineTuning) and teacher.fine_tune.layers:
            train_last_layers(model.module, teacher.fine_tune.layers)
        Fitting.of(run).train(
            model,
            _true_rows(run, corpus),
            teacher.fine_tune,
            HardLoss(),
            lambda _: NoTargets(),
            role="teacher",
            folder=workshop,
            texts=texts,
        )
    return workshop / "best"


def _true_rows(run: Run, corpus: Corpus) -> Corpus:
    """The rows that it is trained on: where it will write targets, rows may have none."""
    return attrs.evolve(corpus, train=run.recipe.with_targets(corpus.train))


def _check_room(run: Run, workshop: Path, *, reused: bool) -> None:
    """Refuse a training that will not fit on the disk; files of an earlier try count as written."""
    found = run.told(Estimate)
    weights = bytes_of_weights(found.teacher.parameters) if found.teacher is not None else 0
    if reused:
        check_space({run.path: weights})
    else:
        left = max(found.teacher_bytes - folder_bytes(workshop, "**/*"), weights)
        check_space({run.path: left, run.store: weights})


def _seed(run: Run) -> int:
    fine_tune = run.recipe.teacher.fine_tune
    return fine_tune.own_seed(run.recipe.seed) if fine_tune is not None else run.recipe.seed


def _key(run: Run, corpus: Corpus, tokenizer: Tokenizer) -> str:
    """Everything that the made teacher depends on: of the recipe, of the data, and what it starts from."""
    options, start = run.recipe.digested, run.recipe.teacher.find_folder()
    # Of what lies in a folder the content counts, not the name; and how the teacher is asked later makes no other one.
    named = {"capture_batch_size", "device_map", "dtype", "max_memory", "tokenizer", "vocabulary", "write_targets"}
    if start is not None:
        named.add("model")
    depends = {
        "teacher": {key: value for key, value in options["teacher"].items() if key not in named},
        "tokens": options["tokens"],
        "seed": _seed(run),
        "data": corpora.digest(attrs.evolve(_true_rows(run, corpus), test=())),
        "tokenizer": tokenizer_digest(tokenizer),
        "start": weights_digest(start) if start is not None else None,
    }
    if start is not None and (rules := rules_beside(start)):
        depends["rules"] = rules  # which the made teacher takes over
    fine_tune = run.recipe.teacher.fine_tune
    if fine_tune is not None:
        depends |= chosen_by(fine_tune.best_by, run.recipe.evaluation, run.recipe.generation, options)
    return digest_of(depends)[:32]
