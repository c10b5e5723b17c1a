"""One sentence that says how the run ended, made from its numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from kdkit.report import formats
from kdkit.texts import plural

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kdkit.report.compare import Pair
    from kdkit.values import Cost, Score

SAME_TIME = 0.1
"""Medians that differ by less than this share are called about the same."""


@attrs.frozen(kw_only=True)
class Verdict:
    """The sentence, and the numbers it stands on."""

    sentence: str
    detail: str


def judge(pair: Pair | None, costs: Mapping[str, Cost], *, split: str) -> Verdict:
    """The verdict on the headline metric and the costs.

    Teacher and student count as different only where the 95 % interval of their difference, row by row, leaves out 0
    (in runs that have no differences: where their two intervals do not overlap); a time is called shorter
    or longer only where the medians differ by a tenth, and overlapping quartiles are mentioned.

    Args:
        pair: The headline metric of both models against the ground truth; None where nothing was scored.
        costs: What each model costs, where measured.
        split: Name of the split that was scored.
    """
    if pair is None or pair.student is None or not math.isfinite(pair.student.value):
        return Verdict(sentence="This run has no score of its student yet.", detail="")
    price = _price(costs)
    quality = _quality(pair, pair.student)
    if pair.teacher is None or not math.isfinite(pair.teacher.value):
        price = f"; it has {price}" if price else ""
    elif pair.student.value == pair.teacher.value == 0:
        price = ""  # whatever nothing costs
    elif price:
        price = f", at {price}" if quality[-1] != ")" else f" at {price}"
    return Verdict(sentence=f"{quality}{price}.", detail=_detail(pair, pair.student, split))


def _quality(pair: Pair, student: Score) -> str:
    name, teacher = pair.metric, pair.teacher
    if teacher is None or not math.isfinite(teacher.value):
        (text,) = formats.metrics_apart(student.value)
        return f"The student scores {text} in {name}, and there is no score of the teacher to compare it with"
    if student.value == 0 and teacher.value == 0:
        return f"Neither the teacher nor the student scores anything in {name}"
    ours, theirs = formats.metrics_apart(student.value, teacher.value)
    if pair.within_noise:
        return f"The student's {name} is within noise of the teacher's ({ours} against {theirs})"
    return _difference(name, student.value, teacher.value, ours, theirs)


def _difference(name: str, student: float, teacher: float, ours: str, theirs: str) -> str:
    """What to say of two values that differ by more than noise."""
    if student == 0 and teacher > 0:
        return f"The student keeps nothing of the teacher's {name} (0 of {theirs})"
    if teacher <= 0 or student < 0:
        better = "above" if student > teacher else "below"
        return f"The student's {name} is {better} the teacher's ({ours} against {theirs})"
    share = student / teacher
    if share > 1:
        return f"The student exceeds the teacher's {name} by {formats.percent(share - 1)} ({ours} against {theirs})"
    return f"The student keeps {formats.percent(share)} of the teacher's {name} ({ours} of {theirs})"


def _price(costs: Mapping[str, Cost]) -> str:
    """`27 % of its parameters and 0.40 of its time per sample`; "its" is the teacher."""
    teacher, student = costs.get("teacher"), costs.get("student")
    if teacher is None or student is None:
        return ""
    parts, dear = [], []
    if teacher.parameters > 0 and student.parameters > 0:
        share = student.parameters / teacher.parameters
        parts.append(_parameters(share))
        dear.append(share > 1)
    seconds = _seconds(teacher, student)
    if seconds:
        parts.append(seconds)
        dear.append(student.seconds_per_sample / teacher.seconds_per_sample > 1 + SAME_TIME)
    joint = ", but " if len(parts) == 2 and dear[0] != dear[1] else " and "
    return joint.join(parts)


def _parameters(share: float) -> str:
    if share == 1:
        return "the same number of parameters"
    return f"{formats.percent(share)} of its parameters" if share < 1 else f"{_times(share)} its parameters"


def _seconds(teacher: Cost, student: Cost) -> str:
    if not (teacher.seconds_per_sample > 0 and student.seconds_per_sample > 0):
        return ""
    if (teacher.batch_size, teacher.beams) != (student.batch_size, student.beams):
        return ""
    share = student.seconds_per_sample / teacher.seconds_per_sample
    if abs(share - 1) <= SAME_TIME:
        return "about the same time per sample"
    overlap = teacher.seconds_low <= student.seconds_high and student.seconds_low <= teacher.seconds_high
    caveat = " (medians; the quartiles overlap)" if overlap else ""
    amount = f"{formats.ratio(share)} of" if share < 1 else _times(share)
    return f"{amount} its time per sample{caveat}"


def _times(share: float) -> str:
    return f"{formats.ratio(share)} times"


def _detail(pair: Pair, student: Score, split: str) -> str:
    intervals = [
        f"{model} {formats.interval(score.low, score.high)}"
        for model, score in (("teacher", pair.teacher), ("student", student))
        if score is not None and formats.interval(score.low, score.high)
    ]
    sentence = f"{pair.metric} of suite {pair.suite}, against the ground truth of {plural(student.count, 'row')}"
    shown = f"; 95 % intervals: {', '.join(intervals)}" if intervals else ""
    picked = " The best epoch was picked on rows of the same split." if split == "validation" else ""
    return f"{sentence} of {split}{shown}.{picked}"
