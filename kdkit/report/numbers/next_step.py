"""What to do after a run, by how it ended: one step, with its command."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import attrs

from kdkit.recipe.limited import limit_of
from kdkit.report.numbers.conclusion import Ending
from kdkit.report.numbers.student_folder import run_dir
from kdkit.report.read.files import as_table
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.report.numbers.conclusion import Conclusion
    from kdkit.report.read.run import RunFacts


@attrs.frozen(kw_only=True)
class NextStep:
    """What to do next.

    Attributes:
        words: What, as a sentence: "Train the teacher longer."
        commands: What to type, where the run was started; empty where that cannot be said.
    """

    words: str
    commands: tuple[str, ...] = ()


def next_step(facts: RunFacts, found: Conclusion) -> NextStep | None:
    """The step that a run's ending asks for; None where nothing was scored, or a finished run was scored again."""
    if facts.scored or found.ending is Ending.UNSCORED:
        return None
    limit = limit_of(facts.recipe)
    return _after(facts, found) if limit is None else _without_limit(limit)


def _after(facts: RunFacts, found: Conclusion) -> NextStep | None:
    match found.ending:
        case Ending.TEACHER_NOT_WORTH_IT:
            return _better_teacher(facts)
        case Ending.HELPED:
            return _another_seed(facts)
        case Ending.NOT_COMPARED:
            return _with_baselines(facts)
    if found.surpassed is not None:
        return _better_teacher(facts)
    return _another_alpha(facts) or _another_seed(facts)


def _without_limit(limit: int) -> NextStep:
    """The whole recipe, whose file and overrides the run does not know."""
    tried = f"This was a try on {plural(limit, 'row')} of each split at most"
    return NextStep(words=f"{tried}: run the recipe without --limit.")


def _better_teacher(facts: RunFacts) -> NextStep:
    key, fine_tune = "teacher.fine_tune.epochs", as_table(facts.table("teacher").get("fine_tune"))
    epochs = fine_tune.get("epochs")
    if "model" in facts.table("teacher") and not fine_tune:
        return NextStep(
            words="Fine-tune the teacher on your rows first, or name a better one in [teacher].",
            commands=(_again(facts, (key, 1), suffix="fine-tuned-teacher"),),
        )
    if not isinstance(epochs, int) or epochs < 1:
        return NextStep(words="Take a better teacher: name another in [teacher].")
    return NextStep(
        words=f"Train the teacher for {2 * epochs} epochs, or on more rows.",
        commands=(_again(facts, (key, 2 * epochs), suffix="longer-teacher"),),
    )


def _another_alpha(facts: RunFacts) -> NextStep | None:
    """More weight on the teacher where it had some; less where it had all."""
    alpha = facts.table("loss").get("alpha")
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not 0 < alpha <= 1:
        return None
    other, words = (0.5, "Give the labels half the weight.") if alpha == 1 else (1, "Give the teacher all the weight.")
    return NextStep(words=words, commands=_run_and_compare(facts, ("loss.alpha", other), suffix=f"alpha-{other}"))


def _another_seed(facts: RunFacts) -> NextStep:
    own = facts.table("training").get("seed")
    seed = (own if isinstance(own, int) else facts.seed) + 1
    commands = _run_and_compare(facts, ("training.seed", seed), suffix=f"seed-{seed}")
    return NextStep(words="Check it with another seed.", commands=commands)


def _with_baselines(facts: RunFacts) -> NextStep | None:
    """The baselines, where they were switched off."""
    if facts.table("evaluation").get("baselines") is not False:
        return None
    commands = (_again(facts, ("evaluation.baselines", "true"), suffix="with-baselines"),)
    return NextStep(words="Compare it with labels only: run the baselines.", commands=commands)


def _run_and_compare(facts: RunFacts, option: tuple[str, object], *, suffix: str) -> tuple[str, ...]:
    folders = (str(run_dir(facts)), f"{run_dir(facts)}-{suffix}")
    return _again(facts, option, suffix=suffix), _words(("kdkit", "report", *folders))


def _again(facts: RunFacts, option: tuple[str, object], *, suffix: str) -> str:
    """The run again with one option changed, in a folder beside it."""
    folder = run_dir(facts)
    key, value = option
    return _words(
        ("kdkit", "run", str(folder / "recipe.toml"), "-o", f"{key}={value}", "--run-dir", f"{folder}-{suffix}")
    )


def _words(words: Sequence[str]) -> str:
    return " ".join(map(shlex.quote, words))
