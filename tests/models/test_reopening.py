"""A model that is saved is opened with the tokenizer that it was saved with, or refused before it is made."""

from __future__ import annotations

import attrs
import causal_kit
import pytest
import tiny
from causal_architectures import own_tokenizer

from kdkit import models
from kdkit.api.values import Corpus
from kdkit.builtin.students.hf_causal import FromTeacher, HFCausalStudent
from kdkit.builtin.teachers.hf_causal import HFCausalTeacher
from kdkit.builtin.teachers.hf_seq2seq import HFSeq2SeqTeacher
from kdkit.errors import UsageError

QWEN2 = {"model_type": "qwen2", **causal_kit.SIZE}
REFUSED = "folder of a qwen2 model is always opened with the class Qwen2Tokenizer .* or a model of another type"


def config(table, tokenizer):
    return models.config_from(table, tokenizer, models.DecoderOnly().auto)


@pytest.mark.parametrize("model_type", ["qwen3", "llama", "gemma2", "gpt2", "jamba"])
def test_a_tokenizer_that_is_trained_here_goes_with_a_model_of_most_types(model_type):
    models.check_reopens(config({"model_type": model_type}, causal_kit.tokenizer()), causal_kit.tokenizer())


def test_qwen2_takes_its_own_tokenizers_alone(tmp_path):
    """transformers opens what such a folder holds as its own class, whatever the folder says."""
    own = own_tokenizer("qwen2", tmp_path)
    models.check_reopens(config(QWEN2, own), own)
    with pytest.raises(UsageError, match=REFUSED):
        models.check_reopens(config(QWEN2, causal_kit.tokenizer()), causal_kit.tokenizer())


def test_teachers_and_students_that_would_be_saved_with_another_tokenizer_are_refused(tmp_path):
    corpus = Corpus(train=tuple(tiny.encoded(20)[0]), validation=())
    new = HFCausalTeacher(config=QWEN2, vocab_size=tiny.VOCAB)
    with pytest.raises(UsageError, match=REFUSED):
        new.model_config(new.load_tokenizer(corpus))
    own = models.config_from(QWEN2, own_tokenizer("qwen2", tmp_path), models.DecoderOnly().auto)
    for student in (HFCausalStudent(config=QWEN2), HFCausalStudent(from_teacher=FromTeacher(layers=(0,)))):
        with pytest.raises(UsageError, match=REFUSED):
            student.model_config(causal_kit.tokenizer(), own)
    asked_only = attrs.evolve(new, config=None, model=str(tmp_path))
    own.save_pretrained(tmp_path)
    assert asked_only.model_config(causal_kit.tokenizer()).model_type == "qwen2"


def test_encoder_decoders_keep_the_tokenizer_that_is_trained_here():
    corpus = Corpus(train=tuple(tiny.encoded(20)[0]), validation=())
    teacher = HFSeq2SeqTeacher(config=tiny.T5, vocab_size=tiny.VOCAB)
    assert teacher.model_config(teacher.load_tokenizer(corpus)).model_type == "t5"
