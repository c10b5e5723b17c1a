"""Baseline: the student without a teacher, made once for all runs that differ in their loss or codec only."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from kdkit.evaluation import labels_only
from kdkit.logits.targets import NoTargets
from kdkit.losses import HardLoss
from kdkit.models import weights_digest
from kdkit.pipeline.estimate import bytes_of_weights, check_space
from kdkit.pipeline.fitting import train
from kdkit.store import folders, found_or_making
from kdkit.system.files import folder_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.api.interfaces import TextModel
    from kdkit.api.values import Corpus
    from kdkit.runs.run import Run


def fit(run: Run) -> dict[str, Any]:
    """Have the baseline in the store; nothing where the recipe wants none.

    Raises:
        UsageError: It has to be trained, and there is no room on the disk.
        DamagedData: The store's copy is not what was put there.
    """
    return _have(run) if labels_only.is_wanted(run.recipe) else {"folder": None}


def restore(run: Run) -> dict[str, Any] | None:
    """Have it again where the store has lost it; None if it is only to be had with other weights.

    Raises:
        UsageError: It has to be trained again, and there is no room on the disk.
        DamagedData: The store's copy is not what was put there.
    """
    facts = run.facts("baseline")
    if facts["folder"] is None:
        return {}
    found = _have(run)
    return {"folder": found["folder"]} if found["weights"] == facts["weights"] else None


def _have(run: Run) -> dict[str, Any]:
    corpus, workshop = run.read_corpus(), run.path / labels_only.NAME
    model = labels_only.untouched_student(run, corpus)
    entry = run.store / "baselines" / labels_only.key_of(run.recipe, corpus, model)
    note = run.progress.note
    with found_or_making(entry, what="baseline", note=note, is_there=entry.is_dir, team=run.team) as reused:
        if reused:
            note(f"baseline: taken from {entry}")
        else:
            run.team.lead_does(lambda: _check_room(run, workshop))
            _train(run, model, corpus, workshop)
            run.team.lead_does(lambda: folders.put(workshop / "best", entry))
    return run.team.lead_does(lambda: _facts(entry, workshop, reused=reused))


def _check_room(run: Run, workshop: Path) -> None:
    found = run.facts("check")
    left = max(found["student_bytes"] - folder_bytes(workshop, "**/*"), 0)
    check_space({run.path: left, run.store: bytes_of_weights(found["student"]["parameters"])})


def _train(run: Run, model: TextModel, corpus: Corpus, workshop: Path) -> None:
    train(
        run,
        model,
        corpus,
        labels_only.training_of(run.recipe),
        HardLoss(),
        lambda _: NoTargets(),
        role=labels_only.NAME,
        folder=workshop,
    )


def _facts(entry: Path, workshop: Path, *, reused: bool) -> dict[str, Any]:
    folders.check(entry)
    shutil.rmtree(workshop, ignore_errors=True)
    return {"folder": str(entry.absolute()), "reused": reused, "weights": weights_digest(entry)}
