"""Estimates what a run will take, before anything heavy is done."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import attrs

from kdkit import models
from kdkit.api.interfaces import RemarkingStudent
from kdkit.api.options import FineTuning
from kdkit.data.rows import more_of
from kdkit.data.splitting import drawn
from kdkit.data.written import longest_rows, prompts_of
from kdkit.errors import Mismatch, UsageError
from kdkit.pipeline.smaller_codec import DEFAULT, subspace_bytes
from kdkit.pipeline.teachable import check_read, doubts
from kdkit.pipeline.tokenizers import tokenizer_of
from kdkit.pipeline.vocabulary import facts_of, settled
from kdkit.recipe.compatibility import check_compatible
from kdkit.recipe.inputs import naming
from kdkit.runs.stage_facts import Estimate
from kdkit.store.rows import rows_of
from kdkit.system.devices import is_slow_in
from kdkit.system.files import size_text
from kdkit.system.folders import existing
from kdkit.training.batching import Lengths, total_steps

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.values import Corpus, EncodedExample, ModelSize
    from kdkit.data.encoded_rows import EncodedRows
    from kdkit.data.rows import Rows
    from kdkit.recipe import Recipe

_EPOCHS = 20
"""Epochs whose batches are made for an estimate, where they differ."""

FP32 = 4
COPIES_OF_A_CHECKPOINT = 3  # parameters and AdamW's two moments
CHECKPOINTS = 3  # two are kept while the third is written


def estimate(recipe: Recipe, corpus: Corpus, store: Path | None = None) -> Estimate:
    """What the run takes. Loads tokenizers and configurations, no weights.

    Args:
        recipe: The recipe.
        corpus: Its rows.
        store: The folder that runs share, where a tokenizer that is trained on the rows is kept; None to train it.

    Raises:
        Mismatch: Teacher and student have different tokenizers, or a vocabulary is too small for its tokenizer.
        UsageError: The recipe's parts do not fit each other (see `check_compatible`); or a layer that is named does not
            exist; or a limit on tokens is beyond a model's positions; or no model could learn to write a target.
    """
    known = check_compatible(recipe, corpus)
    recipe = settled(recipe, corpus)
    form = corpus.train[0].form
    with naming("teacher"):
        tokenizer = tokenizer_of(recipe, corpus, store) if store is not None else recipe.teacher.load_tokenizer(corpus)
        teacher_config = recipe.teacher.model_config(tokenizer)
        teacher = None
        if (kind := recipe.teacher.model_kind) is not None:
            teacher = kind.size_of(teacher_config)
            for generation in filter(None, (recipe.generation, recipe.writing)):
                kind.check_positions(teacher_config, recipe.tokens, generation, form)
        teacher_trained = _trained_parameters(recipe, teacher_config)
    with naming("student"):
        student_tokenizer = recipe.student.load_tokenizer(tokenizer)
        student_config = recipe.student.model_config(student_tokenizer, teacher_config)
        student = recipe.student.model_kind.size_of(student_config)
        recipe.student.model_kind.check_positions(student_config, recipe.tokens, recipe.generation, form)
    remarks = [*recipe.student.remarks(tokenizer)] if isinstance(recipe.student, RemarkingStudent) else []
    remarks += _slow_types(recipe, {"teacher": teacher_config, "student": student_config})
    if student_tokenizer is not tokenizer:
        models.check_same_tokenizer(tokenizer, student_tokenizer)
    least = {"source": models.source_size(tokenizer), "target": models.target_size(tokenizer)}
    _check_vocabularies(least, {"teacher": teacher, "student": student})
    scored_rows, validation_rows = recipe.evaluation.rows, recipe.training.validation_rows
    most = more_of(validation_rows, scored_rows)
    if not corpus.test:  # then validation is what is scored
        validation_rows = most
    validation = rows_of(corpus.validation, tokenizer, recipe.encoding, at_most=most)
    test = rows_of(corpus.test, tokenizer, recipe.encoding, at_most=scored_rows)
    learned = _learned(recipe, corpus, tokenizer)
    for split, rows in (("training", learned.own), ("validation", validation), ("test", test)):
        if rows is not None:
            check_read(rows, split)
    used = {
        "train": learned.most,
        "validation": validation.first(validation_rows).encoded,
        "test": test.encoded,
    }
    trained = {"student": student_config} if recipe.writing is None else {}
    if recipe.teacher.fine_tune is not None:
        trained["teacher"] = teacher_config
    ends = {role: models.end_ids(config, tokenizer) for role, config in trained.items()}
    writes = recipe.evaluation.wants_texts
    taught, fine_tune = learned.taught, recipe.teacher.fine_tune
    captured = [taught, used["validation"], used["test"]] if recipe.loss.needs_teacher else []
    captured_tokens = sum(int(rows.target_lengths.sum()) for rows in captured)
    lengths = Lengths.of(taught, recipe.student.model_kind, recipe.training)
    steps = total_steps(lengths, recipe.training, seed=recipe.training.own_seed(recipe.seed), tried=_EPOCHS)
    fine_tuned_on = learned.fine_tuned_on
    teacher_lengths = Lengths.of(fine_tuned_on, recipe.teacher.model_kind, fine_tune)
    student_bytes = _bytes_of_making(student, trained=_adapters(recipe.student, student_config))
    has_baseline = recipe.evaluation.baselines and recipe.loss.needs_teacher
    return Estimate(
        rows={split: len(rows) for split, rows in used.items()},
        source_tokens={split: int(rows.source_lengths.sum()) for split, rows in used.items()},
        target_tokens={split: int(rows.target_lengths.sum()) for split, rows in used.items()},
        teacher=teacher,
        student=student,
        capture_rows=sum(map(len, captured)),
        capture_tokens=captured_tokens,
        capture_bytes=int(captured_tokens * recipe.codec.bytes_per_token(least["target"])),
        teacher_bytes=_bytes_of_making(teacher, trained=teacher_trained)
        if teacher is not None and recipe.teacher.is_made_here
        else 0,
        student_bytes=student_bytes,
        teacher_steps=total_steps(teacher_lengths, fine_tune, seed=fine_tune.own_seed(recipe.seed), tried=_EPOCHS)
        if fine_tune is not None
        else 0,
        student_steps=steps,
        generated_rows=len((test if corpus.test else validation.first(scored_rows)).encoded) if writes else 0,
        picking_rows=len(validation.first(scored_rows).encoded) if corpus.test and writes else 0,
        baseline_steps=steps if has_baseline else 0,
        doubts=(*remarks, *doubts(recipe, learned.own, ends)) or None,
        baseline_bytes=student_bytes + bytes_of_weights(student.parameters) if has_baseline else 0,
        student_tokens=_tokens(lengths),
        teacher_tokens=_tokens(teacher_lengths),
        written_rows=len(taught) if recipe.writing is not None else 0,
        teacher_trained=teacher_trained,
        vocabulary=facts_of(recipe, corpus, teacher),
        subspace_bytes=_subspace_bytes(recipe, teacher_config, least["target"], captured_tokens),
        imported=known.in_words if known is not None else None,
    )


def _subspace_bytes(recipe: Recipe, teacher_config: Any, vocabulary: int, tokens: int) -> int | None:
    """What `subspace` would take in place of the default."""
    if recipe.names["codec"] != DEFAULT:
        return None
    each = subspace_bytes(teacher_config, vocabulary=vocabulary, tokens=tokens)
    return None if each is None else round(each * tokens)


@attrs.frozen(kw_only=True, eq=False)
class _Learned:
    """The training rows that student and teacher learn from.

    Attributes:
        own: The rows with targets of their own, as many as a training reads; None where none is read.
        most: The rows that are read at all.
        taught: What the student learns from.
        fine_tuned_on: What the teacher does.
    """

    own: Rows | None
    most: EncodedRows
    taught: EncodedRows
    fine_tuned_on: Sequence[EncodedExample]


def _learned(recipe: Recipe, corpus: Corpus, tokenizer: Tokenizer) -> _Learned:
    """The training rows; those whose targets a teacher has yet to write, with the most tokens that it may write."""
    writing, fine_tune = recipe.writing, recipe.teacher.fine_tune
    own = None
    if writing is None:
        own = rows_of(drawn(corpus.train, _most_rows(recipe)), tokenizer, recipe.encoding)
        taught, most = own.drawn(recipe.training.rows).encoded, own.encoded
    else:
        if fine_tune is not None:
            own = rows_of(drawn(recipe.with_targets(corpus.train), fine_tune.rows), tokenizer, recipe.encoding)
        chosen = drawn(corpus.train, recipe.training.rows)
        taught = most = longest_rows(prompts_of(chosen, tokenizer, recipe.encoding), writing.max_new_tokens)
    tuned = own.drawn(fine_tune.rows).encoded if own is not None and fine_tune is not None else ()
    return _Learned(own=own, most=most, taught=taught, fine_tuned_on=tuned)


def _check_vocabularies(least: Mapping[str, int], sizes: Mapping[str, ModelSize | None]) -> None:
    """Refuse a model whose vocabulary is too small for its tokenizer; `least` says how large each side has to be."""
    for role, size in sizes.items():
        if size is None:
            continue
        for side, entries in (("source", size.source_vocab_size), ("target", size.vocab_size)):
            if entries < least[side]:
                raise Mismatch(
                    f"the {role}'s vocabulary has {entries} entries, but its tokenizer has {least[side]} "
                    "tokens; use a model and a tokenizer that belong together"
                )


def _trained_parameters(recipe: Recipe, teacher_config: Any) -> int | None:
    """How many of the teacher's parameters its fine-tuning trains; None where that is all of them or none."""
    fine_tune = recipe.teacher.fine_tune
    if not isinstance(fine_tune, FineTuning):
        return None
    if fine_tune.lora is not None:
        return _adapters(fine_tune, teacher_config)
    if not fine_tune.layers:
        return None
    return models.parameters_of_last_layers(teacher_config, fine_tune.layers)


def _slow_types(recipe: Recipe, configs: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each model whose type of weights the processor is slow with."""
    for role, config in configs.items():
        asked = str(recipe.resolved[role].get("dtype"))
        dtype = str(getattr(config, "dtype", "")).removeprefix("torch.") if asked == "auto" else asked
        if is_slow_in(dtype, recipe.device):
            yield (
                f"the {role} computes in {dtype}, with which this processor is several times slower than with float32; "
                f'unless memory is short, set {role}.dtype = "float32"'
            )


def _most_rows(recipe: Recipe) -> int:
    """How many of the training rows are read by the training that reads most of them; 0 for all."""
    fine_tune = recipe.teacher.fine_tune
    counts = [recipe.training.rows, *([fine_tune.rows] if fine_tune is not None else [])]
    return max(counts) if all(counts) else 0


def _tokens(lengths: Lengths) -> int:
    return int(lengths.sources_N.sum() + lengths.targets_N.sum())


def check_space(needs: Mapping[Path, int]) -> None:
    """Refuse a run that will not fit on its disks.

    Args:
        needs: Bytes to be written, by folder (which need not exist yet).

    Raises:
        UsageError: A disk has less free than that.
    """
    by_device: dict[int, tuple[int, Path]] = {}
    for folder, size in needs.items():
        there = existing(folder)
        device = there.stat().st_dev
        by_device[device] = (by_device.get(device, (0, there))[0] + size, there)
    for size, there in by_device.values():
        free = shutil.disk_usage(there).free
        if size > free:
            raise UsageError(
                f"the run may write {size_text(size)} below {there}, but only {size_text(free)} are free "
                "there; choose a smaller codec, fewer rows, or another disk for store.dir or --run-dir"
            )


def bytes_of_weights(parameters: int) -> int:
    """A model's weights as they are saved."""
    return parameters * FP32


def _bytes_of_making(size: ModelSize, *, trained: int | None = None) -> int:
    """Best and final weights, and the checkpoints while it trains, which hold the parameters that are trained."""
    copied = size.parameters if trained is None else trained
    return bytes_of_weights(2 * size.parameters + COPIES_OF_A_CHECKPOINT * CHECKPOINTS * copied)


def _adapters(trained: Any, config: Any) -> int | None:
    """Parameters of the adapters that are trained instead of a model; None where there are none."""
    lora = getattr(trained, "lora", None)
    return models.count_adapters(models.looked_at(config), lora) if lora is not None else None
