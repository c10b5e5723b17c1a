"""Generation begins with what training begins with, and a student writes by its teacher's rules."""

from __future__ import annotations

import json

import language_kit as kit
import pytest
import tiny
import torch

from kdkit import models
from kdkit.api.options import Generation, TokenLimits
from kdkit.api.values import Corpus, Example
from kdkit.builtin.students.hf_seq2seq import FromTeacher, HFSeq2SeqStudent
from kdkit.builtin.teachers.hf_seq2seq import HFSeq2SeqTeacher
from kdkit.data.tokens import collate, encode
from kdkit.errors import UsageError
from kdkit.models.decoding import decoder_inputs
from kdkit.store import texts

NOTHING = Corpus(train=(), validation=())
WRAPPING = ("mbart", "plbart", "fsmt")
"""Their shift of the labels puts the last one first."""
OPTIONS = Generation(beams=1, max_new_tokens=3)


def table(model_type: str, **fields):
    return {"model_type": model_type, **kit.TINY, **fields}


def begins_after(model):
    """What the decoder reads first: in training, in generation, and by the configuration that is saved."""
    row = encode([Example(id="a", source="max of 3", target="== 3")], model.tokenizer, TokenLimits())[0]
    batch = collate([row], pad_id=model.tokenizer.pad_token_id)
    model.adopt(OPTIONS)
    with torch.inference_mode():
        written = model.module.generate(input_ids=batch.source_ids_BS, attention_mask=batch.source_mask_BS)
    return int(decoder_inputs(model.module, batch.labels_BT)[0, 0]), int(written[0, 0]), int(written[0, 1])


def saved(model, folder, **generation):
    """The model's folder, with other values in its generation configuration."""
    model.save(folder, texts={})
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | generation))
    return str(folder)


def new(model_type: str, tokenizer, **fields):
    """A model as transformers makes it, with any start."""
    module = models.new_model(models.config_from(table(model_type, **fields), tokenizer), seed=1)
    return models.Seq2SeqModel(module=module.eval(), tokenizer=tokenizer)


@pytest.mark.parametrize("model_type", [*WRAPPING, "bart", "m2m_100"])
def test_a_new_model_generates_from_what_it_is_trained_from(model_type, tmp_path):
    student = HFSeq2SeqStudent(config=table(model_type)).build(tiny.tokenizer(), None, seed=1, device="cpu")
    expected = 1 if model_type in WRAPPING else 0
    assert begins_after(student)[:2] == (expected, expected)
    student.save(tmp_path / "s", texts={})
    assert json.loads((tmp_path / "s" / "config.json").read_text())["decoder_start_token_id"] == expected
    again = HFSeq2SeqStudent(config=table(model_type)).open(tmp_path / "s", device="cpu")
    assert begins_after(again)[:2] == (expected, expected)


def test_mbart_begins_after_the_language_of_its_targets():
    tokenizer = kit.mbart(src_lang="en_XX", tgt_lang="de_DE")
    student = HFSeq2SeqStudent(config=table("mbart")).build(tokenizer, None, seed=1, device="cpu")
    language = tokenizer.convert_tokens_to_ids("de_DE")
    assert begins_after(student)[:2] == (language, language)
    assert student.module.generation_config.forced_bos_token_id is None


def test_nllb_begins_with_the_language_of_its_targets():
    tokenizer = kit.nllb(src_lang="eng_Latn", tgt_lang="deu_Latn")
    student = HFSeq2SeqStudent(config=table("m2m_100")).build(tokenizer, None, seed=1, device="cpu")
    assert begins_after(student) == (1, 1, tokenizer.convert_tokens_to_ids("deu_Latn"))


@pytest.mark.parametrize("component", [HFSeq2SeqTeacher, HFSeq2SeqStudent])
def test_a_start_in_the_recipe_that_training_does_not_have_is_refused(component):
    with pytest.raises(UsageError, match=r"begin a text after '</s>' \(id 1\), but .* after '<pad>' \(id 0\); set dec"):
        component(config=table("mbart", decoder_start_token_id=0)).model_config(
            tiny.tokenizer(), *([None] if component is HFSeq2SeqStudent else [])
        )
    config = HFSeq2SeqTeacher(config=table("mbart", decoder_start_token_id=1)).model_config(tiny.tokenizer())
    assert config.decoder_start_token_id == 1


def test_a_folder_whose_generation_starts_otherwise_is_refused_and_one_that_does_not_say_is_completed(tmp_path):
    model = new("plbart", tiny.tokenizer())
    teacher = HFSeq2SeqTeacher(model=saved(model, tmp_path / "m", decoder_start_token_id=0))
    for opened in (
        lambda: teacher.model_config(teacher.load_tokenizer(NOTHING)),
        lambda: teacher.build(NOTHING, seed=1, device="cpu"),
    ):
        with pytest.raises(UsageError, match=r"this plbart model is trained to begin a text after '</s>' \(id 1\)"):
            opened()
    path = tmp_path / "m" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"decoder_start_token_id": None}))
    path = tmp_path / "m" / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"decoder_start_token_id": None}))
    assert begins_after(teacher.build(NOTHING, seed=1, device="cpu"))[:2] == (1, 1)


def test_a_folder_that_forces_another_language_is_refused_and_the_recipe_wins(tmp_path):
    tokenizer = kit.nllb(src_lang="eng_Latn", tgt_lang="deu_Latn")
    french, german = tokenizer.convert_tokens_to_ids(["fra_Latn", "deu_Latn"])
    folder = saved(new("m2m_100", tokenizer), tmp_path / "m", forced_bos_token_id=french)
    teacher = HFSeq2SeqTeacher(model=folder)
    with pytest.raises(
        UsageError, match=r"with 'fra_Latn' \(id \d+\) .*, but its targets begin with 'deu_Latn' .*tgt_l"
    ):
        teacher.model_config(teacher.load_tokenizer(NOTHING))
    for code, token in (("fra_Latn", french), ("deu_Latn", german)):
        teacher = HFSeq2SeqTeacher(model=folder, tgt_lang=code)
        teacher.model_config(teacher.load_tokenizer(NOTHING))
        assert begins_after(teacher.build(NOTHING, seed=1, device="cpu"))[2] == token


def test_a_t5_that_names_no_start_is_told_so_when_it_is_planned(tmp_path):
    tiny.model(tiny.T5).save(tmp_path / "m", texts={})
    for name in ("config.json", "generation_config.json"):
        fields = json.loads((tmp_path / "m" / name).read_text())
        del fields["decoder_start_token_id"]
        (tmp_path / "m" / name).write_text(json.dumps(fields))
    teacher = HFSeq2SeqTeacher(model=str(tmp_path / "m"))
    with pytest.raises(UsageError, match=r"this t5 model lacks decoder_start_token_id; add it to its config\.json"):
        teacher.model_config(teacher.load_tokenizer(NOTHING))


STUDENTS = {
    "config": HFSeq2SeqStudent(config=table("bart")),
    "from_teacher": HFSeq2SeqStudent(from_teacher=FromTeacher(encoder_layers=(0,), decoder_layers=(0,))),
}


def starting_tokenizer():
    """As BART's: each text is between a start and an end."""
    from tokenizers import processors

    tokenizer = models.train_bpe([text for pair in tiny.pairs(200) for text in pair], vocab_size=tiny.VOCAB)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<unk> $A </s>", special_tokens=[("<unk>", 2), ("</s>", 1)]
    )
    return tokenizer


@pytest.mark.parametrize("student", STUDENTS.values(), ids=STUDENTS)
def test_a_student_begins_and_ends_texts_as_its_teacher_does(student, tmp_path):
    tokenizer = starting_tokenizer()
    rules = {"forced_bos_token_id": 2, "eos_token_id": [1, 5], "bad_words_ids": [[0], [9]], "num_beams": 7}
    folder = saved(new("bart", tokenizer), tmp_path / "teacher", **rules)
    teacher = HFSeq2SeqTeacher(model=folder).build(NOTHING, seed=1, device="cpu")
    made = student.build(tokenizer, tmp_path / "teacher", seed=1, device="cpu")
    made.adopt(OPTIONS)
    teacher.adopt(OPTIONS)
    made.save(tmp_path / "student", texts={})
    ours, theirs = (model.module.generation_config.to_diff_dict() for model in (made, teacher))
    assert ours == theirs
    kept = json.loads((tmp_path / "student" / "generation_config.json").read_text())
    assert [kept.get(name) for name in rules] == [2, [1, 5], [[0]], 1]


def test_texts_of_other_rules_have_another_key():
    plain, ruled = new("bart", tiny.tokenizer()), new("bart", tiny.tokenizer())
    assert texts.kept_as("w", plain, None) == texts.kept_as("w", object(), None) == "w"
    ruled.module.generation_config.forced_bos_token_id = 9
    assert texts.kept_as("w", ruled, None) == "w begins with 9"
    ruled.module.generation_config.decoder_start_token_id = 3
    assert texts.kept_as("w", ruled, None) == "w begins after 3, begins with 9"


def test_a_teacher_without_a_generation_configuration_has_its_rules_in_its_configuration(tmp_path):
    tokenizer = starting_tokenizer()
    saved(new("bart", tokenizer), tmp_path / "teacher")
    (tmp_path / "teacher" / "generation_config.json").unlink()
    path = tmp_path / "teacher" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"forced_bos_token_id": 2}))
    student = STUDENTS["config"].build(tokenizer, tmp_path / "teacher", seed=1, device="cpu")
    assert student.module.generation_config.forced_bos_token_id == 2


def test_logits_that_begin_after_a_token_of_the_generation_configuration_alone_are_its_own(tmp_path):
    """A config.json without decoder_start_token_id leaves it to generation_config.json, where training looks too."""
    batch, found = collate(tiny.encoded(3)[1], pad_id=0), {}
    plain = saved(tiny.model(), tmp_path / "plain")
    for start in (0, 5):
        folder = tmp_path / str(start)
        saved(tiny.model(), folder, decoder_start_token_id=start)
        fields = json.loads((folder / "config.json").read_text())
        del fields["decoder_start_token_id"]
        (folder / "config.json").write_text(json.dumps(fields))
        opened = HFSeq2SeqTeacher(model=str(folder)).open(folder, None, NOTHING, device="cpu")
        with torch.inference_mode():
            found[opened.identity] = opened.model.logits(batch)
    one, other = found.values()
    assert not torch.equal(one, other)
    as_ever = HFSeq2SeqTeacher(model=plain).open(tmp_path / "plain", None, NOTHING, device="cpu")
    assert as_ever.identity == models.weights_digest(tmp_path / "plain")


@pytest.mark.parametrize("rules", [{"eos_token_id": [1, 5]}, {"pad_token_id": 7}])
def test_texts_and_made_teachers_depend_on_the_rules_of_a_generation_configuration(rules, tmp_path):
    saved(tiny.model(), tmp_path / "plain")
    saved(tiny.model(), tmp_path / "ruled", **rules)
    folders = [tmp_path / name for name in ("plain", "ruled")]
    plain, ruled = (HFSeq2SeqTeacher(model=str(each)).open(each, None, NOTHING, device="cpu") for each in folders)
    assert plain.identity == ruled.identity, "their logits are the same"
    assert texts.kept_as("w", plain, None) == "w" != texts.kept_as("w", ruled, None)
    assert [models.rules_beside(each) for each in folders] == [{}, rules]
