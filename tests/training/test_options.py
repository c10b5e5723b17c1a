"""Gradient checkpointing and compilation: what they may not change."""

from __future__ import annotations

import functools
import json
from collections import Counter
from contextlib import contextmanager, nullcontext
from pathlib import Path

import causal_kit
import pytest
import tiny
import torch

from kdkit.api.interfaces import LeanModel
from kdkit.api.options import Generation, Training
from kdkit.data.tokens import collate
from kdkit.errors import UsageError
from kdkit.logits.targets import NoTargets, counts_of
from kdkit.losses import HardLoss
from kdkit.models.checkpoint_compile import lean
from kdkit.training import Forward

CHECKPOINTING, COMPILE = Training(gradient_checkpointing=True), Training(compile=True)
MODELS = [(tiny.T5, "dropout_rate"), (tiny.BART, "dropout")]


@contextmanager
def training(model):
    model.module.train()
    try:
        yield
    finally:
        model.module.eval()


def gradients(model, options: Training, batches) -> list[torch.Tensor]:
    """Those of the labels' loss, through the states and the head, batch by batch with the same noise."""
    model.module.zero_grad()
    forward = Forward.of(model)
    assert forward.head is not None
    with lean(model, options), training(model):
        for rows in batches:
            torch.manual_seed(5)
            forward(collate(rows, pad_id=0), None).backward(HardLoss(), counts_of(rows, NoTargets()))
    return [parameter.grad.clone() for parameter in model.module.parameters()]


def batches_of(*sizes: int):
    _, rows = tiny.encoded(sum(sizes))
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [rows[start : start + size] for start, size in zip(starts, sizes, strict=True)]


@contextmanager
def calls(module: torch.nn.Module):
    """Counts how often a module's forward pass runs, however it is called."""
    counts, plain = Counter(), module.forward

    @functools.wraps(plain)
    def forward(*arguments, **named):
        counts["forward"] += 1
        return plain(*arguments, **named)

    module.forward = forward
    try:
        yield counts
    finally:
        del module.forward


quiet_torch = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # which tracing asks for


@pytest.fixture
def traced(monkeypatch):
    """torch.compile traces as ever, and runs what it traced in Python, which takes no compiler; counts its graphs."""
    counts = Counter()

    def backend(graph, _inputs):
        counts["graphs"] += 1

        def run(*arguments):
            counts["runs"] += 1
            return graph.forward(*arguments)

        return run

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    yield counts
    torch._dynamo.reset()


# --- gradient checkpointing


@pytest.mark.parametrize(("config", "dropout"), MODELS)
@pytest.mark.parametrize("share", [0.0, 0.1])
def test_recomputed_layers_give_the_same_gradients_with_the_same_noise(config, dropout, share):
    model, batches = tiny.model(config, **{dropout: share}), batches_of(5, 3)
    expected = gradients(model, Training(), batches)
    for found, known in zip(gradients(model, CHECKPOINTING, batches), expected, strict=True):
        torch.testing.assert_close(found, known, rtol=1e-5, atol=1e-6)
    other = gradients(model, CHECKPOINTING, batches[:1])
    assert not all(torch.equal(one, two) for one, two in zip(other, expected, strict=True))


def test_layers_are_run_again_in_training_alone():
    model, (rows,) = tiny.model(), batches_of(4)
    layer = model.module.encoder.block[1].layer[0]  # the layer within what is checkpointed
    with calls(layer) as counts:
        gradients(model, Training(), [rows])
        plain = counts.pop("forward")
        gradients(model, CHECKPOINTING, [rows])
        assert counts.pop("forward") == plain + 1
        with lean(model, CHECKPOINTING):
            model.logits(collate(rows, pad_id=0)).sum().backward()
        assert counts["forward"] == 1


@pytest.mark.parametrize(("config", "_dropout"), MODELS)
def test_generation_between_epochs_keeps_its_cache_and_its_texts(config, _dropout):
    model, (rows,) = tiny.model(config), batches_of(4)
    options, batch = Generation(beams=2, max_new_tokens=5), collate(rows, pad_id=0)
    expected, widths = model.generate(batch, options), []

    def seen(_module, _arguments, named):
        widths.append(named["input_ids"].shape[1])

    with lean(model, CHECKPOINTING):
        with training(model):
            model.states(batch)
        hook = model.module.get_decoder().register_forward_pre_hook(seen, with_kwargs=True)
        assert model.generate(batch, options) == expected
        hook.remove()
    assert len(widths) > 1
    assert set(widths) == {1}


@pytest.mark.parametrize(("config", "_dropout"), MODELS)
def test_nothing_is_said_and_nothing_stays_of_it(config, _dropout, caplog, recwarn):
    model, batches = tiny.model(config), batches_of(4)
    embedding = model.module.get_input_embeddings()
    before = (set(model.module.__dict__), len(embedding._forward_hooks))
    gradients(model, CHECKPOINTING, batches)
    assert not any(getattr(each, "gradient_checkpointing", False) for each in model.module.modules())
    assert len(embedding._forward_hooks) == before[1]
    assert "checkpointing" not in caplog.text
    assert not [each for each in recwarn if "checkpointing" in str(each.message)]


def test_a_class_without_gradient_checkpointing_is_refused():
    model = tiny.model()
    model.module.supports_gradient_checkpointing = False
    with pytest.raises(
        UsageError, match=r"gradient_checkpointing = true, but transformers' T5For.* does not support it"
    ):
        lean(model, CHECKPOINTING).__enter__()


# --- compilation


def one_layer(config):
    layers = {"num_layers": 1} if config is tiny.T5 else {"encoder_layers": 1, "decoder_layers": 1}
    return tiny.model({**config, **layers, "dropout_rate" if config is tiny.T5 else "dropout": 0.0})


@quiet_torch
@pytest.mark.parametrize("config", [tiny.T5, pytest.param(tiny.BART, marks=pytest.mark.slow), causal_kit.LLAMA])
def test_compiled_stacks_give_the_same_gradients_for_all_lengths(config, traced):
    causal = causal_kit.model(causal_kit.LLAMA, num_hidden_layers=1) if config is causal_kit.LLAMA else None
    model, batches = causal or one_layer(config), batches_of(5, 3, 6, 2, 4, 7)
    expected = gradients(model, Training(), batches)
    found = gradients(model, COMPILE, batches)
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
    assert traced["runs"] >= (2 if causal is None else 1) * len(batches)
    assert traced["graphs"] < len(batches), "lengths and numbers of rows are not compiled one by one"


@quiet_torch
def test_compiled_stacks_are_left_where_nothing_is_trained(traced, tmp_path):
    model, (rows,) = one_layer(tiny.T5), batches_of(4)
    options, batch = Generation(beams=1, max_new_tokens=5), collate(rows, pad_id=0)
    texts, logits_BTV = model.generate(batch, options), model.logits(batch)
    model.save(tmp_path / "plain", texts={})
    with lean(model, COMPILE):
        with training(model):
            model.states(batch)
        runs = traced["runs"]
        assert runs
        assert model.generate(batch, options) == texts
        assert torch.equal(model.logits(batch), logits_BTV)
        model.save(tmp_path / "within", texts={})
        assert traced["runs"] == runs
    with training(model):
        model.states(batch)
    assert traced["runs"] == runs
    assert "forward" not in model.module.get_encoder().__dict__
    assert tiny.weights(tmp_path / "within") == tiny.weights(tmp_path / "plain")


@quiet_torch
@pytest.mark.slow
def test_both_together_give_the_same_gradients(traced):
    model, batches = one_layer(tiny.T5), batches_of(5)
    expected = gradients(model, Training(), batches)
    found = gradients(model, Training(gradient_checkpointing=True, compile=True), batches)
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
    assert traced["runs"]


def test_a_model_without_two_stacks_beside_its_head_is_refused(monkeypatch):
    model = tiny.model()
    monkeypatch.setattr(type(model.module), "get_decoder", lambda self: self)
    with pytest.raises(UsageError, match=r"compile = true, but T5For.* has no encoder and decoder separate from"):
        lean(model, COMPILE).__enter__()
    causal = causal_kit.model()
    monkeypatch.setattr(type(causal.module), "base_model", property(lambda self: self))
    with pytest.raises(UsageError, match=r"compile = true, but LlamaFor.* has no part separate from its output head"):
        lean(causal, COMPILE).__enter__()


@quiet_torch
def test_a_compiler_that_fails_is_a_sentence(monkeypatch):
    def backend(_graph, _inputs):
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    model, batches = one_layer(tiny.T5), batches_of(3)
    with pytest.raises(UsageError, match=r"compile = true, but torch.compile fails here \(.*set it to false"):
        gradients(model, COMPILE, batches)
    torch._dynamo.reset()


# --- other models


class Plain:
    """A model that is no more than a `TextModel`."""


def test_a_model_that_cannot_is_refused_only_where_it_is_asked():
    assert isinstance(tiny.model(), LeanModel)
    assert isinstance(lean(Plain(), Training()), nullcontext)
    with pytest.raises(UsageError, match="compile = true, but a Plain"):
        lean(Plain(), COMPILE)


@pytest.mark.slow
def test_the_benchmark_sets_each_way_beside_the_default():
    script = Path(__file__).parents[2] / "benchmarks" / "options_speed.py"
    arguments = ["--quick", "--json", "--batches", "1", "--repeats", "1", "--batch-tokens", "512"]
    code, printed, errors = tiny.script(script, *arguments, "--ways", "gradient_checkpointing")
    assert code == 0, errors
    found = json.loads(printed)
    assert set(found["sides"]) == {"default", "gradient_checkpointing"}
    assert found["sides"]["default"]["loss"] == pytest.approx(found["sides"]["gradient_checkpointing"]["loss"])
    assert found["ratios"]["gradient_checkpointing"]["seconds"] > 0
