"""Targets are encoded as targets: marked with their language, and in the target's vocabulary."""

from __future__ import annotations

import hashlib
import json
import re

import language_kit as kit
import pytest
import tiny

from kdkit import models
from kdkit.api.options import TokenLimits
from kdkit.api.values import Corpus, Example
from kdkit.builtin.students.hf_seq2seq import HFSeq2SeqStudent
from kdkit.builtin.teachers.hf_seq2seq import HFSeq2SeqTeacher
from kdkit.builtin.teachers.recorded import RecordedTeacher
from kdkit.data.tokens import encode
from kdkit.errors import Mismatch, UsageError
from kdkit.models.tokenizers import PROBE

NOTHING = Corpus(train=(), validation=())
MARKS = {
    "nllb": (kit.nllb, "eng_Latn", "deu_Latn", 0),
    "mbart": (kit.mbart, "en_XX", "de_DE", -1),
}


@pytest.fixture(params=MARKS)
def marks(request):
    return MARKS[request.param]


def encoded(tokenizer, target: str = "== 3", limit: int = 20):
    example = Example(id="a", source="max of 3 and 2", target=target)
    return encode([example], tokenizer, TokenLimits(max_source=30, max_target=limit))[0]


def test_a_target_is_marked_with_its_own_language(marks):
    make, src_lang, tgt_lang, place = marks
    tokenizer = make(src_lang=src_lang, tgt_lang=tgt_lang)
    row, cut = encoded(tokenizer), encoded(tokenizer, limit=4)
    assert tokenizer.convert_ids_to_tokens(row.source_ids[place]) == src_lang
    assert tokenizer.convert_ids_to_tokens(row.target_ids[place]) == tgt_lang
    assert list(row.target_ids) == tokenizer(text_target="== 3")["input_ids"]
    assert (len(cut.target_ids), cut.target_ids[place]) == (4, row.target_ids[place])


def test_a_plain_tokenizer_makes_of_a_target_what_it_makes_of_a_source():
    tokenizer = tiny.tokenizer()
    row = encode([Example(id="a", source="== 3", target="== 3")], tokenizer, TokenLimits())[0]
    assert row.source_ids == row.target_ids == tuple(tokenizer("== 3")["input_ids"])


def test_a_plain_tokenizer_has_the_digest_that_it_had():
    """It is in the keys of all caches: nothing about targets may come in."""
    tokenizer = tiny.tokenizer()
    facts = {
        "vocabulary": sorted(tokenizer.get_vocab().items()), "special": [0, 1], "probe": tokenizer(PROBE)["input_ids"],
    }  # fmt: skip
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    assert models.tokenizer_digest(tokenizer) == digest


def test_the_digest_of_a_tokenizer_covers_the_language_of_targets(marks):
    make, src_lang, tgt_lang, _ = marks
    one, other = make(src_lang=src_lang, tgt_lang=tgt_lang), make(src_lang=src_lang, tgt_lang=src_lang)
    assert one("max of 3")["input_ids"] == other("max of 3")["input_ids"]
    assert models.tokenizer_digest(one) != models.tokenizer_digest(other)
    with pytest.raises(Mismatch, match=r"begin or end text differently \(a probe target gives"):
        models.check_same_tokenizer(one, other)


@pytest.mark.parametrize("teacher", [HFSeq2SeqTeacher, RecordedTeacher])
def test_a_recipe_says_the_languages_and_a_folder_keeps_them(marks, teacher, tmp_path):
    make, src_lang, tgt_lang, place = marks
    folder = kit.saved(make(), tmp_path / "t")
    named = {"model": folder} if teacher is HFSeq2SeqTeacher else {}
    chosen = teacher(**named, tokenizer=folder, src_lang=tgt_lang, tgt_lang=src_lang).load_tokenizer(NOTHING)
    row = encoded(chosen)
    assert chosen.convert_ids_to_tokens([row.source_ids[place], row.target_ids[place]]) == [tgt_lang, src_lang]
    again = models.load_tokenizer(kit.saved(chosen, tmp_path / "u"))
    assert encoded(again) == row
    assert models.tokenizer_digest(again) == models.tokenizer_digest(chosen)


def test_a_student_of_a_model_of_its_own_has_the_teachers_languages(marks, tmp_path):
    make, src_lang, tgt_lang, _ = marks
    teacher = make(src_lang=src_lang, tgt_lang=tgt_lang)
    student = HFSeq2SeqStudent(model=kit.saved(make(), tmp_path / "t")).load_tokenizer(teacher)
    models.check_same_tokenizer(teacher, student)


@pytest.mark.parametrize(
    ("made", "options", "sentence"),
    [
        (
            kit.nllb,
            {},
            'sources with "eng_Latn", but its folder does not say which one targets have; set teacher.tgt_lang',
        ),
        (kit.nllb, {"tgt_lang": "deu_Lat"}, 'tgt_lang is "deu_Lat", a language that the tokenizer does not know'),
        (kit.nllb, {"tgt_lang": "deu_Lat"}, 'such as "deu_Latn"'),
        (kit.mbart, {"src_lang": "de", "tgt_lang": "en_XX"}, 'src_lang is "de", a language that'),
        (tiny.tokenizer, {"tgt_lang": "de"}, 'tgt_lang is "de", but the tokenizer does not mark texts with a language'),
    ],
)
def test_a_language_that_is_missing_or_unknown_is_one_sentence(made, options, sentence, tmp_path):
    folder = kit.saved(made(), tmp_path / "t")
    with pytest.raises(UsageError, match=re.escape(sentence)):
        HFSeq2SeqTeacher(model=folder, **options).load_tokenizer(NOTHING)


def test_languages_need_a_tokenizer_that_is_named():
    with pytest.raises(UsageError, match=r"^src_lang and tgt_lang need a tokenizer .*; give one in `tokenizer`$"):
        HFSeq2SeqTeacher(config=tiny.T5, tgt_lang="de")
