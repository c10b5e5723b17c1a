"""A run's teacher, open to be asked, and its texts: those of held-out rows, and the targets of training rows."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kdkit.pipeline.model_folders import teacher_folder
from kdkit.store import predictions, texts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from kdkit.api.interfaces import OpenTeacher, Tokenizer
    from kdkit.api.options import Generation
    from kdkit.api.values import Corpus, EncodedExample, Prediction
    from kdkit.runs.run import Run


@contextmanager
def open_teacher(run: Run, corpus: Corpus) -> Iterator[OpenTeacher]:
    """The run's teacher, closed at the end."""
    teacher = run.recipe.teacher.open(teacher_folder(run), run.recipe.data, corpus, device=run.device)
    try:
        yield teacher
    finally:
        teacher.close()
        gc.collect()


def write_texts(
    run: Run,
    teacher: OpenTeacher,
    path: Path,
    prompts: Sequence[EncodedExample],
    generation: Generation,
    *,
    name: str,
) -> None:
    """Write the teacher's texts to a file of the run folder, from the store if it has them.

    Args:
        run: The run.
        teacher: Its open teacher.
        path: The file.
        prompts: What it reads.
        generation: How it writes.
        name: Who writes, for the progress.
    """

    def generate(rows: Sequence[EncodedExample], done: Collection[str]) -> Iterator[Prediction]:
        return teacher.generate(rows, generation, done=done)

    # Texts that were recorded cost nothing, and the identity of recorded logits is not that of the texts.
    is_model = run.teacher_folder is not None
    weights = f"{run.recipe.names['teacher']} {teacher.identity}"
    texts.fill(
        path,
        prompts,
        generate,
        name=name,
        tokenizer=teacher.tokenizer,
        kept_as=texts.kept_as(weights, teacher, run.recipe.teacher) if is_model and prompts else None,
        store=run.store,
        generation=generation,
        progress=run.progress,
        team=run.team,
    )
    if is_model and prompts:
        written = [prediction.text for prediction in predictions.read(path)]
        if note := sentence_of_empty_texts(written, teacher.tokenizer):
            run.progress.note(note)


def sentence_of_empty_texts(written: Sequence[str], tokenizer: Tokenizer) -> str | None:
    """What to do where a teacher writes nothing for most rows, as an assistant does that is not asked by its template.

    Args:
        written: Its texts.
        tokenizer: Its tokenizer.
    """
    empty = sum(not text.strip() for text in written)
    if 2 * empty <= len(written):
        return None
    cure = (
        "its tokenizer has a chat template: if it is an assistant, give it conversations (data.messages)"
        if getattr(tokenizer, "chat_template", None)
        else "write its rows as those that it was trained on, or train it on yours first (teacher.fine_tune)"
    )
    return f"the teacher writes an empty text for {empty:,} of {len(written):,} rows; {cure}"
