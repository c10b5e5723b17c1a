"""What fine-tuning did to the teacher: its scores on the held-out rows before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.api.values import Interval
from kdkit.evaluation.evidence import LOSSES, TOKENS
from kdkit.evaluation.record import Change
from kdkit.evaluation.resampling import compare
from kdkit.evaluation.row_scores import RowKey

if TYPE_CHECKING:
    from kdkit.evaluation.answers import Answers
    from kdkit.evaluation.evidence import Evidence

BEFORE, AFTER = "before", "after"
METRICS = ((LOSSES, "hard"), (TOKENS, "perplexity"), (TOKENS, "bits_per_byte"), (TOKENS, "accuracy"))


def changes_of(evidence: Evidence, before: Answers, after: Answers) -> tuple[Change, ...]:
    """The change of each score that both have.

    Args:
        evidence: Of the held-out rows, without any scores yet.
        before: What the model says that fine-tuning began with.
        after: What the fine-tuned one says.
    """
    for model, answers in ((BEFORE, before), (AFTER, after)):
        evidence.add_loss(model, "truth", "hard", answers.losses)
        evidence.add_tokens(model, answers.tokens, answers.losses)
    scores = {(each.model, each.suite, each.metric): each for each in evidence.scores}
    rows, found = evidence.rows, []
    for suite, metric in METRICS:
        old, new = scores.get((BEFORE, suite, metric)), scores.get((AFTER, suite, metric))
        if old is None or new is None:
            continue
        ours, theirs = (RowKey(model, "truth", suite, metric) for model in (AFTER, BEFORE))
        difference = compare(
            [rows],
            [rows],
            ours,
            theirs,
            direction=new.direction,
            resamples=evidence.resamples,
            seed=evidence.seed,
        )
        found.append(Change(before=_interval(old), after=_interval(new), difference=difference))
    return tuple(found)


def bits_per_byte(evidence: Evidence, answers: Answers) -> Interval | None:
    """The bits that a model takes for a byte of the labels; None where none of them has any.

    Args:
        evidence: Of the held-out rows as the model's tokenizer splits them, without any scores yet.
        answers: What the model says of these.
    """
    evidence.add_tokens(BEFORE, answers.tokens, answers.losses)
    return next((_interval(each) for each in evidence.scores if each.metric == "bits_per_byte"), None)


def _interval(of: Interval) -> Interval:
    return Interval(**{name: getattr(of, name) for name in attrs.fields_dict(Interval)})
