"""`from_teacher`: a student's layers compute what the teacher's layers compute, for every architecture."""

from __future__ import annotations

import copy

import pytest
import tiny
import torch
from architectures import CONFIGS, batch, table

from kdkit import models
from kdkit.errors import UsageError
from kdkit.models.layers import Stack


def stacks(encoder, decoder):
    return {"encoder_layers": encoder, "decoder_layers": decoder}


def student_of(teacher, encoder, decoder):
    module = models.keep_layers(teacher.module, stacks(encoder, decoder), seed=9).eval()
    return models.Seq2SeqModel(module=module, tokenizer=tiny.tokenizer())


@pytest.mark.parametrize("model_type", sorted(CONFIGS.keys() - {"pegasus_x"}))
def test_a_student_of_later_layers_computes_what_they_compute(model_type, tmp_path):
    teacher = tiny.model(table(model_type))
    assert torch.equal(student_of(teacher, (0, 1), (0, 1)).logits(batch()), teacher.logits(batch()))
    student = student_of(teacher, (1,), (1,))
    expected = with_layers(copy.deepcopy(teacher), (1,), (1,)).logits(batch())
    torch.testing.assert_close(student.logits(batch()), expected, rtol=1e-6, atol=1e-6)
    student.module.save_pretrained(tmp_path)
    reopened = models.Seq2SeqModel(module=models.load_model(str(tmp_path)).eval(), tokenizer=tiny.tokenizer())
    assert torch.equal(reopened.logits(batch()), student.logits(batch()))


def with_layers(teacher, encoder, decoder):
    """The teacher itself, with other layers taken out of it."""
    for side, layers in (("encoder", encoder), ("decoder", decoder)):
        stack = Stack.of(teacher.module, f"{side}_layers")
        config = getattr(teacher.module.config, side, None)
        if hasattr(getattr(config, "get_text_config", lambda: None)(), "layer_types"):  # read in the forward pass
            config = config.get_text_config()
            config.layer_types = [config.layer_types[layer] for layer in layers]
        kept = torch.nn.ModuleList(stack.layers[layer] for layer in layers)
        give_bias(kept[0], stack.layers[0])
        parent, _, name = stack.prefix.rstrip(".").rpartition(".")
        setattr(teacher.module.get_submodule(parent), name, kept)
    return teacher


def give_bias(layer, first):
    """A T5's first layer has the position bias of all."""
    for name, part in first.named_modules():
        own = layer.get_submodule(name) if getattr(part, "has_relative_attention_bias", False) else part
        if own is not part and not own.has_relative_attention_bias:
            own.has_relative_attention_bias = True
            for child, bias in part.named_children():
                if child.endswith("relative_attention_bias"):
                    setattr(own, child, bias)


REFUSED = {
    "a dense block for a sparse one": ("switch_transformers", {}, (1, 0), "mlp.experts"),
    "the same of NLLB": ("nllb-moe", {}, (1, 0), "ffn.experts"),
    "blocks that are staggered at every other place": ("pegasus_x", {}, (1,), "stagger_blocks_this_layer"),
}


@pytest.mark.parametrize(("model_type", "fields", "layers", "what"), REFUSED.values(), ids=REFUSED)
def test_layers_that_no_configuration_has_in_that_order_are_refused(model_type, fields, layers, what):
    teacher = tiny.model(table(model_type, **fields))
    with pytest.raises(UsageError, match="is not possible") as said:
        models.config_with_layers(teacher.module.config, stacks(layers, (0,)))
    assert what in str(said.value)
    assert f"such as {list(range(len(layers)))}, or give config" in str(said.value)
    models.config_with_layers(teacher.module.config, stacks(range(len(layers)), (0,)))  # what it says to do


@pytest.mark.parametrize("layers", [(1, 3), (0, 2), (0, 2, 3), (0,)])
@pytest.mark.parametrize("model_type", ["switch_transformers", "nllb-moe"])
def test_sparse_blocks_stay_sparse_and_dense_ones_dense(model_type, layers, tmp_path):
    four = {"num_layers": 4, "num_sparse_encoder_layers": 2} if "switch" in model_type else {"encoder_layers": 4}
    teacher = tiny.model(table(model_type, **four))
    if layers == (0, 2, 3) and "switch" in model_type:  # whose rule of every n-th begins with the second
        with pytest.raises(UsageError, match="is not possible"):
            models.config_with_layers(teacher.module.config, stacks(layers, (0, 1)))
        return
    student = student_of(teacher, layers, (0, 1))
    expected = with_layers(copy.deepcopy(teacher), layers, (0, 1)).logits(batch())
    torch.testing.assert_close(student.logits(batch()), expected, rtol=1e-6, atol=1e-6)
    student.module.save_pretrained(tmp_path)
    reopened = models.Seq2SeqModel(module=models.load_model(str(tmp_path)).eval(), tokenizer=tiny.tokenizer())
    assert torch.equal(reopened.logits(batch()), student.logits(batch()))


def test_attention_windows_and_kinds_of_attention_go_with_their_layers():
    led = models.config_with_layers(tiny.model(table("led")).module.config, stacks((1,), (0, 1)))
    assert led.attention_window == [8]
    gemma = models.config_with_layers(tiny.model(table("t5gemma")).module.config, stacks((1,), (1, 0)))
    assert gemma.encoder.layer_types == ["full_attention"]
    assert gemma.decoder.layer_types == ["full_attention", "sliding_attention"]


def test_weights_whose_size_depends_on_the_number_of_layers_are_refused():
    teacher = tiny.model(table("mvp", use_prompt=True, prompt_length=2, prompt_mid_dim=4))
    with pytest.raises(UsageError, match="depends on how many there are; give config or model"):
        models.config_with_layers(teacher.module.config, stacks((0,), (0,)))


def test_kinds_of_layers_go_with_them_however_a_type_writes_them():
    """Bamba lists its layers of attention, under a name for which Mamba's kin have a property; GPT-Neo has them all."""
    from causal_architectures import table as causal_table
    from causal_kit import model, tokenizer

    bamba = models.config_from(causal_table("bamba"), tokenizer(), models.DecoderOnly().auto)
    assert models.config_with_layers(bamba, {"layers": (1,)}).attn_layer_indices == [0]
    assert models.config_with_layers(bamba, {"layers": (0,)}).attn_layer_indices == []
    teacher = model(causal_table("gpt_neo"))
    local = models.keep_layers(teacher.module, {"layers": (1,)}, seed=9)
    assert local.transformer.h[0].attn.attention_type == "local"
    minimax = models.config_from(causal_table("minimax"), tokenizer(), models.DecoderOnly().auto)
    with pytest.raises(
        UsageError, match=r"layers = \[0\] is not possible: .*\(self_attn.num_hidden_layers\); give config"
    ):
        models.config_with_layers(minimax, {"layers": (0,)})  # whose decay depends on how many layers there are
