"""One sentence that says how the run ended, made from its numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kdkit.errors import DamagedData, Mismatch, MissingInput
from kdkit.report.numbers import pairs
from kdkit.report.numbers.names import MODELS
from kdkit.report.page import formats
from kdkit.report.page.document import Verdict
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kdkit.api.values import Cost, Difference, Score
    from kdkit.report.numbers.pairs import Pair
    from kdkit.report.read.run import RunFacts

UNTAUGHT = ("untouched", "constant", "nearest")
"""Baselines that no training of this run has taught anything."""
SAME_TIME = 0.1
"""Medians that differ by less than this share are called about the same."""


def of_run(facts: RunFacts) -> Verdict:
    """The verdict on a run, with what its baselines and its split have to say."""
    pair = pairs.headline(facts)
    untaught = _untaught(facts, pair)
    if pair is not None and pair.student is not None and untaught:
        return Verdict(untaught, _detail(pair, pair.student, facts.split))
    judged = judge(pair, facts.evaluation.costs, split=facts.split)
    if pair is None or not judged.detail:
        return judged
    gain = _gain(pair)
    sentence = " ".join(filter(None, (judged.sentence, gain, _beaten_by(facts, pair))))
    more = [judged.detail, _loss_to_teacher(pair), *_selection(facts, pair)]
    if not gain:
        more.append(_no_labels_only(facts))
    return Verdict(sentence, " ".join(filter(None, more)))


def teaches(facts: RunFacts) -> bool:
    """Whether the teacher is above what learnt nothing, so that a student can be measured by it."""
    return not _untaught(facts, pairs.headline(facts))


def _untaught(facts: RunFacts, pair: Pair | None) -> str:
    """A sentence on the baselines that the teacher is not above: what a student is beside it says nothing then."""
    if pair is None or pair.teacher is None or not math.isfinite(pair.teacher.value):
        return ""
    told = []
    for model in ("constant", "nearest"):
        baseline = pair.score(model)
        if baseline is None:
            continue
        apart = _paired(facts, pair, "teacher", model)
        if apart is None:
            is_above = baseline.high < pair.teacher.low if pair.sense > 0 else pair.teacher.high < baseline.low
            interval = ""
        else:
            is_above = apart.value * pair.sense > 0 and not apart.holds_zero
            interval = (
                f"; teacher minus that {formats.signed(apart.value)}, 95 % interval {formats.signed_interval(apart)}"
            )
        if not is_above:
            told.append(f"{MODELS[model]} ({formats.metric(baseline.value)}{interval})")
    if not told:
        return ""
    side = "above" if pair.sense > 0 else "better than"
    less = " (less is better)" if pair.sense < 0 else ""
    return (
        f"The teacher, with {formats.metric(pair.teacher.value)} in {pair.label}{less}, is not clearly {side} what "
        f"learnt nothing: {' and '.join(told)}. What its student learnt from it this run cannot show."
    )


def _gain(pair: Pair) -> str:
    """Whether the teacher was worth its trouble: the student against the one that was trained on the labels alone."""
    gain = pair.gain
    if gain is None or not math.isfinite(gain.value):
        return ""
    apart = formats.metric(abs(gain.value))
    ends = formats.signed_interval(gain)
    interval = f"95 % interval {ends}"
    if gain.holds_zero:
        return (
            f"Distillation is within noise of training on the labels alone ({formats.signed(gain.value)}; {interval})."
        )
    side = "above" if gain.value > 0 else "below"
    return f"Distillation is {side} training on the labels alone by {apart} ({interval}{_lower(pair)})."


def _lower(pair: Pair) -> str:
    return "; less is better" if pair.sense < 0 else ""


def _beaten_by(facts: RunFacts, pair: Pair) -> str:
    """A sentence on the baselines that this training taught nothing and that are better than the student."""
    told = []
    for model in UNTAUGHT:
        baseline, student = pair.score(model), pair.student
        if baseline is None or student is None or not (baseline.value - student.value) * pair.sense > 0:
            continue
        apart = _paired(facts, pair, model, "student")
        if apart is None:
            is_better, interval = baseline.low > student.high or baseline.high < student.low, ""
        else:
            is_better = not apart.holds_zero
            interval = f", 95 % interval {formats.signed_interval(apart)}"
        if is_better:
            by = formats.signed(baseline.value - student.value)
            told.append(f"{MODELS[model]} ({formats.metric(baseline.value)}; {by}{interval})")
    if not told:
        return ""
    side = "Above" if pair.sense > 0 else "Better than"
    return f"{side} the student {'is' if len(told) == 1 else 'are'} what learnt nothing of this: {' and '.join(told)}."


def _paired(facts: RunFacts, pair: Pair, model: str, other: str) -> Difference | None:
    """One model minus another, row by row; None where the run has no values of rows."""
    from kdkit.evaluation.resampling import compare as compare_rows
    from kdkit.evaluation.row_scores import RowKey, RowScores

    keys = [RowKey(each, pair.against, pair.suite, pair.metric) for each in (model, other)]
    try:
        rows = None if facts.path is None else RowScores.read(facts.path)
    except (MissingInput, DamagedData):
        return None  # the two scores' own intervals tell it
    if rows is None or not set(keys) <= set(rows.keys):
        return None
    resamples = facts.table("evaluation").get("bootstrap")
    try:
        return compare_rows(
            [rows],
            [rows],
            *keys,
            resamples=resamples if isinstance(resamples, int) else 1000,
            seed=facts.seed,
        )
    except Mismatch:
        return None


def _loss_to_teacher(pair: Pair) -> str:
    apart = pair.difference
    if apart is None or not formats.signed_interval(apart):
        return ""
    ends = formats.signed_interval(apart)
    return f"Student minus teacher, row by row: {formats.signed(apart.value)} (95 % interval {ends})."


def _selection(facts: RunFacts, pair: Pair) -> list[str]:
    """What picked the best epoch, and on which rows."""
    if facts.split == "validation":
        return ["There is no test split: what picked is what is reported, so these numbers flatter the student."]
    best_by = facts.table("training").get("best_by")
    said = f"The best epoch was picked on the rows of validation{f' (by {best_by})' if best_by else ''}"
    for score in facts.evaluation.validation_scores:
        if (score.model, score.suite, score.metric) == ("student", pair.suite, pair.metric):
            return [f"{said}, where the student has {formats.metric(score.value)}; they are not these."]
    return [f"{said}, not on these."]


def _no_labels_only(facts: RunFacts) -> str:
    """Why nothing is said of a student without a teacher."""
    if facts.table("evaluation").get("baselines") is False:
        return "Whether distillation beats training on the labels alone is not known: the baselines were switched off."
    if facts.evaluation.baselines:
        return "There is no student of the labels alone beside it: this run's loss has no part of the teacher's."
    return ""


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
        return Verdict("This run has no score of its student yet.")
    price = _price(costs)
    quality = _quality(pair, pair.student)
    if pair.teacher is None or not math.isfinite(pair.teacher.value):
        price = f"; it has {price}" if price else ""
    elif pair.student.value == pair.teacher.value == 0:
        price = ""  # whatever nothing costs
    elif price:
        price = f", at {price}" if quality[-1] != ")" else f" at {price}"
    return Verdict(f"{quality}{price}.", _detail(pair, pair.student, split))


def _quality(pair: Pair, student: Score) -> str:
    name, teacher = pair.label, pair.teacher
    if teacher is None or not math.isfinite(teacher.value):
        text = formats.metric(student.value)
        return f"The student scores {text} in {name}, and there is no score of the teacher to compare it with"
    if student.value == 0 and teacher.value == 0 and pair.sense > 0:
        return f"Neither the teacher nor the student scores anything in {name}"
    ours, theirs = formats.metric(student.value), formats.metric(teacher.value)
    if pair.within_noise:
        return f"The student's {name} is within noise of the teacher's ({ours} against {theirs})"
    if pair.sense <= 0:
        side = "above" if student.value > teacher.value else "below"
        return f"The student's {name} is {side} the teacher's ({ours} against {theirs}{_lower(pair)})"
    return _difference(name, student.value, teacher.value, ours, theirs)


def _difference(name: str, student: float, teacher: float, ours: str, theirs: str) -> str:
    """What to say of two values that differ by more than noise."""
    if student == 0 and teacher > 0:
        return f"The student keeps nothing of the teacher's {name} ({ours} of {theirs})"
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
        f"{model} {formats.interval(score)}"
        for model, score in (("teacher", pair.teacher), ("student", student))
        if score is not None and formats.interval(score)
    ]
    sentence = f"{pair.label} of suite {pair.suite}, against the ground truth of {plural(student.count, 'row')}"
    shown = f"; 95 % intervals: {', '.join(intervals)}" if intervals else ""
    picked = " The best epoch was picked on rows of the same split." if split == "validation" else ""
    return f"{sentence} of {split}{shown}.{picked}"
