"""Temperature and alpha that change in the course of a training: values, recipes, the loop, and what is refused."""

from __future__ import annotations

import attrs
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdkit import plugins as plugin_loading
from kdkit.api.schedules import Schedule
from kdkit.api.values import END, Moment, TokenCounts
from kdkit.builtin.losses.kd import KD
from kdkit.errors import UsageError
from kdkit.losses import HardLoss, loss_at
from kdkit.pipeline.estimate import estimate
from kdkit.plugins.fields import options_of
from kdkit.recipe import load_recipe
from kdkit.recipe.schema import json_schema
from kdkit.system.progress import Silent

numbers = st.floats(0.01, 100)


@given(numbers, numbers, st.floats(0, 1))
def test_a_line_begins_at_its_start_ends_at_its_end_and_stays_between_them(start, end, share):
    line = Schedule(start=start, end=end)
    assert line.at(Moment(share=0.0, epoch=0)) == start
    assert line.at(END) == line.at(Moment(share=1.0, epoch=2)) == end
    slack = 1e-12 * max(start, end)
    assert min(start, end) - slack <= line.at(Moment(share=share, epoch=0)) <= max(start, end) + slack


@given(numbers, st.floats(0, 1))
def test_a_line_that_goes_nowhere_is_a_constant_to_the_bit(value, share):
    line = Schedule(start=value, end=value)
    assert line.at(Moment(share=share, epoch=0)) == value
    assert KD(temperature=line).temperatures == (value,)


def test_a_list_has_a_value_an_epoch_and_the_last_from_then_on():
    steps = Schedule(epochs=(4.0, 2.0, 1.0))
    assert [steps.at(Moment(share=0.5, epoch=epoch)) for epoch in range(5)] == [4.0, 2.0, 1.0, 1.0, 1.0]
    assert steps.at(END) == 1.0


@pytest.mark.parametrize("fields", [{}, {"start": 1.0}, {"end": 1.0}, {"start": 1.0, "end": 2.0, "epochs": (1.0,)}])
def test_a_schedule_is_a_line_or_a_list(fields):
    with pytest.raises(ValueError, match="needs start and end, or epochs alone"):
        Schedule(**fields)


def test_the_loss_of_a_step_is_a_loss_of_numbers():
    loss = KD(alpha=Schedule(start=1.0, end=0.0), temperature=Schedule(epochs=(4.0, 1.0)), divergence="reverse-kl")
    assert loss.at(Moment(share=0.25, epoch=0)) == KD(alpha=0.75, temperature=4.0, divergence="reverse-kl")
    assert loss_at(loss, END) == KD(alpha=0.0, temperature=1.0, divergence="reverse-kl")
    assert loss_at(HardLoss(), END) == HardLoss()
    with pytest.raises(UsageError, match="follows a schedule; first call its `at`"):
        loss(torch.zeros(1, 4), torch.tensor([1]), None, TokenCounts(hard=1))


@pytest.mark.parametrize(
    ("alpha", "needed"),
    [
        (0.0, False),
        (Schedule(start=0.0, end=0.0), False),
        (Schedule(epochs=(0.0, 0.0)), False),
        (Schedule(start=0.0, end=1.0), True),
        (Schedule(epochs=(0.5, 0.0)), True),
    ],
)
def test_only_alpha_0_throughout_needs_no_teacher(alpha, needed):
    assert KD(alpha=alpha).needs_teacher == needed


# --- recipes


def loss_of(tmp_path, **loss):
    return load_recipe({**tiny.recipe_table(tmp_path), "loss": {"name": "kd", **loss}})


def test_a_recipe_gives_a_number_a_line_or_a_list(tmp_path):
    recipe = loss_of(tmp_path, alpha={"start": 1, "end": 0.5}, temperature={"epochs": [4.0, 2]})
    assert recipe.loss == KD(alpha=Schedule(start=1.0, end=0.5), temperature=Schedule(epochs=(4.0, 2.0)))
    assert recipe.resolved["loss"]["alpha"] == {"start": 1.0, "end": 0.5, "epochs": []}
    assert load_recipe({**tiny.recipe_table(tmp_path), "loss": recipe.resolved["loss"]}).loss == recipe.loss
    assert loss_of(tmp_path, alpha=1).loss.alpha == 1.0


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ({"alpha": {"start": 1.0, "end": -0.5}}, r"loss\.alpha: must be at least 0, is -0\.5"),
        ({"alpha": {"epochs": [0.5, 1.5]}}, r"loss\.alpha: must be at most 1, is 1\.5"),
        ({"temperature": {"start": 4.0}}, r"loss\.temperature: needs start and end, or epochs alone"),
        ({"temperature": {"stop": 4.0}}, r"loss\.temperature\.stop: is not an option of \[loss\.temperature\]"),
        ({"temperature": {"epochs": [1.0, 0.0]}}, r"loss\.temperature: must be greater than 0, is 0"),
        ({"temperature": "warm"}, r'loss\.temperature: must be a number, is "warm"'),
        ({"beta": 0.3}, r'loss\.beta: is an option of the divergence "jensen-shannon"; "forward-kl" does not have it'),
        (
            {"divergence": "skew-reverse-kl", "beta": 0.3},
            r'loss\.beta: is an option of the divergence "jensen-shannon"; "skew-reverse-kl" does not have it',
        ),
        (
            {"divergence": "jensen-shannon", "beta": 0.0},
            r'loss\.beta: must be greater .* is 0; use the divergence "forward-kl" for 0 and "reverse-kl" for 1',
        ),
        (
            {"divergence": "skew-reverse-kl", "skew": 0.0},
            r'loss\.skew: must be greater .* is 0; use the divergence "reverse-kl" for 0',
        ),
        ({"divergence": "jensen", "beta": 0.5}, r'loss\.divergence: must be .*did you mean "jensen-shannon"\?'),
    ],
)
def test_what_is_no_schedule_or_no_parameter_is_refused_where_it_stands(tmp_path, loss, message):
    with pytest.raises(UsageError, match=message):
        loss_of(tmp_path, **loss)


def test_an_option_that_may_follow_a_schedule_says_so():
    alpha = {option.name: option for option in options_of(KD)}["alpha"]
    assert (alpha.type, alpha.default, alpha.minimum, alpha.maximum) == ("number or table", 0.5, 0.0, 1.0)
    assert [option.name for option in alpha.nested] == ["start", "end", "epochs"]


def test_the_schema_knows_numbers_and_schedules():
    loss = json_schema(plugin_loading.load())["else"]["properties"]["loss"]
    (case,) = [case for case in loss["allOf"] if case["if"]["properties"]["name"] == {"const": "kd"}]
    number, table = case["then"]["properties"]["alpha"]["anyOf"]
    assert number == {"type": "number", "minimum": 0.0, "maximum": 1.0}
    assert set(table["properties"]) == {"start", "end", "epochs"}


# --- plans


def refusal(tmp_path, codec, **loss):
    recipe = load_recipe({**tiny.recipe_table(tmp_path), "loss": {"name": "kd", **loss}, "codec": codec})
    corpus = recipe.data.load(Silent())
    try:
        estimate(recipe, corpus)
    except UsageError as error:
        return str(error)
    return ""


TOPK = {"name": "topk", "k": 4, "temperatures": [1, 4]}


@pytest.mark.parametrize(
    ("codec", "loss", "said"),
    [
        (TOPK, {"temperature": {"epochs": [4.0, 1.0]}}, ""),
        (TOPK, {"temperature": {"start": 4.0, "end": 4.0}}, ""),
        (TOPK, {"temperature": {"epochs": [4.0, 2.0]}}, "loss.temperature is 2, but the codec keeps"),
        (TOPK, {"temperature": {"start": 4.0, "end": 1.0}}, "loss.temperature changes along a line, but the codec keeps"),
        (TOPK, {"temperature": {"start": 4.0, "end": 1.0}, "alpha": {"start": 0, "end": 0}}, ""),
        (TOPK, {"divergence": "reverse-kl"}, ""),
        ({"name": "float"}, {"temperature": {"start": 4.0, "end": 1.0}}, ""),
        ({"name": "sampled"}, {"divergence": "forward-kl"}, ""),
        ({"name": "sampled"}, {"divergence": "reverse-kl"}, 'codec.name is "sampled", which keeps samples'),
        ({"name": "sampled"}, {"divergence": "jensen-shannon"}, 'codec.name is "sampled", which keeps samples'),
        ({"name": "sampled"}, {"divergence": "reverse-kl", "alpha": 0.0}, ""),
        ({"name": "float"}, {"alpha": {"epochs": [1, 0.5, 0]}}, "loss.alpha.epochs has 3 values, but training.epochs is 2"),
    ],
)  # fmt: skip
def test_what_a_codec_cannot_give_is_refused_before_anything_is_done(tmp_path, codec, loss, said):
    found = refusal(tmp_path, codec, **loss)
    assert found.startswith(said)
    assert bool(found) == bool(said)


# --- the loop


@attrs.frozen
class Watched:
    """A hard loss that notes for which moments it is asked."""

    moments: list[Moment] = attrs.field(factory=list)

    __call__ = HardLoss.__call__

    @property
    def needs_teacher(self):
        return False

    def at(self, moment):
        self.moments.append(moment)
        return HardLoss()


def test_the_loop_says_where_it_is_from_the_first_step_to_the_last(tmp_path):
    trainer = tiny.trainer(tmp_path, epochs=2)
    trainer.loss = Watched()
    trainer.fit()
    moments = trainer.loss.moments
    assert [moment.share for moment in moments] == pytest.approx([step / 11 for step in range(12)])
    assert moments[-1].share == 1.0
    assert [moment.epoch for moment in moments] == [0] * 6 + [1] * 6


def test_a_run_with_schedules_trains_by_them_and_judges_by_their_end(tmp_path):
    """alpha 1 in the first epoch and 0 in the second: the training loss is soft, then hard; validation is hard."""
    tiny.run_here(
        tmp_path,
        loss={"name": "kd", "alpha": {"epochs": [1.0, 0.0]}, "temperature": {"start": 4.0, "end": 1.0}},
        **tiny.NO_TEXTS,
    )
    folder = tmp_path / "runs" / "tiny"
    for line in tiny.metrics(folder):
        assert line["loss"] == pytest.approx(line["soft" if line["epoch"] <= 1 else "hard"], rel=1e-6)
    for line in tiny.metrics(folder, kind="validation"):
        assert line["loss"] == pytest.approx(line["hard"], rel=1e-6)
        assert line["soft"] is not None
    assert "alpha 1, then 0, temperature from 4 to 1\n" in (folder / "report.md").read_text()
