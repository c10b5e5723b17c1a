"""A recipe whose teacher's vocabulary is trimmed to the data: the same recipe with the folders of the trimmed models.

Which ids stay depends on the training rows. So the models that the recipe names are replaced once the rows are known,
here and nowhere else; everything after that sees a teacher, and a student, in just another folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs
import numpy as np

from kdkit import models
from kdkit.api.interfaces import NamedStudent, TrimmedTeacher
from kdkit.data.reading import Mark
from kdkit.data.rows import rows_of as encoded_rows
from kdkit.errors import UsageError
from kdkit.models.kinds import AFTER_PADDING
from kdkit.models.trimmed_folders import Trimming, named_ids, trimmed_folder, trimming_of
from kdkit.models.vocabulary import check_trimmable, kept_ids, renumbering
from kdkit.recipe.inputs import naming
from kdkit.runs.stage_facts import TrimmedVocabulary
from kdkit.store.rows import rows_of
from kdkit.system.files import user_path

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.values import Corpus, ModelSize
    from kdkit.models import HFKind
    from kdkit.recipe import Recipe
    from kdkit.runs.run import Run
    from kdkit.system.progress import Progress

_LOST = (Mark.SHORTENED, Mark.CUT)
_UNLIMITED = 1 << 24
"""Tokens: more than a row has."""


def settled(recipe: Recipe, corpus: Corpus, progress: Progress | None = None) -> Recipe:
    """The recipe with the trimmed models in place of those that it names; itself where it trims none.

    Loads tokenizers and configurations, no weights.

    Args:
        recipe: The recipe; its digest stays.
        corpus: Its rows, of which the training rows say which ids stay.
        progress: Where progress is shown while they are encoded.

    Raises:
        UsageError: The tokenizer is not a byte-level BPE, `keep` is too small, or the student has another tokenizer.
    """
    if not isinstance(recipe.teacher, TrimmedTeacher) or recipe.teacher.vocabulary is None:
        return recipe
    teacher: Any = recipe.teacher
    student: Any = recipe.student if isinstance(recipe.student, NamedStudent) and recipe.student.model else None
    with naming("teacher"):
        tokenizer_name = teacher.tokenizer or teacher.model
        whole = teacher.load_tokenizer(corpus)
        check_trimmable(whole, tokenizer_name)
    own = _student_tokenizer(student, whole) if student is not None else whole
    with naming("teacher"):
        counts_V = _counts(recipe, corpus, whole, progress)
        named = [each.model for each in (teacher, student) if each is not None]
        also = {each for name in named for each in named_ids(_folder(name))}
        ids = kept_ids(whole, counts_V, teacher.vocabulary.keep, also)
        model = _trimmed(teacher.model, tokenizer_name, whole, ids, teacher.model_kind)
        made = attrs.evolve(recipe, teacher=attrs.evolve(teacher, model=model, tokenizer="", vocabulary=None))
    if student is None:
        return made
    with naming("student"):
        model = _trimmed(student.model, student.model, own, ids, student.model_kind)
        return attrs.evolve(made, student=attrs.evolve(student, model=model))


def settle(run: Run) -> None:
    """Let a run continue with the trimmed models, once its data are read."""
    recipe = run.recipe
    if getattr(recipe.teacher, "vocabulary", None) is None:
        return
    if run.record["stages"].get("data", {}).get("status") == "done":
        run.recipe = settled(recipe, run.read_corpus(), run.progress)


def whole_teacher(recipe: Recipe) -> Any:
    """The teacher before its vocabulary was trimmed and it was fine-tuned; None where none was trimmed."""
    teacher: Any = recipe.teacher
    if not isinstance(teacher, TrimmedTeacher) or not teacher.model:
        return None
    trimming = trimming_of(_folder(teacher.model))
    if trimming is None:
        return None
    whole: Any = teacher
    return attrs.evolve(whole, model=trimming.model, tokenizer=trimming.tokenizer, fine_tune=None)


def facts_of(recipe: Recipe, corpus: Corpus, trimmed: ModelSize | None) -> TrimmedVocabulary | None:
    """What trimming keeps and saves, and how many more tokens held-out rows take; None where none was trimmed.

    Args:
        recipe: The recipe, settled.
        corpus: Its rows.
        trimmed: The size of its teacher.
    """
    whole = whole_teacher(recipe)
    if whole is None or trimmed is None:
        return None
    read = {
        name: rows_of(corpus.held_out, teacher.load_tokenizer(corpus), recipe.encoding, at_most=recipe.evaluation.rows)
        for name, teacher in (("whole", whole), ("trimmed", recipe.teacher))
    }
    if recipe.tokens.max_blocks or any(len(rows.reading.marked(mark)) for rows in read.values() for mark in _LOST):
        # As many tokens of both vocabularies would be compared, and not as much text.
        limits = attrs.evolve(recipe.tokens, max_source=_UNLIMITED, max_target=_UNLIMITED, max_blocks=0)
        encoding = attrs.evolve(recipe.encoding, limits=limits)
        read = {name: encoded_rows(rows.chosen, rows.tokenizer, encoding) for name, rows in read.items()}
    tokens = {
        name: int(rows.encoded.source_lengths.sum() + rows.encoded.target_lengths.sum()) for name, rows in read.items()
    }
    size = whole.model_kind.size_of(models.load_config(whole.model, whole.model_kind.auto))
    return TrimmedVocabulary(
        kept=len(read["trimmed"].tokenizer),
        whole=len(read["whole"].tokenizer),
        parameters=trimmed.parameters,
        whole_parameters=size.parameters,
        texts=len(read["whole"].chosen),
        tokens=tokens["trimmed"],
        whole_tokens=tokens["whole"],
    )


def _student_tokenizer(student: Any, whole: Tokenizer) -> Tokenizer:
    """The tokenizer of a student of its own, whose ids have to mean what the teacher's do."""
    with naming("student"):
        own: Tokenizer = student.model_kind.load_tokenizer(student.model)
        if not models.same_tokens(own, whole):
            raise UsageError(
                f"teacher.vocabulary keeps some ids of the teacher's tokenizer, and that of {student.model} has other "
                "tokens; use a student with the teacher's tokenizer or of its layers, or leave vocabulary out"
            )
        return own


def _counts(recipe: Recipe, corpus: Corpus, whole: Tokenizer, progress: Progress | None) -> npt.NDArray[np.int64]:
    """How often the training rows use each id, as sources and as targets."""
    known = recipe.with_targets(corpus.train)
    if not known:
        raise UsageError(
            "vocabulary keeps the tokens that the training rows use, and none of these has a target before the teacher "
            "writes it (write_targets); give some rows with targets, or leave vocabulary out"
        )
    rows = rows_of(known, whole, recipe.encoding, progress=progress).encoded
    counts_V = np.zeros(len(whole), np.int64)
    for column in (rows.sources, rows.targets):
        counts_V += np.bincount(column.taken(rows.places_R).flat, minlength=len(whole))
    return counts_V


def _folder(name: str) -> Path:
    return models.find_folder(name, weights=False)


def _trimmed(name: str, tokenizer_name: str, tokenizer: Tokenizer, ids: list[int], kind: HFKind) -> str:
    """The folder of a model with some of its ids, without weights.

    Raises:
        UsageError: The model knows positions by the id of the padding, or its class of tokenizers makes other ids.
    """
    folder, new = _folder(name), renumbering(ids)
    pad, config = tokenizer.pad_token_id, models.load_config(name, kind.auto)
    if config.model_type in AFTER_PADDING and new[pad] != pad:
        raise UsageError(
            f"{name} is a {config.model_type} model, which numbers positions from the id of the padding, {pad}, and "
            f"that would become {new[pad]}; leave vocabulary out"
        )
    trimming = Trimming(model=_lasting(name), tokenizer=_lasting(tokenizer_name), kept=tuple(ids))
    made = str(trimmed_folder(folder, tokenizer, trimming))
    words: dict[str, int] = cast(Any, tokenizer).get_vocab()
    opened = kind.load_tokenizer(made)
    if cast(Any, opened).get_vocab() != {word: new[each] for word, each in words.items() if each in new}:
        raise UsageError(
            f"transformers opens the tokenizer of {name} with the class {type(opened).__name__}, which gives tokens "
            "other ids than the trimmed vocabulary has; leave vocabulary out"
        )
    return made


def _lasting(name: str) -> str:
    """A name that means the same from any folder: of a folder its whole path."""
    path = user_path(name)
    return str(path.resolve()) if path.exists() else name
