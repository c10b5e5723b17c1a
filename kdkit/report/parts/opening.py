"""The first screen of a run, below its verdict: every model's score on one axis, and how its student is used."""

from __future__ import annotations

import math
import re
import textwrap
from typing import TYPE_CHECKING

from kdkit.report.numbers.conclusion import NOISE, Ending, is_known
from kdkit.report.numbers.names import LABELS_ONLY, MODELS, capital
from kdkit.report.numbers.next_step import next_step
from kdkit.report.numbers.student_folder import student_folder
from kdkit.report.page import formats
from kdkit.report.page.document import Items, Listing, Section, Sections
from kdkit.report.page.dotplot import Dot, DotPlot
from kdkit.report.page.tables import Cell, Row, Table
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kdkit.api.values import Cost, Interval
    from kdkit.report.numbers.conclusion import Conclusion
    from kdkit.report.page.document import SectionBlock
    from kdkit.report.read.run import RunFacts

ORDER = ("constant", "nearest", "untouched", LABELS_ONLY, "student", "teacher")
"""From what learnt nothing to what is imitated."""
SHORT = {"constant": "constant answer", "nearest": "nearest row"}
"""Names that fit beside a drawing."""
UNTAUGHT_WORDS = {
    "constant": "constant answer: the most frequent training target",
    "nearest": "nearest row: that of the most similar training row",
    "untouched": "untouched student: before any training",
}
"""What answers the baselines give that nothing has taught."""
PRUNED_WORDS = "untouched student: the teacher's layers before any training, what pruning alone leaves"
"""The same of a student that is made of its teacher's layers."""
COMMAND_WIDTH = 42
"""Characters of a command's line that fit beside the drawing."""
ROUND_ENDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
"""Where the axis of shares ends that are all small; else it ends at 1."""


def of_run(facts: RunFacts, found: Conclusion) -> tuple[Sections, ...]:
    """The scores, and beside them the student; nothing where neither is known."""
    sections = [each for each in (scores(facts, found), student(facts, found)) if each is not None]
    return (Sections(tuple(sections)),) if sections else ()


def scores(facts: RunFacts, found: Conclusion) -> Section | None:
    """What the student differs by, and the headline metric of every model; None where the student has no score."""
    pair = found.pair
    if pair is None or found.ending is Ending.UNSCORED:
        return None
    known = {model: score for model in ORDER if (score := pair.score(model)) is not None and is_known(score)}
    ends = axis_ends(known.values())
    notes = ["Bars are 95 % intervals", *(["less is better"] if pair.sense < 0 else [])]
    notes += [f"the axis ends at {formats.tick(ends[1])}"] if ends is not None and ends[1] != 1 else []
    words = {**UNTAUGHT_WORDS, **({"untouched": PRUNED_WORDS} if facts.table("student").get("from_teacher") else {})}
    untaught = "; ".join(words[model] for model in known if model in words)
    note = ". ".join(filter(None, ("; ".join(notes), capital(untaught))))
    dots = (Dot(label=SHORT.get(model, MODELS[model]), at=score, tone=model) for model, score in known.items())
    plots = (*_differences(found), DotPlot.of(pair.name, *dots, ends=ends, note=f"{note}."))
    return Section(
        title=f"{pair.name} on {plural(facts.evaluation.row_count, f'{facts.split} {facts.scored_in}')}", blocks=plots
    )


def axis_ends(drawn: Iterable[Interval]) -> tuple[float, float] | None:
    """From 0 to 1 for shares, or to a round end where all are small; None for other metrics."""
    ends = [end for each in drawn for end in (each.value, each.low, each.high) if math.isfinite(end)]
    most = max(ends)
    if min(ends) < 0 or most > 1:
        return None
    return 0.0, next((end for end in ROUND_ENDS if most <= end), 1.0)


def _differences(found: Conclusion) -> list[DotPlot]:
    """Student minus labels only and minus its teacher; not of a teacher that is not worth imitating."""
    pair = found.pair
    if pair is None or found.ending is Ending.TEACHER_NOT_WORTH_IT:
        return []
    dots = [
        Dot(label=f"student minus {MODELS[each.other]}", at=each.difference, tone=each.verdict or NOISE)
        for each in (found.gain, found.imitation)
        if each is not None and each.difference is not None
    ]
    if not dots:
        return []
    sides = ("student worse", "student better")
    drawn = [end for dot in dots for end in (dot.at.value, dot.at.low, dot.at.high)]
    reach = max(abs(each) for each in drawn if math.isfinite(each)) or 1.0
    step = 10.0 ** math.floor(math.log10(reach))
    end = next(step * factor for factor in (1, 2, 3, 4, 5, 6, 8, 10) if step * factor >= reach)
    sides = sides if pair.sense >= 0 else sides[::-1]
    return [DotPlot.of("Difference", *dots, sides=sides, ends=(-end, end))]


def student(facts: RunFacts, found: Conclusion) -> Section | None:
    """What the student costs, where it is, how it writes, and what to do next."""
    blocks: list[SectionBlock] = [*_price(found)]
    where = student_folder(facts)
    if where is not None:
        blocks.append(Listing(title="Its folder", text=where.path))
        blocks.append(Listing(title="Generate text with it", text=in_lines(where.predict), language="sh"))
        if where.code:
            blocks.append(Listing(title="The same in Python", text=where.code, language="python", folded=True))
    step = next_step(facts, found)
    if step is not None and step.commands:
        title = f"Next: {step.words[:1].lower()}{step.words[1:]}".removesuffix(".")
        blocks.append(Listing(title=title, text="\n".join(map(in_lines, step.commands)), language="sh"))
    elif step is not None:
        blocks.append(Items((("next", step.words),)))
    return Section(title="The student", blocks=tuple(blocks)) if blocks else None


def in_lines(command: str) -> str:
    """A command in lines that fit, an option beside its value; one that quotes anything is left as it is."""
    if "'" in command:
        return command
    tied = re.sub(r" (--?\S+) ", " \\1\u00a0", command)  # which is a space that no line ends at
    lines = textwrap.wrap(tied, COMMAND_WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return " \\\n".join(lines).replace("\u00a0", " ")


def _price(found: Conclusion) -> list[Table]:
    teacher, ours = found.costs.get("teacher"), found.costs.get("student")
    if ours is None:
        return []

    def row(label: str, get: Callable[[Cost], int], show: Callable[[int], str]) -> Row:
        cells = [Cell(show(get(ours)))]
        if teacher is not None:
            share = get(ours) / get(teacher) if get(teacher) > 0 and get(ours) > 0 else None
            cells += [Cell(show(get(teacher))), Cell(formats.percent(share))]
        return Row(label=label, cells=tuple(cells))

    rows = (
        row("parameters", lambda cost: cost.parameters, formats.parameters),
        row("size on disk", lambda cost: cost.bytes_on_disk, formats.size),
    )
    return [Table.of(("", "student", "teacher", "of teacher")[: 4 if teacher is not None else 2], rows)]
