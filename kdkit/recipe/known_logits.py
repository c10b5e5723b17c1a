"""Whether a recipe can do with a teacher that is not a model: with the logits and texts that it has from elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.api.interfaces import EntriesCodec, LimitedTeacher, SparseCodec, TemperedLoss
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from kdkit.api.values import Corpus, KnownLogits
    from kdkit.recipe.sections import Recipe


def known_logits(recipe: Recipe) -> KnownLogits | None:
    """What is known of logits from elsewhere; None where kdkit captures them, or the loss needs none.

    Raises:
        UsageError: It is not enough for the temperature of the loss, or for the codec.
    """
    if not recipe.loss.needs_teacher or not isinstance(recipe.teacher, LimitedTeacher):
        return None
    known = recipe.teacher.known()
    _check_known_at(recipe, known)
    _check_known_entries(recipe, known)
    return known


def _check_known_at(recipe: Recipe, known: KnownLogits) -> None:
    """Refuse a temperature other than that of the probabilities that were kept."""
    loss, codec, at = recipe.loss, recipe.codec, known.temperature
    wanted = loss.temperatures if isinstance(loss, TemperedLoss) else ()
    if wanted is None:
        raise UsageError(
            f"loss.temperature changes, but logits are known only at {at:g} ({known.in_words}); set it to {at:g}"
        )
    for name, values in (
        ("loss.temperature", wanted),
        ("codec.temperatures", codec.exact_temperatures if isinstance(codec, SparseCodec) else ()),
    ):
        other = next((value for value in values if value != at), None)
        if other is not None:
            raise UsageError(
                f"{name} has {other:g}, but logits are known only at {at:g} ({known.in_words}): "
                f"{known.error_at(other)}; set it to {at:g}"
            )


def _check_known_entries(recipe: Recipe, known: KnownLogits) -> None:
    """Refuse a codec that keeps entries that are not known."""
    codec = recipe.codec
    if known.entries is None:
        return
    if not isinstance(codec, EntriesCodec):
        raise UsageError(
            f'the codec "{recipe.names["codec"]}" keeps whole rows, but these logits are not known whole '
            f'({known.in_words}); set codec.name = "topk", codec.k = {known.entries} and '
            f"codec.temperatures = [{known.temperature}]"
        )
    kept = codec.entries(2**31 - 1)
    if kept > known.entries:
        raise UsageError(
            f"codec.k is {kept}, but only {known.entries} entries of a token are known ({known.in_words}); set it to "
            f"{known.entries}"
        )


def check_texts(recipe: Recipe, corpus: Corpus) -> None:
    """Refuse suites where a teacher with logits from elsewhere would have to write texts that the rows did not bring.

    Raises:
        UsageError: They would; the message names the first row.
    """
    if not isinstance(recipe.teacher, LimitedTeacher) or not recipe.evaluation.wants_texts:
        return
    lacking = next((row for row in corpus.held_out[: recipe.evaluation.rows or None] if row.prediction is None), None)
    if lacking is not None:
        raise UsageError(
            f'row {lacking.id} came without a prediction, and the teacher "{recipe.names["teacher"]}" writes no texts '
            "for the suites to score; set evaluation.suites = [], or name the field of its texts with data.prediction"
        )
