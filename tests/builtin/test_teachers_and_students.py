from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch

from kdkit import models
from kdkit.api.options import FineTuning, Generation
from kdkit.api.values import Corpus
from kdkit.builtin.students.hf_seq2seq import FromTeacher, HFSeq2SeqStudent
from kdkit.builtin.teachers.hf_seq2seq import HFSeq2SeqTeacher
from kdkit.data.tokens import collate
from kdkit.errors import MissingInput, UsageError
from kdkit.system.progress import Silent

CORPUS = Corpus(train=tuple(tiny.encoded(20)[0]), validation=tuple(tiny.encoded(4, seed=1)[0]))


@pytest.fixture(scope="module", params=["t5", "bart"])
def folder(request, tmp_path_factory):
    """A saved teacher."""
    path = tmp_path_factory.mktemp("teacher") / request.param
    tiny.model({"t5": tiny.T5, "bart": tiny.BART}[request.param]).save(path, texts={})
    return path


def open_teacher(folder, **options):
    teacher = HFSeq2SeqTeacher(model=str(folder), **options)
    return teacher.open(teacher.find_folder(), None, CORPUS, device="cpu")


def test_a_teachers_logits_are_its_models_own(folder):
    rows = tiny.encoded(7)[1]
    teacher = open_teacher(folder, capture_batch_size=3)
    blocks = {block.id: block.logits_TV for block in teacher.logits(rows, Silent())}
    module = models.load_model(str(folder)).eval()
    assert set(blocks) == {row.id for row in rows}
    for row in rows:
        batch = collate([row], pad_id=0)
        with torch.no_grad():
            own = module(input_ids=batch.source_ids_BS, labels=batch.labels_BT)
        assert blocks[row.id].dtype == np.float32
        np.testing.assert_allclose(blocks[row.id], own.logits[0].numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("done", [set(), {"row3"}, {"row0", "row1", "row2", "row4", "row5"}])
def test_logits_are_the_same_bits_whatever_was_done_before(folder, done):
    rows = tiny.encoded(13)[1]
    whole = {block.id: block.logits_TV for block in open_teacher(folder, capture_batch_size=3).logits(rows, Silent())}
    left = list(open_teacher(folder, capture_batch_size=3).logits(rows, Silent(), done=done))
    assert {block.id for block in left} == set(whole) - done
    assert all(np.array_equal(block.logits_TV, whole[block.id]) for block in left)


@pytest.mark.parametrize("done", [set(), {"row3"}, {"row0", "row1", "row2", "row4", "row5"}])
def test_texts_are_written_in_the_same_batches_whatever_was_done_before(folder, done, monkeypatch):
    rows, options = tiny.encoded(13)[1], Generation(beams=2, max_new_tokens=5, batch_size=3)
    batches = []
    inner = models.Seq2SeqModel.generate

    def noting(model, batch, given):
        batches.append(tuple(batch.ids))
        return inner(model, batch, given)

    monkeypatch.setattr(models.Seq2SeqModel, "generate", noting)
    whole = {each.id: each.text for each in open_teacher(folder).generate(rows, options)}
    all_batches = batches.copy()
    batches.clear()
    left = {each.id: each.text for each in open_teacher(folder).generate(rows, options, done=done)}
    assert left == {row_id: text for row_id, text in whole.items() if row_id not in done}
    assert batches == [batch for batch in all_batches if not done.issuperset(batch)]


def test_a_teacher_writes_the_same_in_any_batch(folder):
    rows = tiny.encoded(7)[1]
    written = [
        {
            p.id: p.text
            for p in open_teacher(folder).generate(rows, Generation(beams=2, max_new_tokens=5, batch_size=size))
        }
        for size in (1, 4)
    ]
    assert written[0] == written[1]
    assert set(written[0]) == {row.id for row in rows}


def test_a_closed_teacher_has_let_go_of_its_model(folder):
    import gc
    import weakref

    teacher = open_teacher(folder)
    module = weakref.ref(teacher.model.module)
    teacher.close()
    gc.collect()
    assert module() is None


def test_a_teachers_identity_is_that_of_its_weights(folder):
    assert open_teacher(folder).identity == models.weights_digest(folder)


def test_a_student_of_all_the_teachers_layers_says_what_the_teacher_says(folder):
    batch = collate(tiny.encoded(3)[1], pad_id=0)
    student = HFSeq2SeqStudent(from_teacher=FromTeacher(encoder_layers=(0, 1), decoder_layers=(0, 1)))
    built = student.build(tiny.tokenizer(), folder, seed=5, device="cpu")
    teacher = models.load_model(str(folder))
    with torch.no_grad():
        ours = models.Seq2SeqModel(module=built.module.eval(), tokenizer=built.tokenizer).logits(batch)
        theirs = models.Seq2SeqModel(module=teacher.eval(), tokenizer=built.tokenizer).logits(batch)
    assert torch.equal(ours, theirs)


def test_a_student_that_was_saved_is_the_same_student(folder, tmp_path):
    student = HFSeq2SeqStudent(from_teacher=FromTeacher(encoder_layers=(1,), decoder_layers=(0,)))
    built = student.build(tiny.tokenizer(), folder, seed=5, device="cpu")
    built.module.eval()
    built.save(tmp_path / "s", texts={})
    opened = student.open(tmp_path / "s", device="cpu")
    batch = collate(tiny.encoded(3)[1], pad_id=0)
    assert torch.equal(opened.logits(batch), built.logits(batch))
    assert models.tokenizer_digest(opened.tokenizer) == models.tokenizer_digest(tiny.tokenizer())


def test_the_planned_configuration_is_that_of_the_built_student(folder):
    config = models.load_config(str(folder))
    for student in (
        HFSeq2SeqStudent(from_teacher=FromTeacher(encoder_layers=(1,), decoder_layers=(0,))),
        HFSeq2SeqStudent(config=tiny.T5),
        HFSeq2SeqStudent(model=str(folder)),
    ):
        planned = models.size_of(student.model_config(tiny.tokenizer(), config))
        built = student.build(tiny.tokenizer(), folder, seed=1, device="cpu")
        assert planned.parameters == models.count_parameters(built.module)


def test_a_student_of_recorded_logits_cannot_start_from_layers():
    student = HFSeq2SeqStudent(from_teacher=FromTeacher(encoder_layers=(0,), decoder_layers=(0,)))
    with pytest.raises(UsageError, match="needs a teacher that is a model"):
        student.model_config(tiny.tokenizer(), None)


@pytest.mark.parametrize("options", [{}, {"model": "a", "config": tiny.T5}])
def test_a_teacher_is_given_in_one_way(options):
    with pytest.raises(UsageError, match="give exactly one of `model` and `config`"):
        HFSeq2SeqTeacher(**options)


@pytest.mark.parametrize("options", [{}, {"model": "a", "config": tiny.T5}])
def test_a_student_is_given_in_one_way(options):
    with pytest.raises(UsageError, match="give exactly one of `model`, `config` and `from_teacher`"):
        HFSeq2SeqStudent(**options)


@pytest.mark.parametrize(
    ("options", "made"),
    [
        ({"model": "a"}, False),
        ({"model": "a", "fine_tune": FineTuning()}, True),
        ({"config": tiny.T5}, True),
        ({"config": tiny.T5, "fine_tune": FineTuning()}, True),
    ],
)
def test_a_teacher_is_made_here_when_it_is_new_or_trained(options, made):
    assert HFSeq2SeqTeacher(**options).is_made_here is made


def test_a_new_teacher_has_a_tokenizer_of_the_training_rows_alone():
    teacher = HFSeq2SeqTeacher(config=tiny.T5, vocab_size=280)
    other = Corpus(train=CORPUS.train, validation=tuple(tiny.encoded(9, seed=8)[0]))
    digests = {models.tokenizer_digest(teacher.load_tokenizer(corpus)) for corpus in (CORPUS, other)}
    assert len(digests) == 1
    assert teacher.find_folder() is None
    built = teacher.build(CORPUS, seed=1, device="cpu")
    assert {models.tokenizer_digest(built.tokenizer)} == digests


def test_a_model_that_is_not_there_is_one_sentence(tmp_path):
    teacher = HFSeq2SeqTeacher(model=str(tmp_path / "none"))
    for ask in (teacher.find_folder, lambda: teacher.load_tokenizer(CORPUS), lambda: teacher.model_config(None)):
        with pytest.raises(MissingInput, match="there is no model folder"):
            ask()
