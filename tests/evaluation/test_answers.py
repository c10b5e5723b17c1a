"""What a model answers is kept by all that it depends on, and by nothing else."""

from __future__ import annotations

import importlib
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import attrs
import pytest
import tiny

from kdkit.builtin.losses.kd import KD
from kdkit.evaluation.answers import Answers
from kdkit.evaluation.questions import Questions
from kdkit.logits.targets import NoTargets
from kdkit.losses import HardLoss
from kdkit.store import texts
from kdkit.system.progress import Silent
from kdkit.system.team import ALONE


@attrs.frozen
class Known(NoTargets):
    """Targets whose digest is known."""

    name: str

    def digest(self, rows):
        """The name."""
        return f"{self.name} of {len(rows)}"


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return Questions(
        rows=SimpleNamespace(encoded=tiny.encoded(5)[1], tokenizer=tiny.tokenizer()),
        loss=HardLoss(),
        targets=NoTargets(),
        teacher_ids={},
        knows_teacher=False,
        generation=SimpleNamespace(batch_size=2),
        wants_texts=False,
        together=0,
        store=tmp_path_factory.mktemp("store"),
        device="cpu",
        progress=Silent(),
        team=ALONE,
    )


class Shown(Silent):
    """Progress that keeps each task's name and total, and how much of it is done after each step."""

    def __init__(self):
        self.tasks = []

    @contextmanager
    def task(self, name, *, total, unit, done=0):
        """A task that is kept."""
        steps = [done]
        self.tasks.append((name, total, unit, steps))
        yield SimpleNamespace(advance=lambda amount: steps.append(steps[-1] + amount))


@pytest.fixture(scope="module")
def shown():
    return Shown()


@pytest.fixture(scope="module")
def answers(questions, shown):
    asked = attrs.evolve(questions, progress=shown)
    return asked.answers(lambda: tiny.model(seed=3), name="student", weights="w")


def plain(answers: Answers) -> dict:
    return {name: (array.dtype, array.shape, array.tobytes()) for name, array in answers.arrays().items()}


def test_a_model_that_has_answered_is_not_opened_again_and_the_answers_are_the_same(questions, answers):
    again = questions.answers(lambda: pytest.fail("it is opened"), name="student", weights="w")
    assert plain(again) == plain(answers)
    direct = questions._ask(tiny.model(seed=3), "student")
    assert plain(direct) == plain(again)
    assert [attrs.asdict(row) for row in again.losses] == [
        pytest.approx(attrs.asdict(row), nan_ok=True) for row in direct.losses
    ]
    for ours, theirs in zip(again.tokens, direct.tokens, strict=True):
        assert (ours.tokens, ours.right, ours.is_bound) == (theirs.tokens, theirs.right, theirs.is_bound)
        assert type(ours.is_bound) is bool
        assert ours.right_lines([(0, 1), (0, ours.tokens)]) == theirs.right_lines([(0, 1), (0, ours.tokens)])
        assert ours.bins.error == theirs.bins.error
    assert sum(row.tokens for row in again.tokens) > 0


def test_a_model_that_is_asked_is_shown_with_its_rows(answers, shown):
    assert len(answers.losses) == 5
    assert shown.tasks == [("score student", 5, "rows", [0, 2, 4, 5])]


@pytest.mark.parametrize(
    "change",
    [
        {"loss": KD(alpha=0.5, temperature=2.0)},
        {"loss": KD(alpha=0.4, temperature=2.0)},
        {"targets": Known("one")},
        {"targets": Known("two")},
        {"knows_teacher": True},
        {"together": 2},
        {"generation": SimpleNamespace(batch_size=3)},
        {"rows": SimpleNamespace(encoded=tiny.encoded(4)[1], tokenizer=tiny.tokenizer())},
        {"device": "cuda:1"},
    ],
    ids=str,
)
def test_answers_are_kept_by_all_that_they_depend_on(questions, change):
    keys = {each._key(weights) for each in (questions, attrs.evolve(questions, **change)) for weights in ("v", "w")}
    assert len(keys) == 4


def test_a_component_whose_code_was_changed_is_another_for_losses_and_for_texts(questions, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    keys, kept = set(), set()
    for scale in (1, 2, 2):
        text = f"from kdkit.losses import HardLoss\n\n\nclass Own(HardLoss):\n    scale = {scale}\n"
        (tmp_path / "own_loss_of_a_script.py").write_text(text)
        monkeypatch.delitem(sys.modules, "own_loss_of_a_script", raising=False)
        own = importlib.import_module("own_loss_of_a_script").Own()
        keys.add(attrs.evolve(questions, loss=own)._key("w"))
        kept.add(texts.kept_as("w", object(), own))
    assert (len(keys), len(kept)) == (2, 2)
    assert texts.kept_as("w", object(), HardLoss()) == "w", "of kdkit's own the keys of before are found"


def test_who_a_row_is_and_how_texts_are_written_changes_no_answer(questions):
    rows = [attrs.evolve(row, id=f"other {row.id}") for row in questions.rows.encoded]
    renamed = SimpleNamespace(encoded=rows, tokenizer=questions.rows.tokenizer)
    assert attrs.evolve(questions, rows=renamed, wants_texts=True)._key("w") == questions._key("w")
