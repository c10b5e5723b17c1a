from __future__ import annotations

import json
import re
import shutil

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdkit import models
from kdkit.api.options import Generation
from kdkit.data.tokens import collate
from kdkit.errors import DamagedData, Mismatch, MissingInput, UsageError
from kdkit.models.decoding import decoder_inputs, generation_config, shift_right

T5_HEADS = {
    "tied": {},
    "tied, decoder states not scaled": {"scale_decoder_outputs": False},
    "untied": {"tie_word_embeddings": False},
    "gated": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
}

BOTH = {"encoder_layers": (0, 1), "decoder_layers": (0, 1)}


def batch_of(rows: int = 5):
    return collate(tiny.encoded(rows)[1], pad_id=tiny.tokenizer().pad_token_id)


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


# --- tokenizers


def test_the_same_texts_train_the_same_tokenizer():
    texts = [text for pair in tiny.pairs(100, seed=3) for text in pair]
    one, other = (models.train_bpe(iter(texts), vocab_size=300) for _ in range(2))
    assert models.tokenizer_digest(one) == models.tokenizer_digest(other)
    assert one(texts)["input_ids"] == other(texts)["input_ids"]


@pytest.mark.parametrize("text", ["", "max of 3", "Grüße \t\n  €𝄞", "</s>ab"])
def test_a_trained_tokenizer_gives_back_any_text_and_ends_it(text):
    ids = tiny.tokenizer()(text)["input_ids"]
    assert ids[-1] == tiny.tokenizer().eos_token_id == 1
    assert tiny.tokenizer().pad_token_id == 0
    plain = text.replace("</s>", "")
    assert tiny.tokenizer().batch_decode([ids], skip_special_tokens=True) == [plain]


def test_a_trained_tokenizer_names_an_unknown_token_that_its_vocabulary_has(tmp_path):
    """CTranslate2's converter asks for its name, and adds a row to the vocabulary where that has none of it."""
    tiny.tokenizer().save_pretrained(tmp_path)
    read = models.load_tokenizer(str(tmp_path))
    assert read.get_vocab()[read.unk_token] == read.unk_token_id == 0
    assert len(read) == len(tiny.tokenizer()) == tiny.VOCAB
    assert 0 not in read("\ue000 ⟨💥⟩ \x00")["input_ids"]


def test_the_digest_of_a_trained_tokenizer_is_what_it_was():
    """Caches, teachers and texts in the store are found by it."""
    made = models.train_bpe([text for pair in tiny.pairs(200) for text in pair], vocab_size=tiny.VOCAB)
    assert models.tokenizer_digest(made) == "68c077b26ee82ff47ac01bcf423fb0bb681483c2a078cd783bbbe438344f2bcd"


def test_a_tokenizer_has_one_digest_before_saving_and_after_loading(tmp_path):
    tiny.tokenizer().save_pretrained(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    digests = {models.tokenizer_digest(models.load_tokenizer(str(tmp_path / name))) for name in "ab"}
    assert digests == {models.tokenizer_digest(tiny.tokenizer())}
    models.check_same_tokenizer(tiny.tokenizer(), models.load_tokenizer(str(tmp_path / "a")))


@pytest.mark.parametrize("model_type", ["t5", "switch_transformers"])
def test_a_decoder_deeper_than_its_encoder_writes_here_and_in_plain_transformers(model_type, tmp_path):
    """transformers makes a cache for as many layers as the encoder has."""
    from transformers import AutoModelForSeq2SeqLM

    model = tiny.model({**tiny.T5, "model_type": model_type, "num_layers": 1, "num_decoder_layers": 3})
    with torch.no_grad():
        for parameter in model.module.parameters():
            parameter.mul_(3)
    batch = collate(tiny.encoded(3)[1], pad_id=0)
    written = model.generate(batch, Generation(beams=2, max_new_tokens=7))
    model.save(tmp_path / "m", texts={})
    plain = AutoModelForSeq2SeqLM.from_pretrained(str(tmp_path / "m")).eval()
    ids_BT = plain.generate(input_ids=batch.source_ids_BS, attention_mask=batch.source_mask_BS)
    assert model.tokenizer.batch_decode(ids_BT, skip_special_tokens=True) == written
    assert any(written)


def test_tokenizers_that_write_ids_otherwise_have_another_digest_of_that(tmp_path):
    """What they make of texts is the same, and so is `tokenizer_digest`."""
    tiny.tokenizer().save_pretrained(str(tmp_path / "plain"))
    content = json.loads((tmp_path / "plain" / "tokenizer.json").read_text())
    rare = max(content["model"]["vocab"], key=content["model"]["vocab"].get)
    token = {**content["added_tokens"][0], "id": content["model"]["vocab"][rare], "content": rare}
    others = {"bytes": {"decoder": None}, "special": {"added_tokens": [*content["added_tokens"], token]}}
    found = [models.load_tokenizer(str(tmp_path / "plain")), tiny.tokenizer()]
    for name, changes in others.items():
        shutil.copytree(tmp_path / "plain", tmp_path / name)
        (tmp_path / name / "tokenizer.json").write_text(json.dumps(content | changes))
        found.append(models.load_tokenizer(str(tmp_path / name)))
    assert len({models.tokenizer_digest(each) for each in found}) == 1
    loaded, made, *changed = map(models.decoding_digest, found)
    assert loaded == made
    assert len({made, *changed}) == 3


def test_the_first_token_that_differs_is_named():
    other = models.train_bpe(["zebra zebra zebra max of"], vocab_size=262)
    ours = {v: k for k, v in tiny.tokenizer().get_vocab().items()}
    theirs = {v: k for k, v in other.get_vocab().items()}
    first = next(i for i in range(300) if ours.get(i) != theirs.get(i))
    with pytest.raises(Mismatch, match=re.escape(f"id {first} is {ours[first]!r} to the teacher (270 tokens)")):
        models.check_same_tokenizer(tiny.tokenizer(), other)


def test_tokenizers_that_end_texts_otherwise_differ(tmp_path):
    from tokenizers import processors

    tiny.tokenizer().save_pretrained(tmp_path)
    other = models.load_tokenizer(str(tmp_path))
    other.backend_tokenizer.post_processor = processors.ByteLevel()
    with pytest.raises(Mismatch, match="split, begin or end text differently"):
        models.check_same_tokenizer(tiny.tokenizer(), other)


def test_tokenizers_that_differ_in_what_pads_or_ends_texts_are_told_so(tmp_path):
    tiny.tokenizer().save_pretrained(tmp_path)
    for field, sentence in (
        ("pad_token", r"but pad with other ones \(id 0 and id 9\)"),
        ("eos_token", "but end texts with"),
    ):
        other = models.load_tokenizer(str(tmp_path))
        setattr(other, field, other.convert_ids_to_tokens(9))
        with pytest.raises(Mismatch, match=sentence):
            models.check_same_tokenizer(tiny.tokenizer(), other)


# --- logits


@pytest.mark.parametrize("fields", T5_HEADS.values(), ids=T5_HEADS)
def test_t5_logits_give_the_loss_that_the_model_itself_reports(fields):
    assert_own_loss(tiny.model(tiny.T5, **fields))


def test_bart_logits_give_the_loss_that_the_model_itself_reports():
    assert_own_loss(tiny.model(tiny.BART))


def assert_own_loss(model):
    batch = batch_of()
    with torch.no_grad():
        own = model.module(input_ids=batch.source_ids_BS, attention_mask=batch.source_mask_BS, labels=batch.labels_BT)
        logits_BTV = model.logits(batch)
    ours = torch.nn.functional.cross_entropy(logits_BTV.flatten(0, 1), batch.labels_BT.flatten(), ignore_index=-100)
    torch.testing.assert_close(ours, own.loss, rtol=1e-6, atol=0)
    assert logits_BTV.shape == (*batch.labels_BT.shape, model.vocab_size)


def test_scaling_the_decoder_states_matters_here():
    """Otherwise the tests above would pass with the scale forgotten."""
    scaled, plain = (tiny.model(tiny.T5, scale_decoder_outputs=on) for on in (True, False))
    torch.testing.assert_close(
        scaled.logits(batch_of()) * tiny.T5["d_model"] ** 0.5, plain.logits(batch_of()), rtol=1e-5, atol=1e-6
    )


@given(st.lists(st.lists(st.integers(0, 250), min_size=1, max_size=6), min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_the_decoder_reads_what_t5_and_bart_themselves_would_feed_it(labels):
    width = max(map(len, labels))
    labels_BT = torch.tensor([row + [-100] * (width - len(row)) for row in labels])
    for model in SHIFTING:
        own_BT = model.module.prepare_decoder_input_ids_from_labels(labels=labels_BT)
        assert torch.equal(shift_right(labels_BT, start=0, pad=0), own_BT)
        assert torch.equal(decoder_inputs(model.module, labels_BT), own_BT)


SHIFTING = [tiny.model(tiny.T5), tiny.model(tiny.BART)]
BART_LIKE = {key: value for key, value in tiny.BART.items() if key != "model_type"}


@pytest.mark.parametrize("model_type", ["m2m_100", "blenderbot", "mbart", "pegasus", "marian"])
def test_models_with_and_without_a_shift_of_their_own_give_the_loss_that_they_report(model_type):
    model = tiny.model({"model_type": model_type, **BART_LIKE}, decoder_start_token_id=2)
    assert_own_loss(model)
    texts = model.generate(batch_of(3), Generation(beams=2, max_new_tokens=5))
    assert len(texts) == 3


def test_a_model_that_names_no_start_is_told_where_to():
    module = tiny.model({"model_type": "m2m_100", **BART_LIKE}).module
    module.config.decoder_start_token_id = module.generation_config.decoder_start_token_id = None
    with pytest.raises(UsageError, match="m2m_100 model lacks decoder_start_token_id"):
        decoder_inputs(module, torch.tensor([[5]]))


# --- texts


LEAKS = {
    "max_new_tokens": 3,
    "min_length": 7,
    "min_new_tokens": 7,
    "no_repeat_ngram_size": 1,
    "length_penalty": 9.0,
    "num_return_sequences": 2,
    "max_length": 3,
    "repetition_penalty": 5.0,
    "do_sample": True,
    "suppress_tokens": [4, 5, 6],
    "bad_words_ids": [[7]],
    "forced_eos_token_id": 9,
}


@pytest.mark.parametrize("beams", [1, 3])
def test_what_a_models_folder_asks_for_does_not_change_its_texts(tmp_path, beams):
    options = Generation(beams=beams, max_new_tokens=7)
    expected = tiny.model(tiny.T5).generate(batch_of(), options)
    folder = tmp_path / "m"
    tiny.model(tiny.T5).save(folder, texts={})
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {**LEAKS, "num_beams": 3}))
    leaky = models.Seq2SeqModel(module=models.load_model(str(folder)).eval(), tokenizer=tiny.tokenizer())
    assert leaky.module.generation_config.max_new_tokens == 3
    assert leaky.generate(batch_of(), options) == expected


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"min_new_tokens": 6}, {"min_new_tokens": 6}),
        ({"no_repeat_ngram_size": 1}, {"no_repeat_ngram_size": 1}),
        ({"beams": 3, "length_penalty": -9.0}, {"num_beams": 3, "length_penalty": -9.0, "early_stopping": True}),
    ],
)
def test_a_recipes_search_is_that_of_transformers(ours, theirs, tmp_path):
    from transformers import AutoModelForSeq2SeqLM

    model, batch = model_of_texts(ends="min_new_tokens" in ours), batch_of(1)
    plain = model.module.generate(batch.source_ids_BS, max_new_tokens=8, do_sample=False, **theirs)
    bare, options = (Generation(**{"beams": 1, "max_new_tokens": 8, **ours, **more}) for more in (NEUTRAL, {}))
    written = model.generate(batch, options)
    assert written == model.tokenizer.batch_decode(plain, skip_special_tokens=True)
    assert written != model.generate(batch, bare)
    model.adopt(options)
    model.save(tmp_path / "m", texts={})
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "m").eval()
    assert torch.equal(again.generate(batch.source_ids_BS), plain)


NEUTRAL = {"min_new_tokens": 0, "no_repeat_ngram_size": 0, "length_penalty": 1.0}


def model_of_texts(*, ends: bool):
    """A tiny T5 that writes one token for ever, or the end at once."""
    model = tiny.model(tiny.T5, tie_word_embeddings=not ends)
    if ends:
        head_VD = model.module.lm_head.weight.data
        [[_, repeated]] = model.module.generate(batch_of(1).source_ids_BS, max_new_tokens=1).tolist()
        head_VD[model.tokenizer.eos_token_id] = 1.1 * head_VD[repeated]
    return model


def test_special_tokens_stay_the_models_own():
    """A multilingual model writes in the language that is forced first; several ends stay several."""
    model = tiny.model(tiny.BART)
    module = model.module
    module.generation_config.update(forced_bos_token_id=9, decoder_start_token_id=3, eos_token_id=[1, 2])
    config = generation_config(module, model.tokenizer, Generation(beams=1, max_new_tokens=7))
    assert (config.forced_bos_token_id, config.decoder_start_token_id, config.eos_token_id) == (9, 3, [1, 2])
    assert (config.pad_token_id, config.max_length, config.num_beams) == (0, 8, 1)


def test_plain_transformers_writes_what_a_run_has_its_student_write(tmp_path):
    from transformers import AutoModelForSeq2SeqLM

    tiny.run_here(tmp_path, training__epochs=1, generation__beams=2, generation__max_new_tokens=5)
    for name in ("teacher", "student/best"):
        folder = tmp_path / "runs" / "tiny" / name
        saved = json.loads((folder / "generation_config.json").read_text())
        assert (saved["max_length"], saved["num_beams"], saved["early_stopping"]) == (6, 2, True)
        plain = AutoModelForSeq2SeqLM.from_pretrained(folder)
        batch = batch_of(1)
        ours = models.Seq2SeqModel(module=models.load_model(str(folder)), tokenizer=models.load_tokenizer(str(folder)))
        written = ours.tokenizer.batch_decode(plain.generate(batch.source_ids_BS), skip_special_tokens=True)
        assert written == ours.generate(batch, Generation(beams=2, max_new_tokens=5))


# --- layers


@pytest.mark.parametrize("config", [tiny.T5, {**tiny.T5, "tie_word_embeddings": False}, tiny.BART])
def test_a_student_of_all_layers_is_its_teacher(config):
    teacher = tiny.model(config)
    student = models.Seq2SeqModel(
        module=models.keep_layers(teacher.module, BOTH, seed=9).eval(), tokenizer=tiny.tokenizer()
    )
    assert torch.equal(student.logits(batch_of()), teacher.logits(batch_of()))


def test_a_layer_is_the_layer_of_the_teacher_that_was_named():
    teacher = tiny.model(tiny.T5, num_layers=3, num_decoder_layers=3).module
    student = models.keep_layers(teacher, {"encoder_layers": (2, 1), "decoder_layers": (1,)}, seed=9)
    theirs, ours = teacher.state_dict(), student.state_dict()
    query = "block.{}.layer.0.SelfAttention.q.weight"
    assert torch.equal(ours["encoder." + query.format(0)], theirs["encoder." + query.format(2)])
    assert torch.equal(ours["encoder." + query.format(1)], theirs["encoder." + query.format(1)])
    assert torch.equal(ours["decoder." + query.format(0)], theirs["decoder." + query.format(1)])
    assert (student.config.num_layers, student.config.num_decoder_layers) == (2, 1)


def test_without_layer_0_the_relative_position_bias_is_still_the_teachers():
    teacher = tiny.model(tiny.T5).module
    student = models.keep_layers(teacher, {"encoder_layers": (1,), "decoder_layers": (1,)}, seed=9)
    bias = "block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    for side in ("encoder", "decoder"):
        assert torch.equal(student.state_dict()[f"{side}.{bias}"], teacher.state_dict()[f"{side}.{bias}"])


def test_changing_the_student_leaves_the_teacher_alone():
    teacher = tiny.model(tiny.T5)
    before = teacher.logits(batch_of()).detach().clone()
    student = models.keep_layers(teacher.module, BOTH, seed=9)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.zero_()
    assert torch.equal(teacher.logits(batch_of()), before)


def test_a_layer_that_is_not_there_is_named():
    config = tiny.model(tiny.T5).module.config
    with pytest.raises(UsageError, match=r"decoder_layers names layer 2, but the teacher's decoder has layers 0 to 1"):
        models.config_with_layers(config, {"encoder_layers": (0,), "decoder_layers": (2,)})


# --- new models


def test_a_seed_gives_one_model_and_leaves_the_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    models = [tiny.model(tiny.T5, seed=seed).module.state_dict()["shared.weight"] for seed in (1, 1, 2)]
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(models[0], models[1])
    assert not torch.equal(models[0], models[2])


@pytest.mark.parametrize("config", [tiny.T5, {**tiny.T5, "tie_word_embeddings": False}, tiny.BART])
def test_the_size_is_known_without_the_model(config):
    model = tiny.model(config)
    size = models.size_of(models.config_from(config, tiny.tokenizer()))
    assert size.parameters == models.count_parameters(model.module)
    assert size.parameters == sum({p.data_ptr(): p.numel() for p in model.module.parameters()}.values())
    assert size.vocab_size == model.vocab_size == tiny.VOCAB


@pytest.mark.parametrize("config", [tiny.T5, tiny.BART])
def test_special_tokens_come_from_the_tokenizer(config):
    """BART's own defaults name ids that mean other tokens here: its forced end of text among them."""
    model = tiny.model(config).module
    assert model.config.pad_token_id == model.config.decoder_start_token_id == 0
    assert model.config.eos_token_id == 1
    assert getattr(model.generation_config, "forced_eos_token_id", None) in (None, 1)


def test_any_configuration_takes_special_tokens():
    """T5's does not declare the token that its decoder starts from."""
    config = models.config_from({**tiny.T5, "decoder_start_token_id": 5, "bos_token_id": 7}, tiny.tokenizer())
    assert (config.decoder_start_token_id, config.bos_token_id) == (5, 7)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"d_model": 16}, "config.model_type is missing"),
        ({"model_type": "bartt"}, '"bartt" is not a model type of transformers; did you mean "bart"'),
        (
            {"model_type": "gpt2"},
            'config is a gpt2 model, not an encoder-decoder; use one such as "t5", or set name = "hf-causal"',
        ),
        ({"model_type": "t5", "d_modle": 16}, "a t5 model does not have: d_modle"),
        ({"model_type": "t5", "d_model": "wide"}, "expected int, got str"),
        ({"model_type": "t5", "vocab_size": 10}, "vocab_size is 10, but the tokenizer has 270 tokens"),
        ({**tiny.BART, "d_model": 15}, "embed_dim must be divisible by num_heads"),
        ({**tiny.T5, "d_model": -1}, "config does not make a t5 model"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_wrong_config_is_one_sentence(config, sentence):
    with pytest.raises(UsageError, match=re.escape(sentence)) as error:
        models.size_of(models.config_from(config, tiny.tokenizer()))
    assert "\n" not in str(error.value)


# --- folders


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "m"
    tiny.model(tiny.T5).save(folder, texts={"README.md": "card"})
    return folder


def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def change_config(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_a_saved_model_opens_with_plain_transformers_and_says_the_same(saved):
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    plain = AutoModelForSeq2SeqLM.from_pretrained(saved)
    tokenizer = AutoTokenizer.from_pretrained(saved)
    source = tokenizer("max of 3 and 5", return_tensors="pt").input_ids
    written = plain.generate(source, max_new_tokens=7, num_beams=1, do_sample=False)
    batch = collate(tiny.encoded(1)[1], pad_id=0)
    batch = type(batch)(
        ids=("a",), source_ids_BS=source, source_mask_BS=torch.ones_like(source), labels_BT=batch.labels_BT
    )
    ours = tiny.model(tiny.T5).generate(batch, Generation(beams=1, max_new_tokens=7))
    assert tokenizer.batch_decode(written, skip_special_tokens=True) == ours
    assert {file.suffix for file in saved.iterdir()} <= {".json", ".safetensors", ".md"}


def test_saving_again_replaces_all_of_it_and_clears_what_a_kill_left(tmp_path):
    folder = tmp_path / "m"
    (tmp_path / ".m.123.partial").mkdir()
    (tmp_path / ".m.123.old").mkdir()
    tiny.model(tiny.T5, seed=1).save(folder, texts={"README.md": "one", "old.txt": ""})
    first = models.weights_digest(folder)
    tiny.model(tiny.T5, seed=2).save(folder, texts={"README.md": "two"})
    assert models.weights_digest(folder) != first
    assert (folder / "README.md").read_text() == "two"
    assert not (folder / "old.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_the_digest_does_not_depend_on_place_or_loading(saved, tmp_path):
    folder = copy(saved, tmp_path)
    change_config(folder, _name_or_path="elsewhere", transformers_version="9", architectures=None)
    assert models.weights_digest(folder) == models.weights_digest(saved)
    model = models.Seq2SeqModel(module=models.load_model(str(folder)), tokenizer=models.load_tokenizer(str(folder)))
    model.save(tmp_path / "again", texts={})
    assert models.weights_digest(tmp_path / "again") == models.weights_digest(saved)


def test_the_digest_changes_with_any_weight(saved, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = copy(saved, tmp_path)
    weights = load_file(folder / "model.safetensors")
    digests = {models.weights_digest(saved)}
    for name in weights:
        changed = {**weights, name: weights[name].clone()}
        changed[name].view(-1)[-1] += 1
        save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})
        digests.add(models.weights_digest(folder))
    assert len(digests) == len(weights) + 1


@pytest.mark.parametrize(
    "fields", [{"scale_decoder_outputs": False}, {"num_heads": 4}, {"relative_attention_max_distance": 9}]
)
def test_the_digest_changes_with_what_the_logits_depend_on(saved, tmp_path, fields):
    folder = copy(saved, tmp_path)
    change_config(folder, **fields)
    assert models.weights_digest(folder) != models.weights_digest(saved)


def damaged_config(folder):
    (folder / "config.json").write_text("{")


def without_a_weight(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights.pop("decoder.final_layer_norm.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def cut_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])


@pytest.mark.parametrize(
    ("spoil", "error", "sentence"),
    [
        (shutil.rmtree, MissingInput, "there is no model folder"),
        (lambda f: (f / "config.json").unlink(), MissingInput, "is not a model folder: config.json is missing there"),
        (damaged_config, DamagedData, "is not JSON"),
        (
            lambda f: change_config(f, model_type="gpt2", is_encoder_decoder=False),
            UsageError,
            "is a gpt2 model, not an encoder-decoder",
        ),
        (lambda f: (f / "model.safetensors").unlink(), MissingInput, "has no weights"),
        (without_a_weight, UsageError, "such as decoder.final_layer_norm.weight; it is not a complete t5 model"),
        (cut_weights, DamagedData, "are damaged"),
        (
            lambda f: change_config(f, d_ff=7),
            UsageError,
            (
                "has 8 weights of another shape than its config.json says, such as decoder.block.0.layer.2.DenseRelu"
                "Dense.wi.weight: (32, 16) in the file, (7, 16) by config.json; use the config.json that was saved with"
            ),
        ),
    ],
)
def test_a_folder_that_is_no_model_is_one_sentence(saved, tmp_path, spoil, error, sentence):
    folder = copy(saved, tmp_path)
    spoil(folder)
    with pytest.raises(error, match=re.escape(sentence)) as caught:
        models.load_model(str(folder))
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("tokenizer.json", {"model": {"continuing_subword_prefix": "a" * 100}}),  # a panic within the library
        ("tokenizer_config.json", {"model_max_length": "none"}),  # seen with the first text
    ],
)
def test_a_tokenizer_that_fails_in_its_library_or_at_a_text_is_one_sentence(saved, tmp_path, file, change):
    folder = shutil.copytree(saved, tmp_path / "spoilt")
    table = json.loads((folder / file).read_text())
    for key, value in change.items():
        table[key] = {**table[key], **value} if isinstance(value, dict) else value
    (folder / file).write_text(json.dumps(table))
    with pytest.raises(UsageError, match=r"the tokenizer of .*spoilt cannot be read"):
        models.load_tokenizer(str(folder))


def test_a_configuration_of_far_more_parameters_than_weights_is_refused_at_once(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "spoilt")
    table = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**table, "relative_attention_num_buckets": 10**9}))
    with pytest.raises(UsageError, match=r"a model of 4,000,\d\d\d,\d\d\d parameters, but the weights there have \d"):
        models.load_model(str(folder))


def test_a_folder_without_tokenizer_is_one_sentence(saved, tmp_path):
    folder = copy(saved, tmp_path)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(MissingInput, match="has no tokenizer"):
        models.load_tokenizer(str(folder))
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(UsageError, match=r"the tokenizer of .* cannot be read"):
        models.load_tokenizer(str(folder))


def test_a_name_that_nobody_has_says_to_give_a_folder(tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingInput, match=r'model "nobody/nothing" .* give the path of a downloaded folder'):
        models.load_model("nobody/nothing")
