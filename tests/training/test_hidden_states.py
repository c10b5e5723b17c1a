"""Hidden states as a term of the loss: distances, projection, the teacher's spaces, recipes, and the training."""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path

import attrs
import numpy as np
import pytest
import team_kit
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from kdkit.api.interfaces import FeatureLoss
from kdkit.api.schedules import Schedule
from kdkit.api.values import DenseTargets, FactoredTargets, LabelPlaces, LossParts, Moment, OutputHead, TokenCounts
from kdkit.builtin.codecs.subspace import Subspace
from kdkit.builtin.losses.kd import KD, Features
from kdkit.data.tokens import collate
from kdkit.errors import Mismatch, UsageError
from kdkit.logits.targets import NoTargets
from kdkit.losses import HardLoss, token_counts
from kdkit.losses.alignment import teacher_rows
from kdkit.losses.hidden_states import DISTANCES, linear_projection, with_distance
from kdkit.pipeline.estimate import estimate
from kdkit.plugins.fields import options_of
from kdkit.recipe import load_recipe
from kdkit.system.progress import Silent
from kdkit.testing import check_loss, synthetic_head, synthetic_states
from kdkit.training import Forward
from kdkit.training.feature_setup import helper_of
from kdkit.training.teacher_states import TeacherSpace

WIDTH = 6
LOSS = KD(alpha=0.5, temperature=2.0, features=Features(weight=0.7))


# --- distances and the projection

numbers = st.floats(-10, 10).map(lambda number: round(number, 3))
pairs = st.integers(1, 5).flatmap(lambda width: st.tuples(*[st.lists(numbers, min_size=width, max_size=width)] * 2))


@pytest.mark.parametrize("name", DISTANCES)
@given(pairs)
@settings(deadline=None)
def test_a_distance_is_0_between_equals_and_never_negative(name, pair):
    one_1R, other_1R = (torch.tensor([row], dtype=torch.float64) for row in pair)
    assert float(DISTANCES[name](one_1R, one_1R)) == 0
    assert float(DISTANCES[name](one_1R, other_1R)) >= 0


@given(pairs, st.floats(0.5, 100))
@settings(deadline=None)
def test_the_cosine_distance_is_one_minus_the_cosine_whatever_the_lengths(pair, factor):
    one_R, other_R = map(np.array, pair)
    if min(np.linalg.norm(one_R), np.linalg.norm(other_R)) < 0.01:
        return
    expected = 1 - one_R @ other_R / np.linalg.norm(one_R) / np.linalg.norm(other_R)
    found = DISTANCES["cosine"](torch.tensor(factor * one_R)[None], torch.tensor(other_R)[None])
    assert float(found) == pytest.approx(expected, abs=1e-12)


def test_a_student_that_says_nothing_of_a_teacher_is_about_1_away():
    draw = torch.Generator().manual_seed(0)
    teacher_MR = torch.randn(4000, 16, generator=draw) / 4  # of mean square length 1
    assert float(DISTANCES["mse"](torch.zeros_like(teacher_MR), teacher_MR).mean()) == pytest.approx(1, abs=0.05)
    other_MR = torch.randn(4000, 16, generator=draw)
    assert float(DISTANCES["cosine"](other_MR, teacher_MR).mean()) == pytest.approx(1, abs=0.05)


def test_a_state_of_length_0_has_a_cosine_distance_with_a_bounded_gradient():
    state_MR = torch.zeros(1, 4, requires_grad=True)
    DISTANCES["cosine"](state_MR, torch.ones(1, 4)).sum().backward()
    assert state_MR.grad.isfinite().all()
    assert state_MR.grad.norm() <= 1e3 * 1.001


@pytest.mark.parametrize("size", [0.01, 1.0, 50.0])
def test_the_projection_begins_with_short_states_whatever_the_size_of_the_students(size):
    states_ND = size * torch.randn(500, 64, generator=torch.Generator().manual_seed(1)) + size
    projected_NR = linear_projection(64, 128, seed=3)(states_ND).detach()
    assert float(projected_NR.square().sum(-1).mean()) == pytest.approx(0.01, rel=0.1)


def test_a_distance_that_there_is_not_and_a_weight_below_0_are_refused():
    parts = LossParts(**dict.fromkeys(("total", "hard", "soft"), torch.tensor(0.0)))
    options = {"distance": "mse", "weight": 1.0, "counts": TokenCounts(soft=1)}
    state_MR = torch.zeros(1, 2)
    with pytest.raises(UsageError, match='unknown distance "l1"; available: mse, cosine'):
        with_distance(parts, state_MR, state_MR, **{**options, "distance": "l1"})
    with pytest.raises(UsageError, match="must be at least 0, is -1"):
        with_distance(parts, state_MR, state_MR, **{**options, "weight": -1.0})


def test_without_weight_the_distance_is_told_but_moves_nothing():
    parts = LossParts(**dict.fromkeys(("total", "hard", "soft"), torch.tensor(2.0)))
    projected_MR = torch.full((1, 2), math.inf, requires_grad=True)
    found = with_distance(parts, projected_MR, torch.ones(1, 2), distance="mse", weight=0.0, counts=TokenCounts(soft=1))
    assert float(found.total) == 2.0
    assert float(found.feature) == math.inf
    assert not found.total.requires_grad


# --- the check of losses


@pytest.mark.parametrize(
    "loss",
    [
        LOSS,
        KD(alpha=0.0, features=Features(distance="cosine")),
        KD(features=Features(weight=Schedule(start=1.0, end=0.0))),
    ],
    ids=["mse", "cosine, no soft loss", "schedule"],
)
def test_kd_with_features_keeps_the_promises(loss):
    assert isinstance(loss, FeatureLoss)
    check_loss(loss)


@attrs.frozen(kw_only=True)
class Strange:
    """A stranger's loss of the labels and of states; `fault` is what is wrong with it."""

    fault: str = ""
    needs_states: bool = True

    @property
    def needs_teacher(self):
        return self.fault != "no teacher"

    def __call__(self, student_logits_NV, labels_N, teacher, counts):
        parts = HardLoss()(student_logits_NV, labels_N, None, counts)
        parts = attrs.evolve(parts, soft=torch.zeros_like(parts.hard))
        return attrs.evolve(parts, feature=parts.hard) if self.fault == "feature of its own" else parts

    def projection(self, student_width, teacher_width, *, seed):
        if self.fault == "global seed":
            return torch.nn.Linear(student_width, teacher_width)
        made = linear_projection(student_width, teacher_width, seed=0 if self.fault == "one seed" else seed)
        if self.fault == "other width":
            return torch.nn.Sequential(made, torch.nn.AdaptiveAvgPool1d(2))
        return made.requires_grad_(self.fault != "frozen")

    def with_features(self, parts, projected_MR, teacher_MR, counts):
        if self.fault == "own counts":
            counts = TokenCounts(soft=len(projected_MR))
        if self.fault == "negative":
            teacher_MR = teacher_MR / teacher_MR.norm()
            feature = -(projected_MR * teacher_MR).sum() / counts.soft
            return attrs.evolve(parts, total=parts.total + feature, feature=feature.detach())
        if self.fault == "no teacher states":
            teacher_MR = projected_MR.detach() * 0 + 1
        if self.fault == "detached":
            projected_MR = projected_MR.detach() + 0 * projected_MR
        if self.fault == "hard":
            parts = attrs.evolve(parts, hard=parts.hard + 1)
        found = with_distance(parts, projected_MR, teacher_MR, distance="mse", weight=1.0, counts=counts)
        if self.fault == "dot product":
            extra = (projected_MR * teacher_MR).sum() / counts.soft
            return attrs.evolve(found, total=found.total + extra)
        return found


def test_a_strangers_feature_loss_is_checked_on_what_it_promises():
    check_loss(Strange())


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no teacher", "says that it needs no teacher"),
        ("feature of its own", "must be NaN without hidden states"),
        ("global seed", "torch's own random numbers"),
        ("one seed", "the same projection for another seed"),
        ("other width", "projects 3 states"),
        ("frozen", "is not trained"),
        ("own counts", "states cut at"),
        ("negative", "a distance is never negative|projected states equal"),
        ("no teacher states", "does not depend on the teacher's|equal the teacher's"),
        ("detached", "no gradient"),
        ("hard", "changes the hard loss"),
        ("dot product", "equal the teacher's"),
    ],
)
def test_each_mistake_in_features_is_found(fault, message):
    with pytest.raises(AssertionError, match=message):
        check_loss(Strange(fault=fault))


# --- the teacher's spaces


@attrs.frozen(kw_only=True, eq=False)
class Recorded:
    """A source of coordinates that are a function of the row; of `short` rows the last is missing."""

    vocab_size: int
    seed: int = 0
    short: bool = False
    _shared: dict = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self):
        draw = torch.Generator().manual_seed(self.seed)
        self._shared["basis"] = torch.randn(WIDTH, self.vocab_size, generator=draw)
        self._shared["offset"] = torch.randn(self.vocab_size, generator=draw)

    def count(self, row):
        return len(row.target_ids) - self.short

    def __call__(self, batch):
        lengths_B = (batch.labels_BT != -100).sum(1) - int(self.short)
        coordinates_BTR = torch.zeros(*batch.labels_BT.shape, WIDTH)
        for place, (row_id, length) in enumerate(zip(batch.ids, lengths_B.tolist(), strict=True)):
            draw = torch.Generator().manual_seed(int(row_id.removeprefix("row")))
            coordinates_BTR[place, :length] = torch.randn(length, WIDTH, generator=draw) * 3
        return FactoredTargets(
            coordinates_BTR=coordinates_BTR,
            basis_RV=self._shared["basis"],
            offset_V=self._shared["offset"],
            lengths_B=lengths_B,
        )


def rows_of(targets):
    """All rows of some targets, as the teacher's rows of as many labels."""
    labels_BT = torch.zeros(len(targets.lengths_B), targets.width, dtype=torch.int64)
    return teacher_rows(targets, LabelPlaces.of(labels_BT))


def subspace_targets(head, *, sample_seed, records, offset=0.0):
    """What two captures of one teacher make of the same states."""
    codec = Subspace(step=0.01)
    bound = codec.bind(codec.fit_head(head, [synthetic_states(80, head.weight_VD.shape[1], seed=sample_seed)]))
    blocks = [synthetic_states(5, head.weight_VD.shape[1], seed=seed) for seed in records]
    moved = [attrs.evolve(block, states_TD=block.states_TD + np.float32(offset)) for block in blocks]
    payloads = [(bound.encode_states(block), 5) for block in moved]
    return bound.targets(payloads, vocab_size=len(head.weight_VD), device="cpu")


@pytest.mark.parametrize("bias", [False, True])
def test_coordinates_of_another_capture_become_those_of_the_first(bias):
    head = synthetic_head(300, 8)
    if bias:
        head = OutputHead(weight_VD=head.weight_VD, bias_V=np.linspace(-3, 3, 300, dtype=np.float32) ** 2)
    first = subspace_targets(head, sample_seed=100, records=(1, 2))
    other = subspace_targets(head, sample_seed=200, records=(1, 2))
    assert not torch.allclose(first.coordinates_BTR, other.coordinates_BTR, atol=0.1)
    space = TeacherSpace.of(first)
    states_MR = space.states(rows_of(first))
    assert torch.equal(states_MR, first.coordinates_BTR.reshape(-1, 8))
    torch.testing.assert_close(space.states(rows_of(other)), states_MR, atol=0.05, rtol=0)
    # As a cache joins both in one batch: coordinates of each, and a 1 for its offset.
    zeros, ones = torch.zeros(2, 5, 8), torch.ones(2, 5, 1)
    joint = FactoredTargets(
        coordinates_BTR=torch.cat(
            [
                torch.cat([first.coordinates_BTR, zeros, ones, 0 * ones], dim=-1),
                torch.cat([zeros, other.coordinates_BTR, 0 * ones, ones], dim=-1),
            ]
        ),
        basis_RV=torch.cat([first.basis_RV, other.basis_RV, first.offset_V[None], other.offset_V[None]]),
        offset_V=torch.zeros(300),
        lengths_B=torch.tensor([5, 5, 5, 5]),
    )
    for _ in range(2):  # the second time the map is known
        torch.testing.assert_close(space.states(rows_of(joint)), states_MR.repeat(2, 1), atol=0.05, rtol=0)


def test_states_that_the_first_space_does_not_hold_are_refused():
    first = subspace_targets(synthetic_head(300, 8), sample_seed=1, records=(1,))
    flipped = synthetic_head(300, 8)
    stranger = subspace_targets(attrs.evolve(flipped, weight_VD=flipped.weight_VD[::-1].copy()), sample_seed=1, records=(1,))  # fmt: skip
    with pytest.raises(Mismatch, match=r"outside the space of the first row's.*store\.dir"):
        TeacherSpace.of(first).states(rows_of(stranger))


def test_targets_that_are_no_coordinates_are_refused_with_the_codec_to_take():
    dense = DenseTargets(logits_BTV=torch.zeros(1, 2, 5), lengths_B=torch.tensor([2]))
    with pytest.raises(Mismatch, match=r'set codec\.name = "subspace", or leave loss\.features out'):
        TeacherSpace.of(dense)


# --- what a training makes before its first step


def helper_for(student, targets, rows=None, *, loss=LOSS, seed=5):
    rows = rows if rows is not None else tiny.encoded(12)[1]
    return helper_of(loss, student, rows, targets, seed=seed, device="cpu")


def test_a_helper_scales_the_teachers_states_to_a_mean_square_length_of_1():
    student = tiny.model()
    rows, targets = tiny.encoded(12)[1], Recorded(vocab_size=student.vocab_size, short=True)
    helper = helper_for(student, targets, rows)
    batch = collate(rows, pad_id=0)
    states_MR = helper.space.states(teacher_rows(targets(batch), batch.places)) * helper.scale
    assert len(states_MR) == sum(map(targets.count, rows))
    assert float(states_MR.square().sum(-1).mean()) == pytest.approx(1, rel=1e-5)


def test_a_helper_is_a_function_of_the_seed_and_disturbs_nothing():
    student = tiny.model(dropout_rate=0.5)
    student.module.train()
    targets, before = Recorded(vocab_size=student.vocab_size), torch.get_rng_state()
    one, same, other = (helper_for(student, targets, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert student.module.training
    weights = [torch.nn.utils.parameters_to_vector(each.projection.parameters()) for each in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert one.scale == same.scale == other.scale


@pytest.mark.parametrize("loss", [HardLoss(), KD(), KD(features=Features(weight=0.0))], ids=["hard", "kd", "no weight"])
def test_a_loss_that_compares_no_states_gets_no_helper(loss):
    assert helper_for(tiny.model(), NoTargets(), loss=loss) is None


def test_a_student_without_a_linear_head_is_refused():
    student = tiny.model()

    class Capped(type(student)):
        def logits(self, batch):
            return 2 * torch.tanh(super().logits(batch))

    capped = Capped(module=student.module, tokenizer=student.tokenizer)
    with pytest.raises(UsageError, match="the student has none to compare: its logits are not a linear function"):
        helper_for(capped, Recorded(vocab_size=student.vocab_size))


# --- a step


def gradients(*modules):
    return [
        (name, parameter.grad.clone())
        for module in modules
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    ]


def step(student, helper, targets, batches, counts, *, loss=LOSS, chunk):
    """Sums of the parts, and all gradients."""
    student.module.zero_grad()
    helper.projection.zero_grad()
    forward = Forward.of(student)
    found = [forward(batch, targets(batch)).backward(loss, counts, helper=helper, chunk=chunk) for batch in batches]
    names = [field.name for field in attrs.fields(LossParts)]
    return {name: sum(float(getattr(parts, name)) for parts in found) for name in names}, gradients(
        student.module, helper.projection
    )


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("short", [False, True])
@given(data=st.data())
@settings(max_examples=5, deadline=None)
def test_chunks_and_micro_batches_add_up_to_the_loss_and_its_gradients(distance, short, data):
    student = tiny.model()
    rows, targets = tiny.encoded(5)[1], Recorded(vocab_size=student.vocab_size, short=short)
    loss = attrs.evolve(LOSS, features=Features(distance=distance, weight=0.7))
    helper = helper_for(student, targets, rows, loss=loss)
    whole = collate(rows, pad_id=student.tokenizer.pad_token_id)
    counts = token_counts(whole.labels_BT, targets(whole))
    expected = step(student, helper, targets, [whole], counts, loss=loss, chunk=1000)

    cut, chunk = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 9))
    batches = [collate(part, pad_id=student.tokenizer.pad_token_id) for part in (rows[:cut], rows[cut:])]
    found = step(student, helper, targets, batches, counts, loss=loss, chunk=chunk)
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert [name for name, _ in found[1]] == [name for name, _ in expected[1]]
    for (name, one), (_, other) in zip(found[1], expected[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_term_is_that_of_its_formula_and_reaches_student_and_projection(distance):
    student = tiny.model()
    rows, targets = tiny.encoded(4)[1], Recorded(vocab_size=student.vocab_size)
    loss = attrs.evolve(LOSS, features=Features(distance=distance, weight=0.7))
    helper = helper_for(student, targets, rows, loss=loss)
    batch = collate(rows, pad_id=student.tokenizer.pad_token_id)
    counts = token_counts(batch.labels_BT, targets(batch))
    parts, grads = step(student, helper, targets, [batch], counts, loss=loss, chunk=5)

    plain = KD(alpha=0.5, temperature=2.0)
    without = Forward.of(student)(batch, targets(batch))
    student.module.zero_grad()
    plain_parts = without.backward(plain, counts)
    plain_grads = dict(gradients(student.module))
    coordinates_MR = targets(batch).coordinates_BTR[batch.labels_BT != -100]
    scaled_MR = coordinates_MR / coordinates_MR.square().sum(-1).mean().sqrt()
    distances = DISTANCES[distance](helper.projection(without.rows_NX), scaled_MR).detach()
    assert parts["feature"] == pytest.approx(float(distances.mean()), rel=1e-5)
    assert parts["total"] == pytest.approx(float(plain_parts.total) + 0.7 * parts["feature"], rel=1e-5)
    assert math.isnan(float(plain_parts.feature))
    assert {name for name, grad in grads if grad.abs().max() > 0} >= {"1.weight", "1.bias"}
    moved = [name for name, grad in grads if name in plain_grads and not torch.equal(grad, plain_grads[name])]
    assert any("decoder" in name for name in moved)


def test_a_batch_without_a_teacher_row_adds_no_distance():
    student = tiny.model()
    targets = Recorded(vocab_size=student.vocab_size)
    helper = helper_for(student, targets)
    batch = collate(tiny.encoded(2)[1], pad_id=student.tokenizer.pad_token_id)
    none = attrs.evolve(targets(batch), lengths_B=torch.zeros(2, dtype=torch.int64))
    counts = token_counts(batch.labels_BT, none)
    parts, grads = step(student, helper, lambda _: none, [batch], counts, chunk=4)
    assert parts["feature"] == 0
    assert all(grad.isfinite().all() for _, grad in grads)
    assert all(not grad.any() for name, grad in grads if name in {"1.weight", "1.bias"})


# --- recipes and plans


def recipe_with(tmp_path, *, codec="subspace", **loss):
    return load_recipe({**tiny.recipe_table(tmp_path), "loss": {"name": "kd", **loss}, "codec": {"name": codec}})


def test_a_recipe_asks_for_features_with_a_table(tmp_path):
    recipe = recipe_with(tmp_path, features={"distance": "cosine", "weight": {"start": 1, "end": 0}})
    assert recipe.loss.features == Features(distance="cosine", weight=Schedule(start=1.0, end=0.0))
    assert recipe_with(tmp_path, features={}).loss.features == Features()
    assert load_recipe({**tiny.recipe_table(tmp_path), "loss": recipe.resolved["loss"]}).loss == recipe.loss
    assert recipe_with(tmp_path).loss.features is None
    features = {option.name: option for option in options_of(KD)}["features"]
    assert [option.name for option in features.nested] == ["distance", "weight"]


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"distance": "l2"}, r'loss\.features\.distance: must be "mse" or "cosine", is "l2"'),
        ({"weight": -1}, r"loss\.features\.weight: must be at least 0, is -1"),
        ({"weight": {"epochs": [1, -1]}}, r"loss\.features\.weight: must be at least 0, is -1"),
        ({"size": 3}, r"loss\.features\.size: is not an option"),
        ("mse", r"loss\.features: must be a table"),
    ],
)
def test_what_is_no_feature_term_is_refused_where_it_stands(tmp_path, features, message):
    with pytest.raises(UsageError, match=message):
        recipe_with(tmp_path, features=features)


def test_features_follow_their_schedule_and_need_a_teacher_even_without_a_soft_loss():
    loss = KD(alpha=0.0, features=Features(weight=Schedule(epochs=(1.0, 0.0))))
    assert loss.needs_teacher
    assert loss.needs_states
    assert loss.at(Moment(share=0.0, epoch=0)) == KD(alpha=0.0, features=Features(weight=1.0))
    assert not loss.at(Moment(share=1.0, epoch=1)).needs_states
    parts = LossParts(**dict.fromkeys(("total", "hard", "soft"), torch.tensor(2.0)))
    with pytest.raises(UsageError, match="follows a schedule; first call its `at`"):
        loss.with_features(parts, torch.zeros(1, 2), torch.zeros(1, 2), TokenCounts(soft=1))


@pytest.mark.parametrize(
    ("codec", "features", "said"),
    [
        ("subspace", {}, ""),
        ("u8-lz4", {}, 'loss.features compares hidden states, but the codec "u8-lz4" does not keep the teacher\'s; set codec'),
        ("topk", {}, 'loss.features compares hidden states, but the codec "topk" does not'),
        ("topk", {"weight": 0.0}, ""),
        ("subspace", {"weight": {"epochs": [1, 0.5, 0]}}, "loss.features.weight.epochs has 3 values, but"),
    ],
)  # fmt: skip
def test_what_does_not_go_with_features_is_refused_before_anything_is_done(tmp_path, codec, features, said):
    recipe = recipe_with(tmp_path, codec=codec, features=features, temperature=1.0)
    corpus = recipe.data.load(Silent())
    if not said:
        estimate(recipe, corpus)
        return
    with pytest.raises(UsageError) as refusal:
        estimate(recipe, corpus)
    assert str(refusal.value).startswith(said)


# --- the training


def trainer(folder, *, loss=LOSS, **options):
    made = tiny.trainer(folder, **{"accumulation": 2, "checkpoint_every": 1, **options})
    made.loss, made.targets = loss, Recorded(vocab_size=made.model.vocab_size)
    return made


def train_apart(folder, *, at=None):
    return tiny._apart(_train, str(folder), folder.parent / f"{folder.name}.log", at, signal.SIGKILL)


def _train(folder):
    trainer(Path(folder)).fit()


def tensors_of(folder):
    return {name: load_file(path / "tensors.safetensors") for path in (folder / "student").glob("*/*/") for name in [path.name]}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training of two epochs that nothing disturbs."""
    folder = tmp_path_factory.mktemp("features") / "whole"
    folder.mkdir()
    code, said = train_apart(folder)
    assert code == 0, said
    return folder


@pytest.mark.parametrize(
    "moment",
    [
        ("kdkit.training.loop:Trainer._step", 3),
        ("kdkit.training.tokenloss:StudentTokens.backward", 8),
    ],
    ids=["in an epoch", "in an accumulation"],
)
def test_a_training_with_features_that_is_killed_goes_on_to_the_same_bits(moment, whole, tmp_path):
    code, said = train_apart(tmp_path, at=moment)
    assert code == -9, said
    code, said = train_apart(tmp_path)
    assert code == 0, said
    assert tiny.weights(tmp_path / "student" / "final") == tiny.weights(whole / "student" / "final")
    one, other = tensors_of(tmp_path), tensors_of(whole)
    assert one.keys() == other.keys()
    for step_name, tensors in one.items():
        assert tensors.keys() == other[step_name].keys()
        assert any("projection" in name for name in tensors)
        for name, array in tensors.items():
            assert array.tobytes() == other[step_name][name].tobytes(), f"{step_name}: {name}"
    lines = [[{**line, "tokens_per_second": 0} for line in tiny.metrics(folder)] for folder in (tmp_path, whole)]
    assert lines[0] == lines[1]


def test_the_projection_learns_is_logged_and_is_no_part_of_the_student(whole):
    logged = [line["feature"] for line in tiny.metrics(whole)]
    assert len(logged) == 6
    assert logged[0] == pytest.approx(1, abs=0.3)  # as the documentation says
    assert logged[-1] < logged[0]
    assert all("feature" not in line for line in tiny.metrics(whole, kind="validation"))
    checkpoints = tensors_of(whole)
    weights = [tensors["parameter.projection.1.weight"] for _, tensors in sorted(checkpoints.items())]
    assert not np.array_equal(weights[0], weights[-1])
    plain = set(tiny.model().module.state_dict())
    for name in ("best", "final"):
        folder = whole / "student" / name
        assert set(load_file(folder / "model.safetensors")) <= plain
        assert not any("projection" in path.name for path in folder.iterdir())


def _one_of_two(arguments):
    from kdkit.system.launcher import join

    folder, fsdp = arguments
    if fsdp:
        os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
    made = without_noise(Path(folder))
    made.team = join()
    try:
        made.fit()
    except UsageError as error:
        print(f"refused: {error}")


def without_noise(folder):
    return trainer(folder, training_model=tiny.model(dropout_rate=0.0), rows=11, drop_last=False, epochs=1)


def test_two_processes_take_the_steps_of_one(tmp_path):
    without_noise(tmp_path / "one").fit()
    for code, said in team_kit.together(_one_of_two, (str(tmp_path / "two"), False), tmp_path / "logs"):
        assert code == 0, said
    ours, theirs = (tiny.metrics(tmp_path / name) for name in ("two", "one"))
    assert len(ours) == len(theirs) == 2
    for one, other in zip(ours, theirs, strict=True):
        for name in ("loss", "hard", "soft", "feature", "grad_norm"):
            assert one[name] == pytest.approx(other[name], rel=1e-5), (one["step"], name)
    one, other = (tensors_of(tmp_path / name)["step-00000002"] for name in ("two", "one"))
    assert one.keys() == other.keys()
    # Two processes add in another order, and Adam's first steps are the signs of gradients.
    key = "parameter.projection.1.weight"
    assert np.corrcoef(one[key].ravel(), other[key].ravel())[0, 1] > 0.9999


@pytest.mark.slow
def test_a_student_that_is_spread_over_processes_is_refused(tmp_path):
    for code, said in team_kit.together(_one_of_two, (str(tmp_path / "two"), True), tmp_path / "logs"):
        assert code == 0, said
        assert "refused: the loss compares hidden states, which are not available under FSDP" in said


def test_a_training_without_features_logs_none(tmp_path):
    trainer(tmp_path, loss=KD(), epochs=1).fit()
    assert all("feature" not in line for line in tiny.metrics(tmp_path))


def test_a_loss_without_weight_for_features_trains_as_one_without_features(tmp_path):
    """The term is there, its weight is 0 in every step that is taken."""
    schedule = Schedule(epochs=(0.0, 1.0))
    for name, features in (("with", Features(weight=schedule)), ("without", None)):
        trainer(tmp_path / name, loss=KD(features=features), epochs=1).fit()
    assert tiny.weights(tmp_path / "with" / "student" / "final") == tiny.weights(tmp_path / "without" / "student" / "final")  # fmt: skip
    assert all(math.isfinite(line["feature"]) for line in tiny.metrics(tmp_path / "with"))


def test_the_projections_gradient_does_not_shrink_the_students(tmp_path):
    from kdkit.system.team import ALONE
    from kdkit.training.replicas import Replicas

    model, helper = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    for parameter, size in ((model.weight, 0.1), (helper.weight, 100.0)):
        parameter.grad = torch.full((2, 2), size)
    norm = Replicas(team=ALONE, modules=(model, helper)).clip(1.0)
    assert float(norm) == pytest.approx(0.2)
    assert torch.equal(model.weight.grad, torch.full((2, 2), 0.1))
    assert float(helper.weight.grad.norm()) == pytest.approx(1.0, rel=1e-4)
    helper.weight.grad[0, 0] = math.inf
    assert not math.isfinite(float(Replicas(team=ALONE, modules=(model, helper)).clip(1.0)))


def test_a_run_with_features_compares_the_states_that_its_cache_holds(tmp_path):
    loss = {"name": "kd", "features": {"distance": "cosine", "weight": {"start": 1.0, "end": 0.5}}}
    report = tiny.run_here(tmp_path, loss=loss, codec={"name": "subspace"}, **tiny.NO_TEXTS)
    lines = tiny.metrics(report.run_dir)
    assert lines[-1]["feature"] < lines[0]["feature"]
    assert "Student: distance of hidden states" in (report.run_dir / "report.html").read_text()
    assert "features.distance cosine, features.weight from 1 to 0.5" in (report.run_dir / "report.md").read_text()
