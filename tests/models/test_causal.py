from __future__ import annotations

import pytest
import tiny
import torch
from causal_kit import GEMMA2, GPT2, LLAMA, PAIRS, RWKV, SIZE, batch, model, tokenizer
from torch.nn.functional import cross_entropy

from kdkit import models
from kdkit.api.options import Generation
from kdkit.api.values import IGNORED, EncodedExample, TeacherBlock, TokenCounts
from kdkit.builtin.codecs.float_ import Float
from kdkit.builtin.codecs.topk import TopK
from kdkit.builtin.losses.kd import KD
from kdkit.builtin.teachers.asked_hf import OpenHFTeacher
from kdkit.data.tokens import collate
from kdkit.errors import UsageError
from kdkit.logits.token_entries import of_tokens
from kdkit.models.causal import padded_left
from kdkit.models.joined import Sequences
from kdkit.system.progress import Silent
from kdkit.training import Forward

KINDS = pytest.mark.parametrize("table", [LLAMA, GPT2, GEMMA2, RWKV], ids=lambda table: table["model_type"])


def row(prompt: tuple[int, ...], labels: tuple[int, ...]) -> EncodedExample:
    return EncodedExample(id="", source_ids=prompt, target_ids=labels)


class OneHot(torch.nn.Module):
    """A model that is certain of the token after the one that it reads: its id plus one."""

    def forward(self, input_ids, **_):
        logits_BWV = torch.nn.functional.one_hot(input_ids + 1, 60).float() * 100
        return type("Output", (), {"logits": logits_BWV})

    def get_output_embeddings(self):
        return None


@pytest.mark.parametrize("prompt", [1, 2, 5])
@pytest.mark.parametrize("labels", [1, 2, 4])
def test_the_first_label_is_judged_by_the_last_prompt_token(prompt, labels):
    """One-hot logits of a counting model: the loss is 0 for the right shift only, whatever its neighbours are."""
    ids = range(10, 10 + prompt + labels)
    neighbours = [row((20, 21, 22), (23, 24, 25, 26, 27)), row((40,), (41,))]
    one = row(tuple(ids[:prompt]), tuple(ids[prompt:]))
    told = collate([one, *neighbours], pad_id=0)
    causal = models.CausalModel(module=OneHot(), tokenizer=tokenizer())
    assert cross_entropy(causal.logits(told).flatten(0, 1), told.labels_BT.flatten(), ignore_index=IGNORED) == 0
    late = collate([row(one.source_ids, (one.target_ids[0] + 1, *one.target_ids[1:]))], pad_id=0)
    assert cross_entropy(causal.logits(late).flatten(0, 1), late.labels_BT.flatten(), reduction="sum") > 50


def test_a_prompt_of_three_and_a_completion_of_two_take_the_states_two_and_three():
    """The second label is the stop; nothing is after it."""
    read = Sequences.of(collate([row((5, 6, 7), (8, 1))], pad_id=0), pad_id=0)
    assert read.ids_BW.tolist() == [[5, 6, 7, 8]]
    assert read.place_BT.tolist() == [[2, 3]]


def test_a_row_with_nothing_before_its_labels_is_refused():
    """In a packed sequence its first label would be judged by its neighbour's last state."""
    rows = [EncodedExample(id=id_, source_ids=ids, target_ids=(7, 1)) for id_, ids in (("a", (5,)), ("b", ()))]
    with pytest.raises(UsageError, match="row b has no token before its labels"):
        Sequences.of(collate(rows, pad_id=0), pad_id=0)
    assert Sequences.of(collate(rows[:1], pad_id=0), pad_id=0).place_BT.tolist() == [[0, 1]]


def test_entries_of_no_token_are_in_the_hard_loss_and_not_in_the_soft_one():
    """Heads are wider than the tokenizer: both are cut at its largest id, and the hard loss stays the model's own."""
    width, whole = len(tokenizer()), len(tokenizer()) + 18
    teacher, student = (model(seed=seed, vocab_size=whole) for seed in (2, 3))
    for each in (teacher, student):
        each.module.get_output_embeddings().weight.data[width:] *= 40  # so that they have mass
    narrow = of_tokens(OpenHFTeacher(model=teacher, identity="", device="cpu", batch_size=2))
    assert narrow.vocab_size == width
    told = collate([row((5, 6, 7), (8, 9, 1))], pad_id=0)
    (block,) = narrow.logits([row((5, 6, 7), (8, 9, 1))], Silent())
    assert block.logits_TV.shape == (3, width)
    for codec in (Float(dtype="fp32"), TopK(k=width, step=2.0**-20)):
        targets = codec.targets([(codec.encode(block), 3)], vocab_size=width, device="cpu")
        tokens = Forward.of(student)(told, targets)
        (part,) = tokens.parts(KD(alpha=0.5, temperature=1.0), lambda _: TokenCounts(hard=3, soft=3))
        with torch.no_grad():
            ids, labels = torch.tensor([[5, 6, 7, 8, 9, 1]]), torch.tensor([[-100, -100, -100, 8, 9, 1]])
            own = student.module(input_ids=ids, labels=labels).loss
            q_TV = student.logits(told)[0, :, :width].log_softmax(-1)
        p_TV = torch.from_numpy(block.logits_TV).log_softmax(-1)
        assert float(part.parts.hard) == pytest.approx(float(own), rel=1e-5)
        assert float(part.parts.soft) == pytest.approx(float((p_TV.exp() * (p_TV - q_TV)).sum(-1).mean()), rel=1e-3)
        assert float(own) > float(-q_TV[range(3), [8, 9, 1]].mean()) + 0.1, "the other entries have mass"


@KINDS
def test_the_hard_loss_is_the_model_s_own_in_any_batch(table):
    causal, told = model(table), batch()
    losses_N = cross_entropy(
        causal.logits(told).flatten(0, 1), told.labels_BT.flatten(), reduction="none", ignore_index=IGNORED
    )
    ours = losses_N.view(told.labels_BT.shape).sum(1)
    for place, (length, count) in enumerate(zip(told.source_counts.tolist(), told.label_counts.tolist(), strict=True)):
        labels = told.labels_BT[place, :count]
        ids = torch.cat([told.source_ids_BS[place, :length], labels])
        own = causal.module(input_ids=ids[None], labels=torch.cat([torch.full((length,), IGNORED), labels])[None]).loss
        assert ours[place].item() == pytest.approx(own.item() * count, rel=1e-4)


@KINDS
def test_states_through_the_head_are_the_logits(table):
    causal, told = model(table), batch()
    head = causal.head_function()
    if table is GEMMA2:  # its logits are capped after the head
        assert head is None
        assert causal.head() is None
        return
    torch.testing.assert_close(head(causal.states(told)), causal.logits(told), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("table", "factor"),
    [({"model_type": "granite", **SIZE, "logits_scaling": 8.0}, 1 / 8), ({"model_type": "cohere", **SIZE}, 0.0625)],
    ids=["granite", "cohere"],
)
def test_a_fixed_scale_of_the_logits_belongs_to_the_head(table, factor):
    """So that codecs which keep states take such a model."""
    causal, told = model(table), batch()
    states_ND, logits_NV = causal.states(told).flatten(0, 1), causal.logits(told).flatten(0, 1)
    torch.testing.assert_close(causal.head_function()(states_ND), logits_NV, rtol=1e-5, atol=1e-6)
    head = causal.head()
    assert head.bias_V is None
    torch.testing.assert_close(states_ND @ torch.from_numpy(head.weight_VD).T, logits_NV, rtol=1e-5, atol=1e-6)
    weight_VD = causal.module.get_output_embeddings().weight
    torch.testing.assert_close(torch.from_numpy(head.weight_VD), factor * weight_VD)
    causal.module.to(torch.bfloat16)
    assert causal.head_function() is not None


@KINDS
def test_a_text_does_not_depend_on_who_shares_the_batch(table):
    causal, options = model(table), Generation(beams=1, max_new_tokens=6)
    together = batch(*PAIRS, ("y", "z"))
    alone = [causal.generate(batch(pair), options)[0] for pair in (*PAIRS, ("y", "z"))]
    assert causal.generate(together, options) == alone


def test_a_capped_head_is_refused_by_a_codec_that_needs_a_linear_one():
    """Gemma 2, with logits near its cap; `u8-lz4` takes it."""
    from kdkit.builtin.codecs.subspace import Subspace

    causal = model({**GEMMA2, "final_logit_softcapping": 5.0})
    causal.module.get_output_embeddings().weight.data.mul_(10)
    ids_BW = torch.randint(270, (12, 20), generator=torch.Generator().manual_seed(0)).tolist()
    told = collate([row(tuple(ids[:4]), tuple(ids[4:])) for ids in ids_BW], pad_id=0)
    logits_BTV = causal.logits(told).detach().numpy()
    assert abs(logits_BTV).max() > 4
    blocks = [TeacherBlock(id=str(place), logits_TV=logits_TV) for place, logits_TV in enumerate(logits_BTV)]
    with pytest.raises(UsageError, match=r'not a linear function of few numbers: .* soft-capped head, .*"u8-lz4"'):
        Subspace().fit(blocks)


def test_texts_are_those_of_plain_transformers(tmp_path):
    causal = model()
    causal.adopt(Generation(beams=2, max_new_tokens=5))
    causal.save(tmp_path / "m", texts={})
    from transformers import AutoModelForCausalLM, AutoTokenizer

    plain, its = AutoModelForCausalLM.from_pretrained(tmp_path / "m"), AutoTokenizer.from_pretrained(tmp_path / "m")
    inputs = its("max of 3", return_tensors="pt")
    ids = plain.generate(**inputs)[0, inputs.input_ids.shape[1] :]
    assert (
        its.decode(ids, skip_special_tokens=True)
        == causal.generate(batch(("max of 3", "x")), Generation(beams=2, max_new_tokens=5))[0]
    )


def test_a_student_of_the_recurrent_layers_of_a_hybrid_model_writes(tmp_path):
    """transformers has no cache for it: what is saved says so, and writes the same texts there."""
    from transformers import AutoModelForCausalLM

    hybrid = {"model_type": "lfm2", **SIZE, "layer_types": ["conv", "full_attention", "conv"]}
    recurrent = model({**hybrid, "num_hidden_layers": 2, "layer_types": ["conv", "conv"]})
    options, told = Generation(beams=1, max_new_tokens=5), batch(("max of 3", "x"))
    recurrent.adopt(options)
    recurrent.save(tmp_path / "m", texts={})
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    ids = told.source_ids_BS
    for _ in range(5):
        ids = torch.cat([ids, plain(input_ids=ids, use_cache=False).logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    assert plain.generate(told.source_ids_BS).tolist() == ids.tolist()
    written = tokenizer().decode(ids[0, told.source_ids_BS.shape[1] :], skip_special_tokens=True)
    assert recurrent.generate(told, options) == [written]
    hybrid_model = model(hybrid)
    hybrid_model.adopt(options)
    assert hybrid_model.module.generation_config.use_cache


def test_a_text_ends_at_any_of_several_stop_tokens():
    causal, options = model(), Generation(beams=1, max_new_tokens=8)
    told = batch(("max of 3", "x"))
    causal.generate(told, options)
    ids = causal.module.generate(told.source_ids_BS)[0, told.source_ids_BS.shape[1] :]
    third = int(ids[2])
    assert third not in ids[:2]
    causal.module.generation_config.eos_token_id = [tokenizer().eos_token_id, third]
    (text,) = causal.generate(told, options)
    assert text == tokenizer().decode(ids[:3], skip_special_tokens=True)


def test_padding_goes_to_the_left():
    ids, mask = torch.tensor([[5, 6, 0], [7, 8, 9]]), torch.tensor([[1, 1, 0], [1, 1, 1]])
    left, its = padded_left(ids, mask)
    assert left.tolist() == [[0, 5, 6], [7, 8, 9]]
    assert its.tolist() == [[0, 1, 1], [1, 1, 1]]


def test_padding_is_known_by_its_place_and_not_by_its_id():
    """Where the token that ends texts pads too, as it often does."""
    ends = row((1, 5), (6, 1))
    read = Sequences.of(collate([ends, row((2, 3, 4), (5, 6, 7))], pad_id=1), pad_id=1)
    assert read.ids_BW.tolist() == [[1, 5, 6, 1, 1], [2, 3, 4, 5, 6]]
    assert read.mask_BW.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert read.place_BT.tolist() == [[1, 2, 3], [2, 3, 4]]


def test_a_model_that_sees_later_tokens_is_refused():
    with pytest.raises(UsageError, match="this bert model reads the tokens after the one that it is asked about"):
        model({"model_type": "bert", **{key: SIZE[key] for key in list(SIZE)[:4]}})
    model({"model_type": "bert", **{key: SIZE[key] for key in list(SIZE)[:4]}, "is_decoder": True})


def test_a_model_whose_head_does_not_read_a_state_a_token_is_refused():
    """ProphetNet's reads several: the first failed with a traceback of torch when it was asked."""
    table = {
        "model_type": "prophetnet", "hidden_size": 16, "num_decoder_layers": 1, "num_decoder_attention_heads": 2,
        "decoder_ffn_dim": 32, "is_decoder": True, "is_encoder_decoder": False, "max_position_embeddings": 64,
    }  # fmt: skip
    with pytest.raises(UsageError, match="the head of this prophetnet model does not read one state for each token"):
        model(table)


def test_a_model_without_numbers_is_not_taken_for_another_kind():
    module = model().module
    module.lm_head.weight.data.fill_(float("nan"))
    with pytest.raises(UsageError, match=r"the logits of this llama model are not numbers \(NaN\)"):
        models.causal_model(module, tokenizer())


def test_a_configuration_that_transformers_trips_over_is_one_sentence(monkeypatch):
    """Its class for DBRX looks for a field that its configuration does not have."""
    import transformers

    def trips(*_, **__):
        raise AttributeError("no attribute 'rope_theta'")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_config", trips)
    with pytest.raises(UsageError, match="config does not make a llama model: no attribute 'rope_theta'"):
        model()


def test_a_model_keeps_its_own_stop_tokens_beside_that_of_its_tokenizer():
    """An assistant may stop at the end of its turn alone, while its tokenizer ends texts with another token."""
    for own, both in ((7, [7, 1]), ([7, 8], [7, 8, 1]), ([1, 7], [1, 7]), (1, 1)):
        module = model().module
        module.generation_config.eos_token_id = own
        causal = models.causal_model(module, tokenizer())
        causal.adopt(Generation(beams=1, max_new_tokens=2))
        assert causal.module.generation_config.eos_token_id == both
        assert causal.text_rules == ("" if both == 1 else f"ends with {both}")  # which the store's texts are found by


def test_a_model_of_the_other_kind_is_named():
    with pytest.raises(UsageError, match=r'config is a t5 model, not a decoder-only model; .* set name = "hf-seq2seq"'):
        models.config_from({"model_type": "t5"}, tokenizer(), models.DecoderOnly().auto)
    with pytest.raises(UsageError, match=r'config is a llama model, not an encoder-decoder; .* set name = "hf-causal"'):
        models.config_from({"model_type": "llama"}, tokenizer())


@pytest.mark.parametrize("table", [LLAMA, GPT2, {"model_type": "smollm3", **SIZE}], ids=lambda t: t["model_type"])
def test_a_student_of_later_layers_computes_what_they_compute(table):
    teacher, told = model(table), batch()
    whole = models.keep_layers(teacher.module, {"layers": (0, 1, 2)}, seed=9).eval()
    assert torch.equal(models.causal_model(whole, tokenizer()).logits(told), teacher.logits(told))
    student = models.causal_model(models.keep_layers(teacher.module, {"layers": (2,)}, seed=9).eval(), tokenizer())
    from kdkit.models.layers import Stack

    layers = Stack.of(teacher.module, "layers").layers
    kept = layers[2]
    for each in list(layers):
        each.forward = lambda hidden, *_, **__: hidden
    kept.__dict__.pop("forward")
    torch.testing.assert_close(student.logits(told), teacher.logits(told))


def test_layers_that_are_not_there_are_named():
    with pytest.raises(UsageError, match=r"from_teacher.layers names layer 3, but the teacher has layers 0 to 2"):
        models.config_with_layers(model().module.config, {"layers": (0, 3)})


def test_codecs_are_measured_on_the_logits_of_a_model_that_is_named(tmp_path):
    """On text that every machine has: the states that judge each token, from many modules."""
    from kdkit.pipeline.measured_logits import of_model

    causal = model()
    causal.save(tmp_path / "m", texts={})
    with of_model(str(tmp_path / "m"), rows=12, progress=Silent()) as material:
        learnt, measured = list(material.learn()), list(material.measure())
    assert (len(learnt), len(measured), material.records) == (3, 9, 9)
    assert len({record.id.split(":")[0] for record in (*learnt, *measured)}) == 12
    assert all(record.states_TD.shape == (64, 16) for record in measured)
    tiny.model(tiny.T5).save(tmp_path / "t5", texts={})
    with pytest.raises(UsageError, match="is a t5 model, not a decoder-only model"):
        of_model(str(tmp_path / "t5"), rows=12, progress=Silent()).__enter__()
