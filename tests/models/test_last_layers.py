"""Fine-tuning the last layers alone: what is trained, what stays, and where no gradient is computed."""

from __future__ import annotations

import causal_kit
import pytest
import tiny
import torch
from architectures import table
from causal_architectures import table as causal_table
from safetensors.torch import load_file

from kdkit import models
from kdkit.errors import UsageError


def trained(module):
    """The names of what is trained, without the numbers of layers."""
    return {name for name, each in module.named_parameters() if each.requires_grad}


@pytest.mark.parametrize(
    ("model_type", "norm"),
    [("gpt2", "transformer.ln_f."), ("bloom", "transformer.ln_f."), ("lfm2", "model.embedding_norm.")],
)
def test_the_last_layers_of_a_decoder_only_model_and_its_last_norm_are_trained(model_type, norm):
    module = causal_kit.model(causal_table(model_type)).module
    names = [name for name, _ in module.named_parameters()]
    models.train_last_layers(module, 1)
    last = [name for name in names if ".1." in name]
    assert last
    assert trained(module) == {*last, *(name for name in names if name.startswith(norm))}
    of_config = models.parameters_of_last_layers(module.config, 1)
    assert of_config == models.count_parameters(module)


@pytest.mark.parametrize(("model_type", "norm"), [("t5", "decoder.final_layer_norm."), ("bart", "nothing"),
                                                  ("mbart", "model.decoder.layer_norm.")])  # fmt: skip
def test_of_an_encoder_decoder_these_are_the_decoders(model_type, norm):
    module = tiny.model(table(model_type)).module
    names = [name for name, _ in module.named_parameters()]
    models.train_last_layers(module, 1)
    last = [name for name in names if "decoder." in name and ".1." in name.partition("decoder.")[2][:9]]
    assert last
    assert trained(module) == {*last, *(name for name in names if name.startswith(norm))}


def test_more_layers_than_there_are_is_a_sentence():
    with pytest.raises(UsageError, match=r"fine_tune\.layers is 4, but the model has 3 layers; lower it"):
        models.train_last_layers(causal_kit.model().module, 4)
    with pytest.raises(UsageError, match="but the decoder has 2 layers"):
        models.train_last_layers(tiny.model().module, 3)


def test_nothing_is_computed_backward_below_the_layers_that_are_trained():
    model = causal_kit.model()
    models.train_last_layers(model.module.train(), 1)
    seen = {}
    for number, layer in enumerate(model.module.model.layers):
        layer.register_forward_hook(lambda _, __, out, number=number: seen.update({number: out}))
    model.states(causal_kit.batch()).sum().backward()
    states = {number: out[0] if isinstance(out, tuple) else out for number, out in seen.items()}
    assert {number: each.requires_grad for number, each in states.items()} == {0: False, 1: False, 2: True}
    assert {name for name, each in model.module.named_parameters() if each.grad is not None} == trained(model.module)


def trainer(folder, **options):
    model = tiny.model()
    models.train_last_layers(model.module, 1)
    return tiny.trainer(folder, training_model=model, checkpoint_every=2, **options)


def test_a_training_of_the_last_layers_resumes_to_the_bit_and_leaves_the_others(tmp_path):
    trainer(tmp_path / "whole").fit()
    with pytest.raises(StopIteration):
        trainer(tmp_path / "stopped", values=[{"loss": 1.0}]).fit()  # no value for the second epoch
    checkpoints = sorted((tmp_path / "stopped" / "student" / "checkpoints").iterdir())
    held = load_file(checkpoints[-1] / "tensors.safetensors")
    names = {name.removeprefix("parameter.model.") for name in held if name.startswith("parameter.")}
    notes = tiny.Notes()
    resumed = trainer(tmp_path / "stopped", progress=notes)
    assert names == trained(resumed.model.module)
    before = {name: each.clone() for name, each in resumed.model.module.state_dict().items()}
    resumed.fit()
    assert any("resuming from the checkpoint" in note for note in notes.notes)
    whole, again = (tmp_path / name / "student" / "final" for name in ("whole", "stopped"))
    assert tiny.weights(whole) == tiny.weights(again)
    after = resumed.model.module.state_dict()
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed == trained(resumed.model.module)
