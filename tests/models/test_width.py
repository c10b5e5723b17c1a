"""A narrower model computes what the teacher computes whose other heads and channels give nothing."""

from __future__ import annotations

import pytest
import torch
from causal_architectures import table
from causal_kit import batch, model, tokenizer

from kdkit import models
from kdkit.api.values import EncodedExample, Importance, Measuring, Width
from kdkit.errors import UsageError
from kdkit.system.progress import Silent

WIDE = {"num_attention_heads": 4, "num_key_value_heads": 2}
SHAPED = ["llama", "mistral", "qwen2", "qwen3", "gemma2"]


def kept_of(teacher, width, *, heads=None, channels=None):
    """What is kept of a teacher of two layers, by norms that rise with the place unless others are given."""
    shape = teacher.module.config
    norms = Importance(
        rows=1,
        tokens=1,
        layers={},
        heads=heads or (tuple(range(shape.num_key_value_heads)),) * 2,
        channels=channels or (tuple(range(shape.intermediate_size)),) * 2,
    )
    return models.choose_width(teacher.module.config, Width(**width), (0, 1), norms)


def logits(module):
    return models.causal_model(module.eval(), tokenizer()).logits(batch())


@pytest.mark.parametrize("model_type", SHAPED)
def test_kept_heads_and_channels_compute_what_a_masked_teacher_does(model_type, tmp_path):
    teacher = model({**table(model_type), **WIDE})
    config = teacher.module.config
    size = teacher.module.model.layers[0].self_attn.head_dim
    whole = kept_of(teacher, {"num_attention_heads": 4, "intermediate_size": config.intermediate_size})
    assert torch.equal(logits(models.keep_width(teacher.module, whole, seed=9)), teacher.logits(batch()))

    kept = kept_of(teacher, {"num_attention_heads": 2, "intermediate_size": 20}, heads=((1.0, 2.0), (2.0, 1.0)))
    assert kept.heads == ((1,), (0,))
    assert kept.channels_of(1) == list(range(12, 32))
    narrow = models.keep_width(teacher.module, kept, seed=9)
    with torch.no_grad():
        for index, layer in enumerate(teacher.module.model.layers):
            gone = 1 - kept.heads[index][0]
            layer.self_attn.o_proj.weight[:, gone * 2 * size : (gone + 1) * 2 * size] = 0
            layer.mlp.down_proj.weight[:, :12] = 0
    torch.testing.assert_close(logits(narrow), teacher.logits(batch()), rtol=1e-5, atol=1e-5)

    from transformers import AutoModelForCausalLM

    narrow.save_pretrained(tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(logits(plain), logits(narrow))
    its = plain.config
    assert (its.num_attention_heads, its.num_key_value_heads, its.head_dim, its.intermediate_size) == (2, 1, size, 20)
    assert its.hidden_size == config.hidden_size


def test_norms_are_those_of_what_goes_into_the_layers_after_heads_and_channels():
    teacher = model({**table("llama"), **WIDE})
    rows = [
        EncodedExample(id="a", source_ids=(5, 6, 7), target_ids=(8, 9)),
        EncodedExample(id="b", source_ids=(4,), target_ids=(3,)),
    ]
    found = models.measure_importance(
        teacher, ("layers",), rows, Measuring(by="spacing", tokens=1, stacks=(), has_width=True), Silent()
    )
    seen = {"o_proj": [], "down_proj": []}
    last = teacher.module.model.layers[1]
    for part in (last.self_attn.o_proj, last.mlp.down_proj):
        name = "o_proj" if part is last.self_attn.o_proj else "down_proj"
        part.register_forward_pre_hook(lambda _, given, name=name: seen[name].append(given[0][0]))
    with torch.no_grad():
        for ids in ([5, 6, 7, 8], [4]):  # the last label is not read
            teacher.module(torch.tensor([ids]))
    heads_WGX = torch.cat(seen["o_proj"]).unflatten(-1, (2, -1))
    assert found.heads[1] == pytest.approx(heads_WGX.norm(dim=(0, 2)).tolist(), rel=1e-4)
    assert found.channels[1] == pytest.approx(torch.cat(seen["down_proj"]).norm(dim=0).tolist(), rel=1e-4)
    assert found.layers == {}


@pytest.mark.parametrize(
    ("model_type", "said"),
    [
        ("gpt2", "needs layers of Llama's shape .* and a gpt2 model has others; leave width out"),
        ("mixtral", "and a mixtral model has others"),
        ("phi3", "and a phi3 model has others"),
        ("olmo2", r"cannot make a olmo2 model narrower: the size of model\.layers\.\d\.self_attn\.q_norm\.weight"),
        ("gpt_oss", "and a gpt_oss model has others"),
    ],
)
def test_models_of_another_shape_are_refused_by_name(model_type, said):
    wide = WIDE if model_type == "olmo2" else {}
    with pytest.raises(UsageError, match=said):
        models.config_of_width(model({**table(model_type), **wide}).module.config, Width(num_attention_heads=2))


@pytest.mark.parametrize(
    ("width", "said"),
    [
        (
            {"num_attention_heads": 3},
            "is 3, but in this teacher 2 heads share keys and values; set it to a multiple of 2",
        ),
        ({"num_attention_heads": 6}, "num_attention_heads is 6, but the teacher has 4; set it to 4 or less"),
        ({"intermediate_size": 33}, "intermediate_size is 33, but the teacher has 32; set it to 32 or less"),
    ],
)
def test_a_width_that_a_teacher_cannot_have_is_refused(width, said):
    with pytest.raises(UsageError, match=said):
        models.config_of_width(model({**table("llama"), **WIDE}).module.config, Width(**width))


def test_a_width_of_nothing_is_refused():
    with pytest.raises(UsageError, match="give num_attention_heads, intermediate_size, or both"):
        Width()


def test_only_what_is_not_whole_is_said():
    teacher = model({**table("llama"), **WIDE})
    both = kept_of(teacher, {"num_attention_heads": 2, "intermediate_size": 20})
    assert both.in_words() == "2 of 4 heads and 20 of 32 feed-forward channels"
    assert kept_of(teacher, {"intermediate_size": 20}).in_words() == "20 of 32 feed-forward channels"
