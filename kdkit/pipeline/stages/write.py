"""Write: has the teacher write the targets of the training rows, once for all runs that ask the same teacher the same.

Sequence-level distillation: Kim and Rush, "Sequence-Level Knowledge Distillation" (2016), section 3.2. The texts are
kept as those of any model are (see `kdkit.store.texts`); the rows with these targets are then captured and trained on
as any rows. Validation and test rows keep their own targets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.api.options import Generation
from kdkit.api.values import Corpus
from kdkit.data import corpus as corpora
from kdkit.data.splitting import drawn
from kdkit.data.written import prompts_of, with_text
from kdkit.errors import UsageError
from kdkit.pipeline.open_teachers import open_teacher, write_texts
from kdkit.runs.stage import Planned
from kdkit.runs.stage_facts import TargetsWritten
from kdkit.store import predictions
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.options import TargetWriting
    from kdkit.api.values import Example
    from kdkit.recipe import Recipe
    from kdkit.runs.run import Run
    from kdkit.runs.stage import RowsPlanned
    from kdkit.runs.stage_facts import Estimate

TEXTS, ROWS = "predictions/targets.jsonl", "written"
"""The teacher's texts, and the folder of the rows that have them as targets."""


def fill(run: Run) -> TargetsWritten:
    """Write the teacher's texts and the rows that have them as targets.

    Raises:
        UsageError: No text is left to learn from; or a row is not one that a teacher can write for.
        DamagedData: The store's copy of the texts is not what was put there.
    """
    corpus, writing = run.read_corpus(), _writing(run.recipe)
    chosen = drawn(corpus.train, run.recipe.training.rows)
    with open_teacher(run, corpus) as teacher:
        prompts = prompts_of(chosen, teacher.tokenizer, run.recipe.encoding)
        write_texts(run, teacher, run.path / TEXTS, prompts, _generation(writing), name="teacher on training rows")
        identity = teacher.identity
    return run.team.lead_does(lambda: _keep(run, chosen, writing, identity))


def plan(recipe: Recipe, _rows: RowsPlanned, found: Estimate) -> Planned:
    """How many targets are written, and with how many tokens at most."""
    writing, rows = _writing(recipe), found.written_rows
    each = f"{writing.max_new_tokens:,} tokens at most"
    return Planned(
        work=f"targets of {plural(rows, 'training row')} {writing.in_words}, {each} (unless the store has them), "
        "which later stages are planned with",
        tokens=rows * writing.max_new_tokens,
    )


def restore(run: Run) -> TargetsWritten | None:
    """Write a finished run's targets again if their files are lost; None if they come out otherwise."""
    told = run.told(TargetsWritten)
    if (run.path / TEXTS).exists() and (run.path / ROWS / "train.jsonl").exists():
        return told
    again = fill(run)
    return told if again.digest == told.digest else None


def _keep(run: Run, chosen: Sequence[Example], writing: TargetWriting, identity: str) -> TargetsWritten:
    """Write the rows whose texts can be learned from; counts the others."""
    said = {each.id: each for each in predictions.read(run.path / TEXTS)}
    cut = {id_ for id_, each in said.items() if each.is_cut}
    empty = {id_ for id_, each in said.items() if not each.text.strip()}
    left_out = empty if writing.keep_cut else empty | cut
    rows = tuple(with_text(row, said[row.id].text) for row in chosen if row.id not in left_out)
    cut -= empty
    if not rows:
        raise UsageError(
            f"the teacher wrote nothing to learn from: of {plural(len(chosen), 'text')} {len(cut):,} are cut by "
            f"max_new_tokens and {len(empty):,} are empty; raise teacher.write_targets.max_new_tokens, or fine-tune "
            "the teacher (teacher.fine_tune)"
        )
    digest = corpora.write(run.path / ROWS, Corpus(train=rows, validation=()))
    told = TargetsWritten(
        digest=digest, identity=identity, asked=len(chosen), rows=len(rows), cut=len(cut), empty=len(empty)
    )
    run.progress.note(f"write: {told.in_words(keeps_cut=writing.keep_cut)}")
    return told


def _writing(recipe: Recipe) -> TargetWriting:
    assert recipe.writing is not None, "only a run whose teacher writes targets has this stage"
    return recipe.writing


def _generation(writing: TargetWriting) -> Generation:
    """What of the options the texts depend on: so they are in the store whatever becomes of those that are cut."""
    return Generation(**{name: getattr(writing, name) for name in attrs.fields_dict(Generation)})
