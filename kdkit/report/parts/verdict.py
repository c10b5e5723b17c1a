"""What a run came to, in two short lines: a sentence, and the numbers that it stands on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kdkit.report.numbers.conclusion import BETTER, NOISE, Ending, conclude, is_known
from kdkit.report.numbers.names import LABELS_ONLY, MODELS, capital
from kdkit.report.page import formats
from kdkit.report.page.document import Verdict
from kdkit.report.parts.training import LOSSES
from kdkit.report.read.files import as_table, number
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from kdkit.report.numbers.conclusion import Beside, Conclusion
    from kdkit.report.numbers.pairs import Pair
    from kdkit.report.read.run import RunFacts

IMITATED = {"constant": "a constant answer", "nearest": "copying the nearest training row"}
"""What a teacher has to be better than, in words."""
COMPARED = {
    Ending.HELPED: ("and", "distillation beat training on labels only"),
    Ending.NO_DIFFERENCE: ("but", "distillation did not clearly beat training on labels only"),
    Ending.HURT: ("but", "distillation did worse than training on labels only"),
}


def of_run(facts: RunFacts, found: Conclusion | None = None) -> Verdict:
    """The verdict on a run.

    Args:
        facts: The run.
        found: What it came to, where that is computed already.
    """
    found = conclude(facts) if found is None else found
    pair = found.pair
    if pair is None or found.ending is Ending.UNSCORED:
        return Verdict("This run has no score of its student yet.")
    if found.ending is Ending.TEACHER_NOT_WORTH_IT:
        names = " or ".join(IMITATED[each.other] for each in found.not_beaten)
        sentence = f"The teacher is not worth imitating: it is not clearly better than {names}."
        return Verdict(sentence, _measured(facts, pair), support=_not_beaten(pair, found), scope=_scope(facts, pair))
    detail = f"{_measured(facts, pair)} {_selection(facts, pair)}"
    return Verdict(_sentence(pair, found), detail, support=_support(facts, pair, found), scope=_scope(facts, pair))


def _sentence(pair: Pair, found: Conclusion) -> str:
    if found.ending in COMPARED:
        joint, told = COMPARED[found.ending]
        told += _by_little(found)
        if found.surpassed is not None and found.ending is not Ending.HELPED:
            return f"Training on labels only beat the teacher itself, and {told}."
        return f"The teacher is worth imitating, {joint} {told}." if found.teacher else f"{capital(told)}."
    if found.imitation is None:
        return f"The student is scored, but there is no score of its teacher in {pair.label}."
    told = {NOISE: "is within noise of", BETTER: "is better than"}.get(found.imitation.verdict, "is not as good as")
    return f"The student {told if pair.sense else 'stands beside'} its teacher."


def _by_little(found: Conclusion) -> str:
    """What is added where a difference is outside noise, and the numbers below show none."""
    apart = found.gain.difference if found.gain is not None else None
    if found.ending is Ending.NO_DIFFERENCE or apart is None or formats.signed(apart.value) != formats.signed(0.0):
        return ""
    return ", by less than 0.001"


def _not_beaten(pair: Pair, found: Conclusion) -> str:
    """The teacher's score and those of what it is not better than: only these, whatever the student has."""
    first = found.not_beaten[0]
    told = [f"{MODELS[each.other]} {formats.metric(each.other_value)}{_apart(each)}" for each in found.not_beaten]
    return (
        f"{pair.name}: teacher {formats.metric(first.value)}, {', '.join(told)}{_less(pair)}. "
        "What the student learnt from this teacher cannot be judged."
    )


def _apart(each: Beside) -> str:
    """The difference from the teacher, where rows tell it."""
    if each.difference is None or not formats.signed_interval(each.difference):
        return ""
    return f" (difference {formats.signed(each.difference.value)}, {formats.interval_words(each.difference)})"


def _support(facts: RunFacts, pair: Pair, found: Conclusion) -> str:
    gain = found.gain
    if gain is not None and gain.difference is not None:
        less = "; less is better" if pair.sense < 0 else ""
        told = (
            f"{pair.name} {formats.metric(gain.value)} against {formats.metric(gain.other_value)} for labels only: "
            f"{formats.signed(gain.difference.value)} ({formats.interval_words(gain.difference)}{less})"
        )
    elif found.imitation is not None:
        ours, theirs = found.imitation.value, found.imitation.other_value
        told = f"{pair.name} {formats.metric(ours)} against {formats.metric(theirs)} for the teacher{_less(pair)}"
    else:
        told = f"{pair.name} {formats.metric(pair.student.value if pair.student else None)}{_less(pair)}"
    if found.ahead:  # a low price for less than what learnt nothing is no bargain
        names = [f"{MODELS[each.model]} {formats.metric(each.value)}" for each in found.ahead]
        return f"{told}. Better than the student without having learnt anything: {', '.join(names)}."
    price = "" if found.parameters is None else f", with {_parameters(found.parameters)}"
    if found.surpassed is not None and gain is not None:
        told += f"; teacher {formats.metric(found.surpassed.value)}"
    unknown = "" if found.gain is not None else _no_labels_only(facts)
    return " ".join(filter(None, (f"{told}{price}.", unknown)))


def _parameters(share: float) -> str:
    """`47 % of the teacher's parameters`."""
    return (
        "as many parameters as the teacher" if share == 1 else f"{formats.percent(share)} of the teacher's parameters"
    )


def _less(pair: Pair) -> str:
    return " (less is better)" if pair.sense < 0 else ""


def _scope(facts: RunFacts, pair: Pair) -> str:
    """What the intervals are of, and how many rows the models were trained on where these are not all."""
    assert pair.student is not None
    rows = plural(pair.student.count, f"{facts.split} {facts.scored_in}")
    return f"Intervals cover the {rows} of this one run, not other seeds. {_trained_on(facts, pair)}".strip()


def _trained_on(facts: RunFacts, pair: Pair) -> str:
    """Of how many rows each model was made; nothing where each training read all rows."""
    every = number(as_table(facts.data.get("rows")).get("train"))
    fine_tune = as_table(facts.table("teacher").get("fine_tune"))
    used = [min(number(each.get("rows")) or math.inf, every or 0) for each in (facts.table("training"), fine_tune)]
    if not every or used == [every, every]:
        return ""
    ours = "the student and labels only" if pair.score(LABELS_ONLY) is not None else "the student"
    if fine_tune:
        return f"The teacher was trained on {plural(int(used[1]), 'row')}, {ours} on {formats.count(used[0])}."
    were = "were" if ours.endswith("only") else "was"
    return f"{capital(ours)} {were} trained on {formats.count(used[0])} of {plural(int(every), 'row')}."


def _measured(facts: RunFacts, pair: Pair) -> str:
    assert pair.student is not None
    assert is_known(pair.student)
    rows = plural(pair.student.count, f"{facts.split} {facts.scored_in}")
    one = facts.scored_in
    truth = "the text" if one == "block" else "the true answers"
    return f"{pair.name} is measured against {truth} of {rows}, and differences are taken {one} by {one}."


def _selection(facts: RunFacts, pair: Pair) -> str:
    """What picked the best epoch, and on which rows."""
    if facts.split == "validation":
        return "There is no test split: the rows that picked the best epoch are reported, which flatters the student."
    best_by = facts.table("training").get("best_by")
    by = LOSSES.get(str(best_by), best_by)
    said = f"The best epoch was picked on the validation rows{f' by {by}' if by else ''}"
    for score in facts.evaluation.validation_scores:
        if (score.model, score.suite, score.metric) == ("student", pair.suite, pair.metric):
            name = pair.name[:1].lower() + pair.name[1:] if pair.name[1:2].islower() else pair.name
            return f"{said}; there the student's {name} is {formats.metric(score.value)}."
    return f"{said}, not on these."


def _no_labels_only(facts: RunFacts) -> str:
    """Why nothing is said of a student without a teacher."""
    if facts.table("evaluation").get("baselines") is False:
        return "Whether distillation beats labels only is not known: the baselines were switched off."
    if facts.evaluation.baselines:
        return "There is no student of labels only beside it: this run's loss does not use the teacher."
    return ""
