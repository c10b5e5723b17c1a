"""Whether the parts of a recipe fit each other and the data: loss, codec, schedules and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.interfaces import (
    FeatureLoss,
    HeadCodec,
    SampledCodec,
    SampledLoss,
    SparseCodec,
    TemperedLoss,
)
from kdkit.api.schedules import Schedule
from kdkit.api.suites import MEASURED, OF_TEACHER
from kdkit.api.values import Direction
from kdkit.errors import UsageError
from kdkit.recipe.known_logits import check_texts, known_logits
from kdkit.system.wording import did_you_mean, plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kdkit.api.suites import NamedSuite
    from kdkit.api.values import Corpus, Example, KnownLogits
    from kdkit.recipe.sections import Recipe


def check_compatible(recipe: Recipe, corpus: Corpus) -> KnownLogits | None:
    """Refuse a recipe whose parts do not fit each other.

    Returns:
        What is known of the teacher's logits, where they come from elsewhere and the loss needs them.

    Raises:
        UsageError: Teacher and student are of two kinds, or cannot read such rows; rows are to be packed that are not
            one sequence; a teacher is to write targets of rows for which it cannot, or to be trained on rows without
            targets; a training asks for more rows than there are; a metric that picks the best epoch, or that the
            report is to be about, does not exist; the codec does not know the logits at a temperature of the loss, or
            as well as its divergence needs them, or keeps no hidden states to compare; logits that come from
            elsewhere are not known as loss and codec need them; a teacher that is not a model lacks texts for the
            suites; or a schedule has more epochs than the training.
    """
    check_kinds(recipe)
    check_parts(recipe)
    check_texts(recipe, corpus)
    _check_written(recipe, corpus)
    _check_rows(recipe, corpus)
    _check_metrics(recipe, corpus)
    check_headline(recipe, corpus)
    return known_logits(recipe)


def check_parts(recipe: Recipe) -> None:
    """Refuse a recipe whose parts do not fit each other, whatever the data and the kinds of models are.

    Raises:
        UsageError: As of `check_compatible`, but for kinds, metrics and numbers of rows.
    """
    _check_schedules(recipe)
    _check_states(recipe)
    _check_temperatures(recipe)
    _check_samples(recipe)


def check_kinds(recipe: Recipe) -> None:
    """Refuse kinds of models that do not fit each other or the rows, before any row is read; imports torch.

    Raises:
        UsageError: Teacher and student are of two kinds, or cannot read such rows; or rows are to be packed that are
            not one sequence.
    """
    _check_same_kind(recipe)
    _check_form(recipe)
    _check_packing(recipe)


def _check_same_kind(recipe: Recipe) -> None:
    """What a teacher says of one kind of sequence says nothing of the other."""
    teacher, student = recipe.teacher.model_kind, recipe.student.model_kind
    if teacher is not None and teacher.name != student.name:
        raise UsageError(
            f'teacher.name is "{recipe.names["teacher"]}" ({teacher.name}) and student.name is '
            f'"{recipe.names["student"]}" ({student.name}), so they read rows as different tokens; use two models of '
            "one kind"
        )


def _check_form(recipe: Recipe) -> None:
    """Texts and conversations are one sequence each, and an encoder-decoder needs two."""
    from kdkit.data.row_options import RowOptions

    data, kind = recipe.data, recipe.student.model_kind
    if kind.is_joined or not isinstance(data, RowOptions):
        return
    for option, what in (("text", "texts without a source"), ("messages", "conversations")):
        if getattr(data, option):
            raise UsageError(
                f"data.{option} makes rows of {what}, and {kind.name} models need a source and a target; use teacher "
                'and student "hf-causal", or set data.source and data.target'
            )


def _check_packing(recipe: Recipe) -> None:
    """Rows are packed only where a row is one sequence."""
    teacher, fine_tune = recipe.teacher.model_kind, recipe.teacher.fine_tune
    for where, training, kind in (
        ("training", recipe.training, recipe.student.model_kind),
        ("teacher.fine_tune", fine_tune, teacher),
    ):
        if training is not None and kind is not None and training.packing and not kind.is_joined:
            raise UsageError(
                f"{where}.packing is true, but {kind.name} models read source and target apart, and only rows of "
                "decoder-only models are packed; set it to false"
            )


def _check_written(recipe: Recipe, corpus: Corpus) -> None:
    """A teacher writes after prompts, and learns from targets."""
    from kdkit.data.written import asked, has_target

    if recipe.writing is None:
        return
    for example in corpus.train:
        asked(example)
    if recipe.teacher.fine_tune is not None and not any(map(has_target, corpus.train)):
        raise UsageError(
            "teacher.fine_tune is given, but no training row has a target that the teacher could learn from; leave it "
            "out, or name a trained model with teacher.model"
        )


def _check_rows(recipe: Recipe, corpus: Corpus) -> None:
    """How many rows a training has is what its recipe says: a curve over sizes depends on it."""
    there = len(corpus.train)
    for where, training in (("training", recipe.training), ("teacher.fine_tune", recipe.teacher.fine_tune)):
        if training is not None and training.rows > there:
            raise UsageError(
                f"{where}.rows is {training.rows:,}, but the data set has {plural(there, 'training row')}; lower it, "
                "or leave it out to train on all of them"
            )


def _check_schedules(recipe: Recipe) -> None:
    """Refuse a schedule with values for epochs that never come."""
    epochs = recipe.training.epochs
    for name, schedule in _schedules(recipe.loss, "loss"):
        if len(schedule.epochs) > epochs:
            raise UsageError(
                f"{name}.epochs has {len(schedule.epochs)} values, but training.epochs is {epochs}; "
                "give one value an epoch at most"
            )


def _schedules(options: Any, path: str) -> Iterator[tuple[str, Schedule]]:
    """The schedules among some options and those of their tables, with their paths."""
    for field in attrs.fields(type(options)):
        name, value = f"{path}.{field.name}", getattr(options, field.name)
        if isinstance(value, Schedule):
            yield name, value
        elif attrs.has(type(value)):
            yield from _schedules(value, name)


def _check_states(recipe: Recipe) -> None:
    """Refuse a loss on hidden states if the codec does not keep them."""
    loss = recipe.loss
    if isinstance(loss, FeatureLoss) and loss.needs_states and not isinstance(recipe.codec, HeadCodec):
        raise UsageError(
            f'loss.features compares hidden states, but the codec "{recipe.names["codec"]}" does not keep the '
            'teacher\'s; set codec.name = "subspace", or leave loss.features out'
        )


def _check_temperatures(recipe: Recipe) -> None:
    """Refuse a temperature that the codec did not keep probabilities for."""
    loss, codec = recipe.loss, recipe.codec
    if not (loss.needs_teacher and isinstance(loss, TemperedLoss) and isinstance(codec, SparseCodec)):
        return
    known, wanted = codec.exact_temperatures, loss.temperatures
    unknown = [each for each in wanted or () if each not in known]
    if wanted is not None and not unknown:
        return
    what = f"is {unknown[0]:g}" if wanted is not None else "changes along a line"
    raise UsageError(
        f"loss.temperature {what}, but the codec keeps logits for temperature "
        f"{', '.join(f'{each:g}' for each in known)} only; set the loss to one of these, or the codec's "
        "temperatures to the loss's"
    )


def _check_samples(recipe: Recipe) -> None:
    """Refuse a biased loss: from sampled probabilities, only a loss linear in them has an unbiased gradient."""
    loss, codec = recipe.loss, recipe.codec
    if not (loss.needs_teacher and isinstance(codec, SampledCodec) and codec.is_sample):
        return
    if not (isinstance(loss, SampledLoss) and loss.takes_samples):
        raise UsageError(
            f'codec.name is "{recipe.names["codec"]}", which keeps samples of the teacher\'s distributions, and they '
            'bias this loss; set loss.divergence = "forward-kl" if the loss has it, or use another codec'
        )


def _check_metrics(recipe: Recipe, corpus: Corpus) -> None:
    """Refuse a misspelt metric now, not at the end of the first epoch."""
    for where, training, needs_teacher in (
        ("training", recipe.training, recipe.loss.needs_teacher),
        ("teacher.fine_tune", recipe.teacher.fine_tune, False),
    ):
        if training is not None and training.best_by == "soft" and not needs_teacher:
            raise UsageError(
                f'{where}.best_by = "soft", but this training has no soft loss, since it reads no teacher; '
                'set "loss" or a metric'
            )
        named = recipe.evaluation.suite_of(training.best_by) if training is not None else None
        if training is None or named is None:
            continue
        metrics = _metrics(named, corpus.validation[: training.validation_rows or None])
        if training.best_by not in metrics:
            hint = did_you_mean(training.best_by, metrics)
            raise UsageError(f'{where}.best_by = "{training.best_by}": the suite has {", ".join(metrics)}{hint}')
        if recipe.evaluation.direction_of(training.best_by) is Direction.NEITHER:
            raise UsageError(
                f'{where}.best_by = "{training.best_by}", a metric of which neither higher nor lower is '
                "better; use one that can pick an epoch"
            )


def check_headline(recipe: Recipe, corpus: Corpus) -> None:
    """Refuse a headline that is not a metric, or of which neither more nor less is better.

    Raises:
        UsageError: It is; the message names the metrics that there are.
    """
    evaluation, asked = recipe.evaluation, recipe.evaluation.headline
    if not asked:
        return
    if asked in MEASURED:
        _check_measured(recipe)
        return
    examples = corpus.held_out[: evaluation.rows or None]
    there = [metric for named in evaluation.suites for metric in _metrics(named, examples)]
    if asked not in there:
        hint = did_you_mean(asked, [*there, *MEASURED])
        of_suites = f"the suites have {', '.join(there)}" if there else "there are no suites"
        raise UsageError(
            f'evaluation.headline = "{asked}": {of_suites}; kdkit itself measures {", ".join(MEASURED)}{hint}'
        )
    if evaluation.direction_of(asked) is Direction.NEITHER:
        raise UsageError(
            f'evaluation.headline = "{asked}", of which neither more nor less is better; take a metric that can say '
            "which model is better"
        )


def _check_measured(recipe: Recipe) -> None:
    """Likeness to a teacher needs its distributions, and acceptance all of them."""
    asked, codec = recipe.evaluation.headline, recipe.codec
    if asked not in OF_TEACHER:
        return
    if not recipe.loss.needs_teacher:
        raise UsageError(
            f'evaluation.headline = "{asked}" compares the student with its teacher, which this loss does not ask; set '
            "loss.alpha above 0, or another headline"
        )
    is_sample = isinstance(codec, SampledCodec) and codec.is_sample
    if is_sample or (asked == "tokens.acceptance" and isinstance(codec, SparseCodec)):
        raise UsageError(
            f'evaluation.headline = "{asked}" needs the teacher\'s whole distributions, of which the codec '
            f'"{recipe.names["codec"]}" keeps a part; set codec.name = "subspace" or "u8-lz4", or another headline'
        )


def _metrics(named: NamedSuite, examples: Sequence[Example]) -> list[str]:
    """The metrics of a suite's rows, as "SUITE.METRIC", found by scoring empty texts, which costs nothing.

    One that no row counts for is left out only if it is one of a part of the rows (`recall/throws`): another may be
    None where a text is empty, as precision may.
    """
    by_row = named.score([""] * len(examples), [example.target for example in examples], examples)
    return [
        f"{named.name}.{metric}"
        for metric, values in by_row.items()
        if "/" not in metric or any(value is not None for value in values)
    ]
