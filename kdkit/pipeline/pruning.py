"""Chooses the parts of a teacher that the student is made of: measured once for a teacher and some rows, and kept.

The store's `importance/KEY.json` holds what was measured, not what was chosen: a student of fewer layers asks for the
same. KEY is a digest of the teacher's weights, of the rows as token ids, and of how they were measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import numpy as np

from kdkit.api.interfaces import PrunedStudent
from kdkit.api.values import Importance
from kdkit.data.splitting import drawn
from kdkit.errors import UsageError
from kdkit.models import weights_digest
from kdkit.pipeline.prepared import corpus_of
from kdkit.pipeline.tokenizers import tokenizer_of
from kdkit.pipeline.vocabulary import settled
from kdkit.runs.facts_table import facts_in, from_table
from kdkit.runs.record import check_no_evaluation, check_recipe, read_record
from kdkit.runs.stage_facts import TeacherMade
from kdkit.store import found_or_making, store_of, tables
from kdkit.store.rows import rows_of
from kdkit.system import devices
from kdkit.system.digests import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.values import Corpus, EncodedExample, Measuring, Pruning
    from kdkit.recipe import Recipe
    from kdkit.system.progress import Progress

_FORMAT = 1
"""Changed with whatever changes what is measured."""
_WHAT = "importance of layers"


def choose(
    recipe: Recipe, corpus: Corpus, teacher: Path, *, store: Path, device: str, progress: Progress
) -> Pruning | None:
    """The parts of a teacher that the recipe's student is made of; None where it names them or needs none.

    Args:
        recipe: The recipe.
        corpus: Its rows.
        teacher: The teacher's folder.
        store: The folder that runs share.
        device: Where the teacher is asked.
        progress: Where progress is shown.

    Raises:
        UsageError: See `PrunedStudent`.
    """
    student = recipe.student
    if not isinstance(student, PrunedStudent) or not student.chooses:
        return None
    measuring = student.measuring(teacher)
    scores = None
    if measuring is not None:
        tokenizer = tokenizer_of(recipe, corpus, store, progress)
        rows = _sample(recipe, corpus, tokenizer, measuring.tokens)

        def measure() -> Importance:
            return student.measure(tokenizer, teacher, rows, device=device, progress=progress)

        scores = _kept(_key(teacher, rows, measuring), measure, store=store, progress=progress)
    chosen = student.choose(teacher, scores)
    progress.note(f"student: {chosen.in_words()}")
    return chosen


def choose_alone(recipe: Recipe, run_dir: Path | None, progress: Progress) -> Pruning:
    """The same outside of a run, of a teacher that is there.

    Args:
        recipe: The recipe.
        run_dir: The run folder, by default `runs/NAME`: a teacher that a run makes is taken from there.
        progress: Where progress is shown.

    Raises:
        UsageError: The student chooses nothing, or no run has made the teacher; see also `PrunedStudent`.
    """
    path = run_dir if run_dir is not None else Path("runs") / recipe.name
    check_no_evaluation(path)
    check_recipe(path, recipe, besides="student")
    corpus, store = corpus_of(recipe, path, progress), store_of(recipe.store.dir, path)
    recipe = settled(recipe, corpus, progress)
    made = facts_in(read_record(path), TeacherMade, path)
    if made is not None:
        folder = path / made.folder if made.folder is not None else None
    elif recipe.teacher.is_made_here:
        raise UsageError(
            f"the teacher of {recipe.name} is made by a run, and {path} holds none yet; give the run's folder with "
            "--run-dir, or start it with kdkit run"
        )
    else:
        folder = recipe.teacher.find_folder()
    chosen = None
    if folder is not None:
        chosen = choose(recipe, corpus, folder, store=store, device=devices.pick(recipe.device), progress=progress)
    if chosen is None:
        raise UsageError(
            "the recipe's student chooses no layers of its teacher; say how many it keeps with "
            "-o student.from_teacher.keep=N"
        )
    return chosen


def _sample(recipe: Recipe, corpus: Corpus, tokenizer: Tokenizer, tokens: int) -> Sequence[EncodedExample]:
    """Training rows with at least so many label tokens together: the first of an order that depends on nothing else.

    Where the teacher has yet to write targets, those that have one of their own; if none has, validation rows.
    """
    known = recipe.with_targets(corpus.train) or corpus.validation
    rows = rows_of(drawn(known, recipe.training.rows), tokenizer, recipe.encoding).encoded
    order_R = np.random.default_rng(0).permutation(len(rows))
    enough = int(np.searchsorted(np.cumsum(rows.target_lengths[order_R]), tokens)) + 1
    return list(rows.take(order_R[:enough]))


def _key(teacher: Path, rows: Sequence[EncodedExample], measuring: Measuring) -> str:
    """Everything that the measure depends on, as a name in the store."""
    depends = {
        "format": _FORMAT,
        "teacher": weights_digest(teacher),
        "rows": [[row.source_ids, row.target_ids] for row in rows],
        "measure": [measuring.by, measuring.stacks],
        **({"width": True} if measuring.has_width else {}),
        **({"wanted": measuring.wanted} if measuring.wanted else {}),
    }
    return digest_of(depends)[:32]


def _kept(key: str, measure: Callable[[], Importance], *, store: Path, progress: Progress) -> Importance:
    """What the store has of a measure, else measured and kept."""
    entry = store / "importance" / f"{key}.json"

    def read() -> Importance | None:
        table = tables.read(entry, _WHAT, progress)
        return None if table is None else from_table(Importance, table, where=str(entry))

    with found_or_making(entry, what=_WHAT, note=progress.note, is_there=lambda: read() is not None):
        found = read()
        if found is None:
            found = measure()
            tables.write(entry, _WHAT, attrs.asdict(found))
    return found
