"""The teacher that was recorded with the data."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdkit.api.interfaces import Teacher
from kdkit.api.options import Generation
from kdkit.api.values import Corpus, EncodedExample, Example, Grid, RecordedLogits
from kdkit.builtin.codecs.u8_lz4 import U8LZ4
from kdkit.builtin.datasets.jsonl import Jsonl
from kdkit.builtin.teachers.label_check import LabelCheck
from kdkit.builtin.teachers.recorded import CHECKED_ROWS, RecordedTeacher, scale_logits
from kdkit.errors import Mismatch, MissingInput, UsageError
from kdkit.models import train_bpe
from kdkit.system.progress import Silent

V = 12


def example(i, **changes):
    return Example(**{"id": f"train:{i}", "source": f"s{i}", "target": f"t{i}", "prediction": f"p{i}"} | changes)


CORPUS = Corpus(train=tuple(map(example, range(4))), validation=(example(9),))


@attrs.frozen(kw_only=True)
class Recording:
    """A data set whose logits are given; a row is an id, logits and their grid."""

    rows: tuple = ()
    label: str = ""

    def load(self, progress):
        return CORPUS

    def recorded(self):
        for id_, logits, grid in self.rows:
            yield RecordedLogits(
                id=id_, tokens=len(logits), read=lambda rows, logits=logits, grid=grid: (logits[:rows], grid)
            )


class Notes(Silent):
    def __init__(self):
        self.lines = []

    def note(self, message):
        self.lines.append(message)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer")
    train_bpe(["assertEquals(1, f());"] * 3, vocab_size=300).save_pretrained(path)
    return str(path)


def logits(tokens=3, width=V, seed=0):
    return np.random.default_rng(seed).normal(0, 3, (tokens, width)).astype(np.float32)


def encoded(i, labels=(1, 2, 3)):
    return EncodedExample(id=f"train:{i}", source_ids=(5,), target_ids=labels)


def opened(folder, rows=(), corpus=CORPUS, **options):
    teacher = RecordedTeacher(tokenizer=folder, **options)
    return teacher.open(None, Recording(rows=tuple(rows)), corpus, device="cpu")


def test_it_is_a_teacher_that_nothing_is_made_for(folder):
    teacher = RecordedTeacher(tokenizer=folder)
    assert isinstance(teacher, Teacher)
    assert (teacher.fine_tune, teacher.is_made_here) == (None, False)
    assert (teacher.model_config(None), teacher.find_folder()) == (None, None)
    assert len(teacher.load_tokenizer(CORPUS)) > 0
    with pytest.raises(UsageError, match="no model to build"):
        teacher.build(CORPUS, seed=1, device="cpu")


def test_wanted_rows_come_in_the_order_of_the_data_and_no_others(folder):
    rows = [(f"train:{i}", logits(5, seed=i), None) for i in range(4)]
    blocks = list(opened(folder, rows).logits([encoded(3), encoded(1, (1, 2))], Silent()))
    assert [block.id for block in blocks] == ["train:1", "train:3"]
    assert np.array_equal(blocks[0].logits_TV, logits(5, seed=1)[:2])
    assert np.array_equal(blocks[1].logits_TV, logits(5, seed=3)[:3])


def test_the_stream_is_left_once_all_rows_have_come(folder):
    @attrs.frozen
    class Endless(Recording):
        def recorded(self):
            yield RecordedLogits(id="train:0", tokens=3, read=lambda rows: (logits()[:rows], None))
            pytest.fail("asked for more rows than needed")

    teacher = RecordedTeacher(tokenizer=folder).open(None, Endless(), CORPUS, device="cpu")
    assert len(list(teacher.logits([encoded(0)], Silent()))) == 1


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-3, 10), st.floats(-3, 260), st.sampled_from([4, 8]), st.floats(0.01, 20), st.integers(0, 1000))
def test_scaled_logits_lie_exactly_on_the_scaled_grid(scale, zero_point, bits, factor, seed):
    grid = Grid(scale=scale, zero_point=zero_point, bits=bits)
    q = np.random.default_rng(seed).integers(0, 2**bits, (3, V)).astype(np.float32)
    values = (q - np.float32(zero_point)) * np.float32(scale)
    scaled, new_grid = scale_logits(values, grid, factor)
    assert new_grid == Grid(scale=scale * factor, zero_point=zero_point, bits=bits)
    assert np.array_equal(scaled, (q - np.float32(zero_point)) * np.float32(scale * factor))
    assert np.allclose(scaled, values * factor, rtol=1e-5, atol=1e-5 * scale * factor)


def test_scaled_logits_are_cached_without_loss(folder):
    grid = Grid(scale=0.37, zero_point=101.3)
    q = np.arange(3 * V, dtype=np.float32).reshape(3, V)
    rows = [("train:0", (q - np.float32(101.3)) * np.float32(0.37), grid)]
    (block,) = opened(folder, rows, logit_scale=768**-0.5).logits([encoded(0)], Silent())
    codec = U8LZ4()
    assert np.array_equal(codec.decode(codec.encode(block), tokens=3, vocab_size=V), block.logits_TV)


def test_logits_at_scale_one_are_left_as_they_are():
    array, grid = logits(), Grid(scale=0.1, zero_point=3.0)
    same, same_grid = scale_logits(array, grid, 1.0)
    assert same is array
    assert same_grid is grid
    assert np.array_equal(scale_logits(array, None, 0.5)[0], array * np.float32(0.5))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_is_positive_and_finite(scale):
    with pytest.raises(ValueError, match="logit_scale"):
        RecordedTeacher(tokenizer="t", logit_scale=scale)


def test_texts_are_the_recorded_ones(folder):
    teacher = opened(folder, corpus=attrs.evolve(CORPUS, test=(example(10, prediction=None),)))
    predictions = list(teacher.generate([encoded(2), encoded(9)], Generation()))
    assert [(p.id, p.text, p.seconds) for p in predictions] == [("train:2", "p2", None), ("train:9", "p9", None)]
    assert [p.id for p in teacher.generate([encoded(2), encoded(9)], Generation(), done={"train:2"})] == ["train:9"]
    with pytest.raises(UsageError, match="row train:10 came without a prediction"):
        list(teacher.generate([encoded(10)], Generation()))


def test_rows_with_fewer_logits_than_labels_are_noted_once(folder):
    rows = [("train:0", logits(2), None), ("train:1", logits(3), None), ("train:2", logits(1), None)]
    notes = Notes()
    blocks = list(opened(folder, rows).logits([encoded(0), encoded(1), encoded(2)], notes))
    assert [len(block.logits_TV) for block in blocks] == [2, 3, 1]
    (line,) = [line for line in notes.lines if "fewer" in line]
    assert line.startswith("2 of 3 rows have fewer recorded logits than labels")


def test_logits_beyond_a_word_that_may_have_been_taken_for_a_token_are_not_used(folder):
    """Of `f</s>();` whoever recorded may have read three tokens, the end among them; ours are letters there."""
    spelt = Corpus(train=(example(0, target="f</s>();"), example(1)), validation=(example(9),))
    rows = [(f"train:{i}", logits(9), None) for i in range(2)]
    blocks = list(opened(folder, rows, spelt).logits([encoded(0, (1,) * 7), encoded(1, (1,) * 7)], Silent()))
    assert [len(block.logits_TV) for block in blocks] == [2, 7]


def test_rows_whose_vocabularies_differ_are_named(folder):
    rows = [("train:0", logits(), None), ("train:1", logits(width=V + 1), None)]
    with pytest.raises(
        UsageError, match="logits of row train:1 are over 13 tokens, but those of row train:0 are over 12"
    ):
        list(opened(folder, rows).logits([encoded(0), encoded(1)], Silent()))


def test_a_label_beyond_the_vocabulary_is_another_tokenizers(folder):
    with pytest.raises(UsageError, match=r"row train:0 has the label 12, .* set teacher\.tokenizer to the one"):
        list(opened(folder, [("train:0", logits(), None)]).logits([encoded(0, (1, 12))], Silent()))


def test_rows_that_no_longer_come_are_a_mismatch(folder):
    with pytest.raises(Mismatch, match=r"no longer has logits for 1 of 2 rows \(first train:3\)"):
        list(opened(folder, [("train:0", logits(), None)]).logits([encoded(0), encoded(3)], Silent()))


def test_the_width_is_known_before_any_row_is_asked_for(folder):
    teacher = opened(folder, [("train:0", logits(), None)])
    assert teacher.vocab_size == V
    assert [block.id for block in teacher.logits([encoded(0)], Silent())] == ["train:0"]
    with pytest.raises(UsageError, match="no row with logits"):
        _ = opened(folder).vocab_size


def test_a_data_set_without_logits_gives_texts_and_is_refused_where_logits_are_asked_for(folder):
    source = Jsonl(train="t", source="a", target="b", prediction="p")
    teacher = RecordedTeacher(tokenizer=folder).open(None, source, CORPUS, device="cpu")
    assert [prediction.text for prediction in teacher.generate([encoded(2)], Generation())] == ["p2"]
    for ask in (lambda: teacher.vocab_size, lambda: list(teacher.logits([encoded(0)], Silent()))):
        with pytest.raises(UsageError, match="such as assertion-zip, but Jsonl has none"):
            ask()


def test_a_missing_tokenizer_is_missing_input(tmp_path):
    with pytest.raises(MissingInput):
        RecordedTeacher(tokenizer=str(tmp_path / "none")).load_tokenizer(CORPUS)
    with pytest.raises(MissingInput):
        RecordedTeacher(tokenizer=str(tmp_path / "none")).check_inputs()


def test_identity_changes_with_rows_scale_and_kind_of_data_set_and_with_nothing_else(folder):
    class Other(Recording):
        pass

    def identity(corpus=CORPUS, kind=Recording, label="", **options):
        source = kind(label=label)
        return RecordedTeacher(tokenizer=folder, **options).open(None, source, corpus, device="cpu").identity

    first = identity()
    assert identity(label="the same file in another folder") == first
    train = CORPUS.train
    others = [
        identity(logit_scale=0.5),
        identity(kind=Other),
        *(
            identity(attrs.evolve(CORPUS, train=(attrs.evolve(train[0], **changes), *train[1:])))
            for changes in ({"id": "a"}, {"target": "b"}, {"prediction": "c"}, {"meta": {"logits_crc32": "d"}})
        ),
        identity(attrs.evolve(CORPUS, train=train[:3])),
    ]
    assert len({first, *others}) == len(others) + 1


def sharp_rows(count, factor, right_every=2):
    """Logits of a teacher that is right every so often and knows how often, all multiplied by a factor."""
    rows, labels = [], []
    for i in range(count):
        array = np.zeros((4, V), np.float32)
        array[:, 3] = 1.5
        rows.append((f"train:{i}", array * np.float32(factor), None))
        labels.append(tuple(3 if t % right_every == 0 else 5 for t in range(4)))
    return rows, labels


def test_logits_that_are_far_too_large_are_noted_with_a_better_scale(folder):
    rows, labels = sharp_rows(5, 768**0.5)
    wanted = [encoded(i, labels[i]) for i in range(5)]
    notes = Notes()
    list(opened(folder, rows).logits(wanted, notes))
    (line,) = notes.lines
    assert "right 0.500 of the time" in line
    assert "try teacher.logit_scale = 0.03608" in line
    scaled = Notes()
    list(opened(folder, rows, logit_scale=768**-0.5).logits(wanted, scaled))
    assert "try" not in scaled.lines[0]


def test_the_check_covers_the_first_rows_and_comes_once(folder):
    count = CHECKED_ROWS + 6
    rows, labels = sharp_rows(count, 1.0)
    teacher, notes = opened(folder, rows), Notes()
    wanted = [encoded(i, labels[i]) for i in range(count)]
    list(teacher.logits(wanted, notes))
    list(teacher.logits(wanted[:3], notes))
    (line,) = notes.lines
    assert line.startswith(f"recorded logits of {CHECKED_ROWS} rows: cross-entropy on the labels ")


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.floats(0.1, 4), st.integers(0, 99))
def test_cross_entropy_is_that_of_a_float64_reference(tokens, labels, scale, seed):
    array = logits(tokens, seed=seed)
    label_ids = tuple(int(n) for n in np.random.default_rng(seed + 1).integers(0, V, labels))
    check = LabelCheck(scale)
    check.add(array, label_ids)
    both = min(tokens, labels)
    for factor, found in zip((1.0, 768**-0.5), check.mean_cross_entropy().values(), strict=True):
        scaled = array[:both].astype(np.float64) * factor
        log_probabilities = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
        expected = -np.mean([log_probabilities[t, label_ids[t]] for t in range(both)])
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)
