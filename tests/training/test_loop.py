from __future__ import annotations

import itertools
import json
import math
import os
import random
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from kdkit.api.options import Training
from kdkit.api.values import DenseTargets, EncodedExample
from kdkit.builtin.losses.kd import KD
from kdkit.data.tokens import collate
from kdkit.errors import Interrupted, KdkitError
from kdkit.evaluation.losses import loss_means, loss_samples, row_losses
from kdkit.losses import token_counts
from kdkit.system.signals import Stop
from kdkit.training import Forward, MetricsLog, Trainer, checkpoint
from kdkit.training.replicas import Replicas, noise_seed
from kdkit.training.schedule import learning_rate

CURVE = Path(__file__).with_name("loss_curve.txt")
LOOP = "kdkit.training.loop:Trainer."
# Two epochs of six micro-batches, three steps each: every kind of moment comes up.
OPTIONS = {"accumulation": 2, "checkpoint_every": 1, "rows": 24}


# --- learning rate


@given(st.integers(1, 300), st.floats(0, 1), st.sampled_from(["linear", "cosine", "constant"]))
@settings(max_examples=50, deadline=None)
def test_the_learning_rate_is_that_of_transformers_own_schedules(total, warmup, schedule):
    import transformers

    options = Training(learning_rate=0.3, warmup_ratio=warmup, schedule=schedule)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    steps = {"num_warmup_steps": int(warmup * total)}
    if schedule != "constant":
        steps["num_training_steps"] = total
    name = f"get_{schedule}_schedule_with_warmup"
    theirs = getattr(transformers, name)(optimizer, **steps)
    for step in range(total):
        assert learning_rate(step, total, options) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9, abs=1e-12)
        optimizer.step()
        theirs.step()


def test_the_rate_that_is_logged_is_the_rate_of_that_step(tmp_path):
    tiny.trainer(tmp_path, epochs=1).fit()
    options = Training(learning_rate=5e-3)
    assert [line["learning_rate"] for line in tiny.metrics(tmp_path)] == [
        learning_rate(step, 6, options) for step in range(6)
    ]


# --- one way to the end, however often it is cut


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    code, said = tiny.train_apart(folder, log=folder / "log", **OPTIONS)
    assert code == 0, said
    return folder


def assert_same(folder: Path, whole: Path):
    for name in ("best", "final"):
        assert tiny.weights(folder / "student" / name) == tiny.weights(whole / "student" / name), name
    timeless = [
        [{**json.loads(line), "tokens_per_second": None} for line in (place / "metrics.jsonl").read_text().splitlines()]
        for place in (folder, whole)
    ]
    assert timeless[0] == timeless[1]
    assert sorted(path.name for path in (folder / "student").iterdir()) == ["best", "checkpoints", "final"]


MOMENTS = {
    "before the first step": [(LOOP + "_step", 1)],
    "in the middle of an epoch": [(LOOP + "_step", 3)],
    "in the middle of an accumulation": [("kdkit.training.loading:Loader.__call__", 8)],
    "before the optimizer's step": [("kdkit.training.replicas:Replicas.clip", 5)],
    "between step and log line": [("kdkit.training.step_log:StepLog.close", 4)],
    "while tensors are written": [("kdkit.training.checkpoint:file_digest", 1)],
    "before a checkpoint's marker": [("kdkit.training.checkpoint:write_json", 3)],
    "while old checkpoints go": [("kdkit.training.checkpoint:delete", 1)],
    "in validation": [("kdkit.evaluation.losses:row_losses", 1)],
    "between best and its log line": [("kdkit.training.metrics_log:MetricsLog.write", 4)],
    "between the epochs": [(LOOP + "_save", 3)],
    "while best is written": [("kdkit.models.open_model:quiet", 1)],
    "while best is replaced": [("kdkit.models.open_model:delete", 1)],
    "before final": [("kdkit.models.seq2seq:Seq2SeqModel.save", 3)],
    "again and again": [
        (LOOP + "_step", 2),
        ("kdkit.training.replicas:Replicas.clip", 2),
        (LOOP + "_save", 1),
        ("kdkit.training.loop:epoch_order", 1),
    ],
}


@pytest.mark.parametrize("moments", MOMENTS.values(), ids=MOMENTS)
def test_a_training_that_is_killed_and_started_again_ends_with_the_same_bits(moments, whole, tmp_path):
    for moment in moments:
        code, said = tiny.train_apart(tmp_path, at=moment, log=tmp_path / "log", **OPTIONS)
        assert code == -9, said
    code, said = tiny.train_apart(tmp_path, log=tmp_path / "log", **OPTIONS)
    assert code == 0, said
    assert_same(tmp_path, whole)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_kill_at_any_moment_changes_nothing(seed, whole, tmp_path):
    """Wall-clock moments, which no list thinks of."""
    draw = random.Random(seed)
    for _ in range(50):
        process = tiny.start(tiny._train, (str(tmp_path), OPTIONS), tmp_path / "log")
        process.join(draw.uniform(0.05, 0.7))
        if process.exitcode is None:
            process.kill()
            process.join()
        elif process.exitcode == 0:
            break
    code, said = tiny.train_apart(tmp_path, log=tmp_path / "log", **OPTIONS)
    assert code == 0, said
    assert_same(tmp_path, whole)


def test_a_signal_in_the_middle_of_an_epoch_saves_and_says_where(tmp_path, whole):
    assert_stops_and_goes_on(tmp_path, whole, LOOP + "_step", 2, "saved a checkpoint of the student at step 2 of 6")


def test_a_signal_in_validation_does_not_wait_for_its_end(tmp_path, whole):
    name = "kdkit.evaluation.losses:row_losses"
    assert_stops_and_goes_on(tmp_path, whole, name, 1, "saved a checkpoint of the student at step 3 of 6")


def test_a_signal_just_before_validation_does_not_wait_for_its_end_either(tmp_path, whole):
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, LOOP + "_finish_epoch", 1)
        patch.setattr("kdkit.evaluation.losses.row_losses", lambda *_, **__: pytest.fail("it is validated"))
        with pytest.raises(Interrupted, match="saved a checkpoint of the student at step 3 of 6"):
            tiny.trainer(tmp_path, **OPTIONS).fit()
    code, said = tiny.train_apart(tmp_path, log=tmp_path / "log", **OPTIONS)
    assert code == 0, said
    assert_same(tmp_path, whole)


def test_a_signal_while_the_last_checkpoint_is_written_is_heard(tmp_path, whole):
    assert_stops_and_goes_on(tmp_path, whole, LOOP + "_save", 6, "saved a checkpoint of the student at step 6 of 6")


def test_a_closed_terminal_that_nohup_ignores_stops_nothing(tmp_path, monkeypatch, whole):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr(*tiny.signalling(LOOP + "_step", 2, signal.SIGHUP))
        tiny.trainer(tmp_path, **OPTIONS).fit()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert_same(tmp_path, whole)


def test_a_signal_that_comes_while_processes_agree_is_heard_the_next_time():
    stop = Stop()

    class Team:
        size = 2

        def greatest(self, values):
            stop.ask(signal.SIGTERM)  # after this process has said that there is none

    replicas = Replicas(team=Team(), modules=())
    assert not replicas.agree(stop)
    assert stop.signal == signal.SIGTERM
    assert replicas.agree(stop)


def test_validation_is_no_time_of_training(tmp_path):
    def slow():
        time.sleep(1.5)
        return {"loss": 1.0}

    trained = tiny.trainer(tmp_path)
    trained.validate = slow
    trained.fit()
    assert min(line["tokens_per_second"] for line in tiny.metrics(tmp_path)) > 100


def test_a_kill_after_the_validation_that_a_signal_put_off_repeats_no_line(tmp_path, whole):
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, "kdkit.evaluation.losses:row_losses", 1)
        with pytest.raises(Interrupted):
            tiny.trainer(tmp_path, **OPTIONS).fit()
    code, _ = tiny.train_apart(tmp_path, at=(LOOP + "_save", 1), log=tmp_path / "log", **OPTIONS)
    assert code == -9
    code, said = tiny.train_apart(tmp_path, log=tmp_path / "log", **OPTIONS)
    assert code == 0, said
    assert_same(tmp_path, whole)


def interrupt_at(patch, name, call) -> None:
    patch.setattr(*tiny.signalling(name, call, signal.SIGINT))


def assert_stops_and_goes_on(folder, whole, name, call, sentence):
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, name, call)
        with pytest.raises(Interrupted, match=sentence) as error:
            tiny.trainer(folder, **OPTIONS).fit()
    assert error.value.signal_exit_code == 130
    code, said = tiny.train_apart(folder, log=folder / "log", **OPTIONS)
    assert code == 0, said
    assert_same(folder, whole)


def test_another_seed_gives_other_weights(tmp_path, whole):
    """Otherwise equal weights would prove nothing."""
    trained = tiny.trainer(tmp_path, **OPTIONS)
    trained.seed = 8
    trained.fit()
    assert tiny.weights(tmp_path / "student" / "final") != tiny.weights(whole / "student" / "final")


# --- checkpoints


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A training in this process."""
    folder = tmp_path_factory.mktemp("undisturbed")
    tiny.trainer(folder, checkpoint_every=1).fit()
    return folder


@pytest.fixture(scope="module")
def crashed(tmp_path_factory):
    """A training that a crash ended after 4 steps, with a checkpoint at each."""
    folder, steps = tmp_path_factory.mktemp("crashed"), 4
    trained = tiny.trainer(folder, checkpoint_every=1)
    inner = type(trained)._step

    def crash(self, *arguments):
        if self._state.step == steps:
            raise RuntimeError("crash")
        return inner(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(trained), "_step", crash)
        with pytest.raises(RuntimeError, match="crash"):
            trained.fit()
    return folder


@pytest.fixture
def stopped(crashed, tmp_path):
    return shutil.copytree(crashed, tmp_path / "stopped")


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


def change_state(path: Path, **changes) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: flip(c / "tensors.safetensors"),
        lambda c: (c / "tensors.safetensors").unlink(),
        lambda c: (c / "tensors.safetensors").write_bytes(b""),
        lambda c: (c / "state.json").write_text("{"),
        lambda c: (c / "state.json").write_text("[]"),
        lambda c: (c / "state.json").write_text("{}"),
        lambda c: change_state(c / "state.json", step=3),
        lambda c: change_state(c / "state.json", loop={}),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(stopped, undisturbed, damage):
    newest = max((stopped / "student" / "checkpoints").iterdir())
    assert newest.name == "step-00000004"
    damage(newest)
    notes = tiny.Notes()
    with pytest.warns(UserWarning, match=r"step-00000004 is damaged .*using the one before it"):
        tiny.trainer(stopped, checkpoint_every=1, progress=notes).fit()
    assert "student: resuming from the checkpoint at step 3" in notes.notes
    left = sorted(path.name for path in (stopped / "student" / "checkpoints").iterdir())
    assert left == ["step-00000011", "step-00000012"]
    assert_same(stopped, undisturbed)


def test_with_every_checkpoint_damaged_training_starts_anew(stopped, undisturbed):
    for path in (stopped / "student" / "checkpoints").iterdir():
        flip(path / "tensors.safetensors")
    with pytest.warns(UserWarning, match="is damaged"):
        tiny.trainer(stopped).fit()
    assert_same(stopped, undisturbed)


def test_a_checkpoint_restores_parameters_and_moments(tmp_path):
    def made():
        module = tiny.model().module
        return module, torch.optim.AdamW(module.parameters(), fused=True)

    module, optimizer = made()
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    optimizer.step()
    checkpoint.save(tmp_path, 1, checkpoint.collect({"model": module}, optimizer), {"loop": {"x": 1}})
    other, its_optimizer = made()
    state = checkpoint.load(checkpoint.newest(tmp_path), {"model": other}, its_optimizer)
    assert state["loop"] == {"x": 1}
    for one, two in zip(module.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)
        assert optimizer.state[one].keys() == its_optimizer.state[two].keys() > {"exp_avg"}
        for key, value in optimizer.state[one].items():
            assert torch.equal(value, its_optimizer.state[two][key])
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".json", ".safetensors"}


# --- the loss


def test_accumulation_does_not_change_the_loss(tmp_path):
    """Rows of different lengths: a mean of micro-batch means would differ. Dropout, which depends on shapes, is off."""
    curves = []
    for batch_size, accumulation in ((8, 1), (2, 4)):
        folder = tmp_path / f"{batch_size}"
        options = {"batch_size": batch_size, "accumulation": accumulation, "shuffle": False, "epochs": 3}
        tiny.trainer(folder, training_model=tiny.model(dropout_rate=0.0), **options).fit()
        curves.append([(line["loss"], line["grad_norm"]) for line in tiny.metrics(folder)])
    assert len(curves[0]) == 9
    for one, other in zip(*curves, strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    assert curves[0][-1][0] < curves[0][0][0]


def test_the_last_accumulation_of_an_epoch_may_be_short(tmp_path):
    tiny.trainer(tmp_path, rows=24, batch_size=4, accumulation=4, epochs=2).fit()
    assert [line["step"] for line in tiny.metrics(tmp_path)] == [1, 2, 3, 4]
    assert [line["epoch"] for line in tiny.metrics(tmp_path)] == [0.5, 1.0, 1.5, 2.0]


def test_log_lines_are_means_over_the_steps_since_the_last(tmp_path):
    tiny.trainer(tmp_path / "each", epochs=2).fit()
    tiny.trainer(tmp_path / "fifth", epochs=2, log_every=5).fit()
    each = [line["loss"] for line in tiny.metrics(tmp_path / "each")]
    fifth = tiny.metrics(tmp_path / "fifth")
    assert [line["step"] for line in fifth] == [5, 10, 12]
    assert [line["loss"] for line in fifth] == pytest.approx(
        [sum(each[:5]) / 5, sum(each[5:10]) / 5, sum(each[10:]) / 2], rel=1e-9
    )


def poison(model) -> None:
    with torch.no_grad():
        model.module.shared.weight[5] = math.nan


def test_a_loss_that_is_not_a_number_stops_with_step_and_rows(tmp_path):
    model = tiny.model()
    poison(model)
    with pytest.raises(KdkitError, match=r"step 1 of the student's training: the hard loss is not finite") as error:
        tiny.trainer(tmp_path, training_model=model, shuffle=False).fit()
    assert "on rows row0, row1, row2, row3; the last checkpoint is kept" in str(error.value)
    assert error.value.exit_code == 1
    assert "\n" not in str(error.value)


def test_a_gradient_that_is_not_a_number_is_called_one(tmp_path):
    model = tiny.model()
    model.module.shared.weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(KdkitError, match="the gradient is not finite"):
        tiny.trainer(tmp_path, training_model=model).fit()


@pytest.mark.parametrize("name", ["student", "teacher", "labels-only student"])
def test_weights_that_the_last_step_made_infinite_are_never_saved(tmp_path, name):
    """Its loss and gradient are finite, and no step comes that would see the weights."""
    training = tiny.trainer(tmp_path, epochs=1, learning_rate=1e39, schedule="constant", max_steps=1)
    training.name = name
    with pytest.raises(KdkitError, match=f"step 1 of the {name}'s training left weights that are not finite") as error:
        training.fit()
    assert "the last checkpoint is kept; lower the learning rate" in str(error.value)
    assert error.value.exit_code == 1
    assert list((tmp_path / "student").iterdir()) == []


def test_nor_are_they_in_a_checkpoint_within_an_epoch(tmp_path, monkeypatch):
    model, step, calls = tiny.model(), torch.optim.AdamW.step, itertools.count(1)

    def breaking(optimizer):
        step(optimizer)
        if next(calls) == 3:
            poison(model)

    monkeypatch.setattr(torch.optim.AdamW, "step", breaking)
    with pytest.raises(KdkitError, match=r"step 3 of the student's training left .* not finite \(shared.weight\); the"):
        tiny.trainer(tmp_path, training_model=model, checkpoint_every=1).fit()
    assert checkpoint.newest(tmp_path / "student" / "checkpoints").name == "step-00000002"


def test_a_step_that_is_refused_changes_nothing(tmp_path):
    model = tiny.model()
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    model.module.shared.weight.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(KdkitError):
        tiny.trainer(tmp_path, training_model=model).fit()
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())


def test_numbers_that_are_read_a_step_later_are_the_same_numbers(tmp_path, monkeypatch):
    """As on a GPU, which is given the next step first."""
    for name, lag in (("now", 0), ("later", 1)):
        monkeypatch.setattr("kdkit.training.loop.lag_of", lambda _, lag=lag: lag)
        tiny.trainer(tmp_path / name, checkpoint_every=4, log_every=2).fit()
    assert_same(tmp_path / "later", tmp_path / "now")


def test_what_is_found_out_a_step_later_is_in_no_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr("kdkit.training.loop.lag_of", lambda _: 1)
    model, calls = tiny.model(), itertools.count(1)
    model.module.shared.weight.register_hook(lambda gradient: gradient * (math.nan if next(calls) == 5 else 1.0))
    with pytest.raises(KdkitError, match=r"step 3 of the student's training: the gradient is not finite"):
        tiny.trainer(tmp_path, training_model=model, checkpoint_every=1, log_every=100).fit()
    found = checkpoint.newest(tmp_path / "student" / "checkpoints")
    assert found.name == "step-00000002"


def test_noise_depends_on_seed_step_and_process_alone():
    seeds = {noise_seed(seed, step, rank) for seed in range(3) for step in range(50) for rank in range(4)}
    assert len(seeds) == 3 * 50 * 4
    assert noise_seed(7, 0, 0) == 2083679832  # on any machine


class Waits(TorchDispatchMode):
    """What a step asks of floating-point tensors that a GPU would have to be waited for to answer."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        tensors = [each for each in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
        floating = any(each.is_floating_point() for each in tensors)
        name = function.overloadpacket.__name__
        by_mask = name in ("index", "index_put_") and any(each.dtype == torch.bool for each in tensors)
        if floating and (name in ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal") or by_mask):
            self.found.append(name)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_a_step_waits_for_nothing(tmp_path, monkeypatch, alpha):
    """But for the numbers of the step before, which are there (`Readback`)."""
    monkeypatch.setattr("kdkit.training.loop.lag_of", lambda _: 1)
    waits, inner = Waits(), Trainer._step

    def watched(self, *arguments):
        with waits:
            return inner(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", watched)
    trained = tiny.trainer(tmp_path, epochs=1, log_every=100)
    trained.loss, trained.targets = KD(alpha=alpha), Uniform()
    trained.fit()
    assert waits.found == []


class Uniform:
    """A teacher that knows nothing of the last token."""

    def count(self, row):
        return len(row.target_ids) - 1

    def __call__(self, batch):
        lengths_B = (batch.labels_BT != -100).sum(-1) - 1
        return DenseTargets(logits_BTV=torch.zeros(*batch.labels_BT.shape, tiny.VOCAB), lengths_B=lengths_B)


def test_the_share_of_padding_is_logged(tmp_path):
    trained = tiny.trainer(tmp_path, epochs=1, shuffle=False)
    trained.fit()
    batches = [trained.rows[start : start + 4] for start in range(0, 24, 4)]
    for line, rows in zip(tiny.metrics(tmp_path), batches, strict=True):
        tokens = sum(len(row.source_ids) + len(row.target_ids) for row in rows)
        places = 4 * (max(len(row.source_ids) for row in rows) + max(len(row.target_ids) for row in rows))
        assert line["padding"] == pytest.approx(1 - tokens / places)


def test_clipping_at_0_is_no_clipping(tmp_path):
    for limit in (0.0, 1e9, 1e-3):
        tiny.trainer(tmp_path / str(limit), max_grad_norm=limit, epochs=1).fit()
    weights = [tiny.weights(tmp_path / str(limit) / "student" / "final") for limit in (0.0, 1e9, 1e-3)]
    assert weights[0] == weights[1] != weights[2]
    norms = [tiny.metrics(tmp_path / str(limit))[0]["grad_norm"] for limit in (0.0, 1e-3)]
    assert norms[0] == norms[1] > 1e-3


def test_bf16_trains_fp32_weights_to_nearly_the_same_loss(tmp_path):
    from safetensors.torch import load_file

    for precision in ("fp32", "bf16"):
        model = tiny.model(dropout_rate=0.0)
        tiny.trainer(tmp_path / precision, training_model=model, precision=precision).fit()
    one, other = ([line["loss"] for line in tiny.metrics(tmp_path / name)] for name in ("fp32", "bf16"))
    assert one == pytest.approx(other, rel=0.02)
    assert one != other
    saved = load_file(tmp_path / "bf16" / "student" / "final" / "model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}


# --- what a model is worth


class Sources:
    """Logits and teacher rows of made-up rows, by row id; teacher rows may be fewer than labels."""

    def __init__(self, lengths, teacher_lengths, seed):
        draw = torch.Generator().manual_seed(seed)
        self.logits_TV = {f"r{i}": torch.randn(n, 7, generator=draw) for i, n in enumerate(lengths)}
        self.teacher_TV = {f"r{i}": torch.randn(n, 7, generator=draw) for i, n in enumerate(teacher_lengths)}
        self.rows = [
            EncodedExample(
                id=f"r{i}", source_ids=(1,) * (1 + (5 * i) % 4), target_ids=tuple((3 * i + t) % 7 for t in range(n))
            )
            for i, n in enumerate(lengths)
        ]

    def logits(self, batch):
        return torch.nn.utils.rnn.pad_sequence([self.logits_TV[i] for i in batch.ids], batch_first=True)

    def __call__(self, batch):
        rows = [self.teacher_TV[i] for i in batch.ids]
        return DenseTargets(
            logits_BTV=torch.nn.utils.rnn.pad_sequence(rows, batch_first=True),
            lengths_B=torch.tensor([len(row) for row in rows]),
        )

    def count(self, row):
        return min(len(self.teacher_TV[row.id]), len(row.target_ids))

    def losses(self, loss, *, together=0, batch_size=3):
        return row_losses(
            self.rows, Forward(rows=self.logits), loss, self,
            pad_id=0, device="cpu", batch_size=batch_size, together=together,
        )  # fmt: skip

    def whole(self, loss, rows):
        """The loss of these rows as one batch."""
        batch = collate(rows, pad_id=0)
        tokens, counts = (
            Forward(rows=self.logits)(batch, self(batch)),
            token_counts(batch.labels_BT, self(batch)),
        )
        parts = loss(tokens.rows_NX, tokens.labels_N, tokens.teacher, counts)
        return {"loss": float(parts.total), "hard": float(parts.hard), "soft": float(parts.soft)}


@st.composite
def sources(draw):
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=9))
    teacher = [draw(st.integers(0, n)) for n in lengths]
    return Sources(lengths, teacher, draw(st.integers(0, 999)))


@given(sources(), st.sampled_from([0.0, 0.3, 1.0]), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_the_rows_parts_add_up_to_the_loss_of_all_rows(made, alpha, batch_size):
    """Also where teacher rows are missing, and however the forward pass is cut into batches."""
    loss = KD(alpha=alpha, temperature=2.0)
    means, whole = loss_means(made.losses(loss, batch_size=batch_size), 0), made.whole(loss, made.rows)
    for name, value in whole.items():
        if name == "soft" and not any(map(len, made.teacher_TV.values())):
            assert math.isnan(means[name])
        else:
            assert means[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name


@given(sources(), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_means_over_batches_are_means_of_the_losses_of_batches_in_file_order(made, together):
    loss = KD(alpha=0.5, temperature=2.0)
    means = loss_means(made.losses(loss, together=together), together)
    groups = [made.rows[start : start + together] for start in range(0, len(made.rows), together)]
    wholes = [made.whole(loss, group) for group in groups]
    counted = {
        "loss": wholes,
        "hard": wholes,
        "soft": [
            whole
            for whole, group in zip(wholes, groups, strict=True)
            if any(len(made.teacher_TV[row.id]) for row in group)
        ],
    }
    for name, batches in counted.items():
        values = [batch[name] for batch in batches]
        expected = sum(values) / len(values) if values else math.nan
        assert means[name] == pytest.approx(expected, rel=1e-5, abs=1e-6, nan_ok=True), name


def test_a_row_without_teacher_rows_does_not_dilute_the_soft_loss():
    """Two rows of 10 labels, the second without teacher rows: alpha * soft + (1 - alpha) * hard, each over its tokens."""
    made = Sources([10, 10], [10, 0], seed=1)
    means = loss_means(made.losses(KD(alpha=0.5)), 0)
    assert means["loss"] == pytest.approx(0.5 * means["soft"] + 0.5 * means["hard"], rel=1e-6)


def test_a_total_is_resampled_by_rows_weighted_by_their_labels():
    made = Sources([4, 2, 6], [4, 2, 6], seed=2)
    losses = made.losses(KD(alpha=0.5))
    values, weights = loss_samples(losses, "total", 0)
    assert weights == [4, 2, 6]
    alone = [made.whole(KD(alpha=0.5), [row])["loss"] for row in made.rows]
    assert values == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("loss_mean", ["tokens", "batches"])
def test_the_loss_that_picks_the_best_epoch_is_the_loss_that_is_reported(tmp_path, loss_mean):
    """The validation rows are the ones that are scored here; ten rows make batches of 4, 4 and 2."""
    report = tiny.run_here(tmp_path, evaluation__loss_mean=loss_mean, training__epochs=1, **tiny.NO_TEXTS)
    (validation,) = tiny.metrics(tmp_path / "runs" / "tiny", kind="validation")
    reported = {
        score.metric: score.value for score in report.scores if score.suite == "loss" and score.model == "student"
    }
    assert reported == pytest.approx(
        {"total": validation["loss"], "hard": validation["hard"], "soft": validation["soft"]}, rel=1e-5
    )


def test_means_over_batches_are_not_means_over_tokens():
    """Otherwise the test above would prove nothing."""
    made = Sources([6, 1, 1], [6, 1, 1], seed=3)
    loss = KD(alpha=0.5)
    assert loss_means(made.losses(loss), 0) != pytest.approx(loss_means(made.losses(loss, together=2), 2), rel=1e-3)


# --- disks that are full


FULL = """
import resource, sys
import tiny
from pathlib import Path
import kdkit.errors
from kdkit.store import folders, predictions
from kdkit.builtin.losses.kd import KD
from kdkit.training import MetricsLog, checkpoint
from kdkit.evaluation.losses import loss_means, loss_samples, row_losses
from kdkit.system.progress import Silent
from kdkit.api.values import EncodedExample, Prediction
import torch

folder = Path(sys.argv[1])
model = tiny.model()
optimizer = torch.optim.AdamW(model.module.parameters())
rows = [EncodedExample(id=str(i), source_ids=(1,), target_ids=(1,)) for i in range(1000)]
work = {
    "checkpoint": lambda: checkpoint.save(folder, 1, checkpoint.collect({"model": model.module}, optimizer), {}),
    "model": lambda: model.save(folder / "best", texts={}),
    "log": lambda: [MetricsLog(folder / "m", "student").write(kind="train", step=step) for step in range(1000)],
    "predictions": lambda: predictions.fill(
        folder / "p", rows, lambda rows, done: (Prediction(id=r.id, text="x" * 50, seconds=0.1) for r in rows),
        progress=Silent(), name="x",
    ),
}
work["store"] = lambda: folders.put(folder / "kept", folder / "store" / "entry")
(folder / "kept").mkdir()
(folder / "kept" / "large").write_bytes(bytes(10_000))
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
for what, write in work.items():
    try:
        write()
    except kdkit.errors.KdkitError as error:
        print(what, error, sep=": ")
"""


def test_a_disk_that_takes_no_more_is_one_sentence(tmp_path):
    """A limit on the size of files stands in for the full disk: the write fails in the same place."""
    code, said, errors = tiny.code(FULL, tmp_path)
    assert (code, errors) == (0, "")
    lines = said.splitlines()
    files = {
        "checkpoint": "step-00000001/tensors.safetensors",
        "model": "best",
        "log": "m",
        "predictions": "p.partial",
        "store": "store/.entry.partial/large",
    }
    for line, (what, file) in zip(lines, files.items(), strict=True):
        assert re.fullmatch(
            rf"{what}: {tmp_path}/{file} cannot take .*more \(File too large; [\d,]+ bytes are free\); free some space .*",
            line,
        )
    # What nobody can use takes no room.
    assert {each.name for each in tmp_path.iterdir()} == {"kept", "m", "p.partial", "store"}
    assert [each.name for each in (tmp_path / "store").iterdir()] == [".entry.lock"]


def test_a_run_that_memory_does_not_suffice_for_names_its_stage(tmp_path, monkeypatch):
    def step(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")

    monkeypatch.setattr("kdkit.training.loop.Trainer._step", step)
    with pytest.raises(
        KdkitError, match=r"memory ran out in stage teacher \(CUDA out of memory\. Tried .* lower training"
    ):
        tiny.run_here(tmp_path)


# --- the best epoch


@pytest.mark.parametrize(
    ("best_by", "direction", "values", "best_step", "best"),
    [
        ("loss", "lower", [3.0, 1.0, 2.0], 12, 1.0),
        ("hard", "lower", [3.0, 1.0, 1.0], 12, 1.0),
        ("soft", "lower", [1.0, 1.5, 2.0], 6, 1.0),
        ("text.f1", "higher", [3.0, 1.0, 2.0], 6, 3.0),
        ("text.f1", "higher", [1.0, 3.0, 3.0], 12, 3.0),
        ("text.f1", "higher", [math.nan, 0.0, math.nan], 12, 0.0),
        ("execution.fails", "lower", [3.0, 1.0, 2.0], 12, 1.0),
        ("loss", "lower", [math.nan, math.nan, 2.0], 18, 2.0),
    ],
)
def test_the_best_epoch_has_the_best_value(tmp_path, best_by, direction, values, best_step, best):
    names = ("loss", "hard", "soft", best_by)
    given_values = [dict.fromkeys(names, 7.0) | {best_by: value} for value in values]
    result = tiny.trainer(tmp_path, epochs=3, best_by=best_by, direction=direction, values=given_values).fit()
    assert (result.steps, result.best_step, result.best_value) == (18, best_step, best)
    validations = tiny.metrics(tmp_path, kind="validation")
    assert max(line["step"] for line in validations if line["best"]) == best_step
    best_is_final = tiny.weights(tmp_path / "student/best") == tiny.weights(tmp_path / "student/final")
    assert best_is_final == (best_step == 18)


def test_max_steps_ends_in_the_middle_of_an_epoch_with_a_validation(tmp_path):
    result = tiny.trainer(tmp_path, epochs=5, max_steps=8).fit()
    assert result.steps == 8
    lines = tiny.metrics(tmp_path)
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert [line["step"] for line in tiny.metrics(tmp_path, kind="validation")] == [6, 8]
    assert [line["learning_rate"] for line in lines] == [
        learning_rate(step, 8, Training(learning_rate=5e-3)) for step in range(8)
    ]


def test_best_and_final_open_with_plain_transformers(whole):
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    for name in ("best", "final"):
        folder = whole / "student" / name
        model, found = AutoModelForSeq2SeqLM.from_pretrained(folder, output_loading_info=True)
        assert not any(found.values()), found
        ids = AutoTokenizer.from_pretrained(folder)("max of 3 and 5", return_tensors="pt").input_ids
        assert model.generate(ids, max_length=4).shape[0] == 1
        assert (folder / "README.md").read_text() == "card"


def test_a_finished_training_started_again_does_no_step(tmp_path, whole):
    folder = shutil.copytree(whole, tmp_path / "again")
    shutil.rmtree(folder / "student" / "final")
    result = tiny.trainer(folder, **OPTIONS).fit()
    assert result.steps == 6
    assert_same(folder, whole)


# --- metrics.jsonl


def test_rewinding_drops_what_is_done_again_and_a_torn_line_but_no_other_stages(tmp_path):
    path = tmp_path / "metrics.jsonl"
    other = MetricsLog(path, "teacher")
    log = MetricsLog(path, "student")
    for step in (1, 2, 3):
        other.write(kind="train", step=step, epoch=1, loss=math.inf)
        log.write(kind="train", step=step, epoch=1, loss=1.0)
    log.write(kind="validation", step=2, epoch=1)
    with path.open("a") as stream:
        stream.write('{"stage": "stud')
    log.rewind(step=2, epochs=0)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines if line["stage"] == "student"] == [1, 2]
    assert [line["step"] for line in lines if line["stage"] == "teacher"] == [1, 2, 3]
    assert {line["kind"] for line in lines} == {"train"}
    assert {line["loss"] for line in lines if line["stage"] == "teacher"} == {None}


def test_a_power_cut_leaves_every_line_that_a_checkpoint_has(tmp_path, monkeypatch, whole):
    """Whatever is not synced when a checkpoint gets its marker is taken away; the training ends as if nothing was."""
    path, durable, real = tmp_path / "metrics.jsonl", {"": b""}, os.fsync

    def fsync(descriptor):
        if Path(f"/proc/self/fd/{descriptor}").resolve() == path:
            durable[""] = path.read_bytes()
        real(descriptor)

    class PowerCut(BaseException):
        pass

    monkeypatch.setattr(os, "fsync", fsync)
    save = checkpoint.save
    for last in (2, 1, 2):
        calls = itertools.count(1)

        def cut(*args, last=last, calls=calls):
            save(*args)
            if next(calls) == last:
                raise PowerCut

        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "save", cut)
            with pytest.raises(PowerCut):
                tiny.trainer(tmp_path, **OPTIONS).fit()
        path.write_bytes(durable[""] + b'{"stage": "student", "kind": "tr\0\0\0')
    tiny.trainer(tmp_path, **OPTIONS).fit()
    assert_same(tmp_path, whole)
    assert durable[""] == path.read_bytes()


# --- the curve


def test_the_loss_curve_is_the_one_on_record(tmp_path):
    """A refactoring shows the same numbers.

    Where they are meant to change: delete tests/training/loss_curve.txt, run this test, and look at the new file.
    """
    tiny.run_here(tmp_path)
    columns = ("stage", "step", "loss", "hard", "soft")
    lines = [line for stage in ("teacher", "student") for line in tiny.metrics(tmp_path / "runs" / "tiny", stage)]
    rows = [[line[column] for column in columns] for line in lines]
    if not CURVE.exists():
        shown = [
            " ".join("-" if v is None else f"{v:.6g}" if isinstance(v, float) else str(v) for v in r) for r in rows
        ]
        CURVE.write_text("\n".join([" ".join(columns), *shown]) + "\n")
        pytest.fail(f"{CURVE.name} was missing and is written anew: look at it, and run again")
    recorded = [line.split() for line in CURVE.read_text().splitlines()]
    assert tuple(recorded[0]) == columns
    assert len(recorded) == len(rows) + 1 == 21
    for row, record in zip(rows, recorded[1:], strict=True):
        assert row[:2] == [record[0], int(record[1])]
        expected = [None if value == "-" else pytest.approx(float(value), rel=1e-3) for value in record[2:]]
        assert row[2:] == expected
