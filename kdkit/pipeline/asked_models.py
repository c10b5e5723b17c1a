"""The models that a run asks about held-out rows: what determines the logits of each, and how it is opened."""

from __future__ import annotations

import contextlib
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.interfaces import ModelTeacher
from kdkit.evaluation import labels_only
from kdkit.evaluation.costs import closing
from kdkit.models import find_folder, tokenizer_digest, weights_digest
from kdkit.pipeline.model_folders import student_weights
from kdkit.pipeline.students import untrained
from kdkit.pipeline.tokenizers import tokenizer_of
from kdkit.plugins.fields import digested
from kdkit.runs.stage_facts import BaselineMade, TeacherMade
from kdkit.store import texts
from kdkit.system.digests import digest_of
from kdkit.system.packages import source_digest
from kdkit.system.reading import file_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from kdkit.api.interfaces import Teacher, TextModel
    from kdkit.api.values import Corpus
    from kdkit.recipe import Recipe
    from kdkit.runs.run import Run

_GENERATION = "generation_config.json"
"""Beside a model's configuration: its decoder's first token may be there alone."""


class HiddenModel(Exception):
    """An open teacher does not show its model."""


@attrs.frozen(kw_only=True, eq=False)
class AskedModel:
    """A model that is asked.

    Attributes:
        name: Who it is.
        weights: Digest of what determines its logits, known before it is opened.
        opened: Opens it, for a block.
        texts_kept_as: What stands for it in the keys of its texts, which may need the model.
    """

    name: str
    weights: str
    opened: Callable[[], AbstractContextManager[TextModel]]
    texts_kept_as: Callable[[Callable[[], TextModel]], str] = lambda _: ""


@contextmanager
def when_needed(opened: Callable[[], AbstractContextManager[TextModel]]) -> Iterator[Callable[[], TextModel]]:
    """Gives what opens a model when it is first called; a model that was opened is closed after the block."""
    held: list[TextModel] = []
    with ExitStack() as stack:

        def model() -> TextModel:
            if not held:
                held.append(stack.enter_context(opened()))
            return held[0]

        try:
            yield model
        finally:
            held.clear()  # else its memory would not be free once it is closed


def student_digest(recipe: Recipe, folder: Path) -> str:
    """Digest of what determines the logits of a student that was saved."""
    return _digest(recipe.names["student"], recipe.student, _of_folder(folder))


def baselines(run: Run, corpus: Corpus) -> Iterator[AskedModel]:
    """The baselines that are models."""
    recipe, trained = run.recipe, run.told(BaselineMade)
    if not recipe.evaluation.baselines:
        return
    if trained.folder is not None and trained.weights is not None:
        folder, weights = Path(trained.folder), trained.weights
        yield AskedModel(
            name=labels_only.NAME,
            weights=student_digest(recipe, folder),
            opened=lambda: closing(recipe.student.open(folder, device=run.device)),
            texts_kept_as=lambda model: texts.kept_as(weights, model(), recipe.student),
        )
    yield AskedModel(
        name="untouched",
        weights=_untrained_digest(run, corpus),
        opened=lambda: closing(untrained(run, corpus)),
        texts_kept_as=lambda model: texts.kept_as(labels_only.weights_in_memory(model()), model(), recipe.student),
    )


def a_teacher(run: Run, corpus: Corpus, teacher: Teacher, folder: Path, *, name: str) -> AskedModel:
    """A teacher's model, as it is asked for its logits.

    Args:
        run: The run.
        corpus: Its rows.
        teacher: The teacher.
        folder: Where it lies.
        name: What it is called.
    """

    @contextmanager
    def opened() -> Iterator[TextModel]:
        with contextlib.closing(teacher.open(folder, run.recipe.data, corpus, device=run.device)) as found:
            if not isinstance(found, ModelTeacher):
                raise HiddenModel
            yield found.model

    weights = _digest(run.recipe.names["teacher"], teacher, _of_folder(folder))
    return AskedModel(name=name, weights=weights, opened=opened)


def _untrained_digest(run: Run, corpus: Corpus) -> str:
    """Digest of everything that the untrained student is made of."""
    recipe, made, teacher = run.recipe, run.told(TeacherMade), run.teacher_folder
    tokenizer = tokenizer_of(recipe, run.own_targets(corpus), run.store, run.progress)
    return _digest(
        recipe.names["student"],
        recipe.student,
        {
            "seed": recipe.training.own_seed(recipe.seed),
            "start": student_weights(recipe),
            "teacher": _of_folder(teacher) if teacher is not None else None,
            "pruning": attrs.asdict(made.pruning) if made.pruning is not None else None,
            "tokenizer": tokenizer_digest(tokenizer),
        },
    )


def _digest(name: str, component: Any, made_of: Any) -> str:
    """Digest of a component's options, of its code and of what it is made of: of a folder the content counts."""
    options = {key: value for key, value in digested(component).items() if key != "model"}
    return digest_of([name, options, source_digest(type(component)), made_of])


def _of_folder(folder: Path) -> list[str]:
    """Digests of a model's weights and configuration; of adapters that were saved alone, with their base."""
    whole = find_folder(str(folder), weights=True)
    generation = whole / _GENERATION
    return [weights_digest(whole), file_digest(generation) if generation.is_file() else ""]
