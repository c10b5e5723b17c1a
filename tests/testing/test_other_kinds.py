"""The checks of data sets, teachers, students, trackers, searches and references.

What ships passes, and each mistake is found. The bundled plugins' components are checked in their own tests.
"""

from __future__ import annotations

import importlib.util
import json
import random
from typing import Any

import attrs
import numpy as np
import pytest
import tiny
from architectures import table

from kdkit.api import AxisValue, Corpus, Example, PublishedRun, RecordedLogits, TeacherBlock
from kdkit.builtin.datasets.jsonl import Jsonl
from kdkit.builtin.students.hf_seq2seq import FromTeacher, HFSeq2SeqStudent
from kdkit.builtin.teachers.hf_seq2seq import HFSeq2SeqTeacher
from kdkit.builtin.teachers.recorded import RecordedTeacher
from kdkit.builtin.trackers.tensorboard import TensorBoard
from kdkit.models import train_bpe
from kdkit.testing import (
    check_dataset,
    check_reference,
    check_search,
    check_student,
    check_teacher,
    check_tracker,
    synthetic_corpus,
)

VOCAB = 300


@attrs.frozen(kw_only=True)
class Rows:
    """A data set in memory with recorded logits; `fault` is what is wrong with it."""

    fault: str = ""
    readings: list[int] = attrs.field(factory=list, eq=False, init=False)

    def load(self, progress):
        self.readings.append(1)
        corpus = synthetic_corpus(6)
        said = tuple(attrs.evolve(example, prediction=example.target) for example in corpus.train)
        corpus = attrs.evolve(corpus, train=said)
        first = {
            "source None": attrs.evolve(corpus.train[0], source=None),
            "a dictionary": {"id": "x", "source": "s", "target": "t"},
            "id int": attrs.evolve(corpus.train[0], id=7),
            "twice": corpus.train[1],
            "other ids": attrs.evolve(corpus.train[0], id=f"row {len(self.readings)}"),
            "other rows": attrs.evolve(corpus.train[0], target=f"target {len(self.readings)}"),
        }.get(self.fault, corpus.train[0])
        train = () if self.fault == "no train" else (first, *corpus.train[1:])
        return attrs.evolve(corpus, train=train)

    def is_here(self):
        return self.fault != "not here"

    def recorded(self):
        corpus = synthetic_corpus(6)
        examples = [*corpus.train, *corpus.validation]
        for example in examples[self.fault == "one missing" :]:
            logits_TV = np.random.default_rng(len(example.source)).normal(0, 3, (3, VOCAB)).astype(np.float32)
            if self.fault == "float64":
                logits_TV = logits_TV.astype(np.float64)
            if self.fault == "nothing finite":
                logits_TV[1] = -np.inf
            if self.fault == "widths":
                logits_TV = logits_TV[:, : VOCAB - len(example.source) % 3]
            yield RecordedLogits(
                id="row0" if self.fault == "one id" else example.id,
                tokens=5 if self.fault == "tokens" else 3,
                read=lambda rows, x=logits_TV: (x[-rows:] if self.fault == "last rows" else x[:rows], None),
            )

    def prompt(self, row_id, row):
        if self.fault == "prompt raises":
            return Example(id=row_id, source=row["source"].strip(), target="")
        if self.fault == "prompt None":
            return None
        if not isinstance(row.get("source"), str):
            return "it has no source"
        return Example(
            id="mine" if self.fault == "prompt id" else row_id,
            source=row["source"] + ("?" if self.fault == "prompt source" else ""),
            target="t" if self.fault == "prompt target" else "",
        )


A_ROW = [{"source": synthetic_corpus(6).train[2].source}]


def test_data_sets_that_keep_the_promises_pass(tmp_path):
    check_dataset(Rows(), rows=A_ROW)
    rows = [{"text": f"source {i}", "answer": f"target {i}"} for i in range(8)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = Jsonl(train=str(tmp_path / "rows.jsonl"), validation_share=0.25, source="{text}", target="answer")
    check_dataset(data, rows=rows[:1])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("source None", "whose source is None"),
        ("a dictionary", "instead of a kdkit.api.Example"),
        ("id int", "whose id is int 7"),
        ("twice", 'have the id "row1"'),
        ("no train", "no usable train rows"),
        ("other ids", "gives other ids, or another order, in train at a second reading"),
        ("other rows", 'gives another row "row0" at a second reading'),
        ("not here", "says that it has not been fetched"),
        ("one missing", 'has no logits of "row0"'),
        ("one id", "is not a row, or has them twice"),
        ("float64", "must be float32"),
        ("nothing finite", "a row without any finite number"),
        ("widths", "logits of several widths"),
        ("tokens", "have 3 rows, and 5 are promised"),
        ("last rows", "are others where fewer rows are read"),
        ("prompt raises", "with KeyError"),
        ("prompt None", "makes None"),
        ("prompt id", 'the id "mine" instead of the given one'),
        ("prompt target", "gives an input a target"),
        ("prompt source", "another source than when it is loaded"),
    ],
)
def test_mistakes_of_data_sets_are_found(fault, message):
    with pytest.raises(AssertionError, match=message):
        check_dataset(Rows(fault=fault), rows=A_ROW)


TEACHER = HFSeq2SeqTeacher(config=tiny.T5, vocab_size=VOCAB)
TINY_TOKENIZER = train_bpe(["another"], vocab_size=VOCAB)


@pytest.fixture(scope="module")
def teacher_folder(tmp_path_factory):
    """A teacher's model, as a run would leave it."""
    folder = tmp_path_factory.mktemp("teacher") / "model"
    TEACHER.build(synthetic_corpus(), seed=1, device="cpu").save(folder, texts={})
    return folder


def test_a_new_teacher_passes():
    check_teacher(TEACHER)


def test_a_teacher_from_a_folder_passes(teacher_folder):
    check_teacher(HFSeq2SeqTeacher(model=str(teacher_folder)))


def test_a_recorded_teacher_passes_with_the_data_set_that_it_came_with(teacher_folder):
    check_teacher(RecordedTeacher(tokenizer=str(teacher_folder)), source=Rows())


@attrs.frozen(kw_only=True)
class WrongTeacher(HFSeq2SeqTeacher):
    """What it opens has a fault."""

    fault: str

    def build(self, corpus, *, seed, device):
        return super().build(corpus, seed=random.randrange(99) if self.fault == "seed" else seed, device=device)

    def open(self, folder, source, corpus, *, device):
        opened = super().open(folder, source, corpus, device=device)
        identity = str(random.random()) if self.fault == "identity" else opened.identity
        return Faulty(**{**attrs.asdict(opened, recurse=False), "identity": identity}, fault=self.fault)


CHANGED = {
    "float64": lambda logits_TV, _: logits_TV.astype(np.float64),
    "width": lambda logits_TV, _: logits_TV[:, 1:],
    "late": lambda logits_TV, _: np.concatenate([logits_TV[1:], logits_TV[-1:]]),
    "early": lambda logits_TV, _: np.concatenate([logits_TV[:1], logits_TV[:-1]]),
    "batch": lambda logits_TV, rows: logits_TV * np.float32(1 + rows),
    "other head": lambda logits_TV, _: logits_TV * np.float32(1.5),
}
"""What is wrong with logits, given how many rows were asked for."""


@attrs.define(kw_only=True, eq=False)
class Faulty(type(TEACHER).open.__globals__["OpenHFTeacher"]):
    """One that is open."""

    fault: str

    @property
    def tokenizer(self):
        return TINY_TOKENIZER if self.fault == "tokens" else super().tokenizer

    def groups(self, rows):
        return super().groups(rows[1:] if self.fault == "groups" else rows)

    def logits(self, rows, progress, *, done=()):
        order = [row for row in rows if row.id not in done] if self.fault == "batches of what is left" else rows
        for block in super().logits(order, progress, done=done):
            logits_TV = block.logits_TV
            if self.fault == "batches of what is left" and done:
                logits_TV = logits_TV + np.float32(1e-6)
            if self.fault in CHANGED:
                logits_TV = CHANGED[self.fault](logits_TV, len(rows))
            if self.fault == "NaN":
                logits_TV[0, 0] = np.nan
            if not (self.fault == "one left out" and block.id == rows[0].id):
                yield TeacherBlock(id=block.id, logits_TV=logits_TV)

    def generate(self, rows, options, *, done=()):
        if self.fault == "texts of a batch":
            return [attrs.evolve(each, text=f"{len(rows)}") for each in super().generate(rows, options, done=done)]
        return super().generate(rows, options, done=() if self.fault == "done" else done)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("seed", "other weights from the same seed"),
        ("identity", "two identities"),
        ("groups", "do not hold each row once"),
        ("batches of what is left", "others when they are asked for again"),
        ("float64", "must be float32"),
        ("width", "the teacher says that its logits are"),
        ("NaN", "hold NaN"),
        ("late", "logits about a label that change with that label"),
        ("early", "logits about a label that do not change with the label before it"),
        ("other head", "put through the head"),
        ("tokens", "opens with other tokens"),
        ("batch", "other logits for 'row.' alone than in a batch"),
        ("texts of a batch", "writes '5' for 'row.' in a batch, and '1' alone"),
        ("one left out", "is asked for each once"),
        ("done", "is asked for each once"),
    ],
)
def test_mistakes_of_teachers_are_found(fault, message):
    with pytest.raises(AssertionError, match=message):
        check_teacher(WrongTeacher(config=tiny.T5, vocab_size=VOCAB, fault=fault))


@pytest.mark.parametrize("config", [tiny.T5, table("marian")], ids=["t5", "positions that are not trained"])
def test_new_students_pass(config):
    check_student(HFSeq2SeqStudent(config=config))


def test_students_of_a_teacher_and_of_a_folder_pass(teacher_folder):
    tokenizer = HFSeq2SeqTeacher(model=str(teacher_folder)).load_tokenizer(synthetic_corpus())
    layers = FromTeacher(encoder_layers=(0,), decoder_layers=(1,))
    check_student(HFSeq2SeqStudent(from_teacher=layers), teacher_tokenizer=tokenizer, teacher_folder=teacher_folder)
    check_student(HFSeq2SeqStudent(model=str(teacher_folder)), teacher_tokenizer=tokenizer)


@attrs.frozen(kw_only=True)
class WrongStudent(HFSeq2SeqStudent):
    """A student with a fault."""

    fault: str

    def build(self, teacher_tokenizer, teacher_folder, *, seed, device):
        seed = random.randrange(10**6) if self.fault == "seed" else seed
        model = super().build(teacher_tokenizer, teacher_folder, seed=seed, device=device)
        kind = type(model)
        if self.fault == "batch":  # each row's logits depend on the batch's mean
            change = {"logits": lambda self, batch: (x := kind.logits(self, batch)) + x.mean() * len(batch.labels_BT)}
        elif self.fault == "head":
            change = {"states": lambda self, batch: kind.states(self, batch) * 2}
        elif self.fault == "no gradient":
            change = {
                "logits": lambda self, batch: (
                    kind.logits(self, batch).detach() + 0 * next(self.module.parameters()).sum()
                )
            }
        elif self.fault == "texts":
            change = {"generate": lambda self, batch, options: kind.generate(self, batch, options)[1:]}
        elif self.fault == "card":
            change = {"save": lambda self, folder, *, texts: kind.save(self, folder, texts={"README.md": "another"})}
        else:
            change = {}
        return type("Faulty", (kind,), change)(module=model.module, tokenizer=model.tokenizer)

    def open(self, folder, *, device):
        opened = super().open(folder, device=device)
        if self.fault == "opened":
            for weight in opened.module.parameters():
                weight.data *= 1.01
        if self.fault == "opened tokens":
            return attrs.evolve(opened, tokenizer=TINY_TOKENIZER)
        if self.fault == "opened texts":
            kind = type(opened)
            return type("Faulty", (kind,), {"generate": lambda self, batch, options: ["x"] * len(batch.ids)})(
                module=opened.module, tokenizer=opened.tokenizer
            )
        return opened


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("seed", "other weights from the same seed"),
        ("batch", "other logits for a row alone than in a batch"),
        ("no gradient", "no gradient of its weights"),
        ("head", "put through the head"),
        ("texts", "texts for 4 rows"),
        ("card", "saves another README.md"),
        ("opened", "other logits when it was saved and opened"),
        ("opened tokens", "other tokens when it was saved and opened"),
        ("opened texts", "writes other texts when it was saved and opened"),
    ],
)
def test_mistakes_of_students_are_found(fault, message):
    with pytest.raises(AssertionError, match=message):
        check_student(WrongStudent(config=tiny.T5, fault=fault))


@attrs.frozen(kw_only=True)
class Teller:
    """A tracker that writes nothing; `fault` is what it does instead."""

    fault: str = ""

    def open(self, *, name, folder, recipe):
        if self.fault == "recipe":
            recipe["name"] = name
        if self.fault == "run.json":
            (folder / "run.json").write_text("[]")
        return object() if self.fault == "open" else self

    def log(self, numbers, *, step):
        if self.fault == "numbers":
            numbers.clear()

    def finish(self, scores):
        if self.fault == "scores":
            scores["more"] = 1.0


def test_a_tracker_that_keeps_the_promises_passes():
    check_tracker(Teller())


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_the_tracker_of_tensorboard_passes():
    check_tracker(TensorBoard())


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("recipe", "changes the recipe"),
        ("run.json", "which is kdkit's"),
        ("open", "lacks a method of OpenTracker"),
        ("numbers", "changes the numbers"),
        ("scores", "changes the scores"),
    ],
)
def test_mistakes_of_trackers_are_found(fault, message):
    with pytest.raises(AssertionError, match=message):
        check_tracker(Teller(fault=fault))


@attrs.frozen(kw_only=True)
class Grid:
    """A search over four values of alpha and two divergences, in order; `fault` is what is wrong with it."""

    fault: str = ""

    @property
    def axes(self):
        return ["loss.alpha"] * 2 if self.fault == "axes" else ["loss.alpha", "loss.divergence"]

    @property
    def trials(self):
        return 0 if self.fault == "trials" else 8

    def ends(self):
        for alpha in (0.0, 1.0):
            yield AxisValue(axis="loss.alpha", value=alpha, at=("alpha",))
        for name in () if self.fault == "ends" else ("forward-kl", "reverse-kl"):
            yield AxisValue(axis="loss.divergence", value=name, at=("divergence",))
        if self.fault == "another axis":
            yield AxisValue(axis="seed", value=1, at=())

    def open(self, folder, *, seed):
        return OpenGrid(fault=self.fault, number=random.randrange(3) if self.fault == "random" else 0)


@attrs.define(kw_only=True)
class OpenGrid:
    """It is asked for the trials that it was not told of."""

    fault: str
    number: int
    seen: list = attrs.field(factory=list)
    asked: int = 0

    def tell(self, outcomes):
        self.seen = [outcome for outcome in outcomes if self.fault != "failed ones again" or outcome.status == "done"]
        if self.fault == "tell":
            outcomes.clear()

    def ask(self):
        known = [dict(outcome.values) for outcome in self.seen]
        every = [
            {"loss.alpha": alpha, "loss.divergence": name}
            for alpha in (0.0, 0.25, 0.5, 1.0)
            for name in ("forward-kl", "reverse-kl")
        ]
        if self.fault == "own count":  # it forgets what it was told of once it is opened again
            self.asked += 1
            return every[self.asked - 1]
        values = [each for each in every if each not in known][self.number]
        if self.fault == "beyond":
            values["loss.alpha"] = 2.0
        if self.fault == "choice":
            values["loss.divergence"] = "total-variation"
        if self.fault == "axis left out":
            del values["loss.divergence"]
        return values

    def close(self):
        pass


def test_a_search_that_keeps_the_promises_passes():
    check_search(Grid())


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("axes", "names an axis twice"),
        ("trials", "wants 0 trials"),
        ("ends", 'no end of "loss.divergence"'),
        ("another axis", "is not one of its axes"),
        ("random", "other trials for the same seed"),
        ("failed ones again", "again, though it was told of that trial"),
        ("tell", "changes the outcomes"),
        ("own count", "again, though it was told of that trial"),
        ("beyond", "which its ends"),
        ("choice", "which its ends"),
        ("axis left out", "and its axes are"),
    ],
)
def test_mistakes_of_searches_are_found(fault, message):
    random.seed(1)
    with pytest.raises(AssertionError, match=message):
        check_search(Grid(fault=fault))


@attrs.frozen(kw_only=True)
class Published:
    """Two published runs; `change` is what the second has instead."""

    change: dict[str, Any] = attrs.field(factory=dict)
    source: str = "Somebody, 2025"

    def runs(self):
        one = PublishedRun(name="a", values={"loss.alpha": 0.5}, scores={("truth", "text", "f1"): 0.25})
        return [one, attrs.evolve(one, **{"name": "b", "values": {"loss.alpha": 1.0}, **self.change})]


def test_a_reference_that_keeps_the_promises_passes():
    check_reference(Published())


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (Published(source=" "), "does not say who published"),
        (Published(change={"name": "a"}), "two runs of one name"),
        (Published(change={"values": {"loss.alpha": 0.5}}), "one set of values for two runs"),
        (Published(change={"values": {"loss.alpha": None}}), "which a recipe cannot have"),
        (Published(change={"scores": {"f1": 0.5}}), "must be .against, suite, metric."),
        (Published(change={"scores": {("truths", "text", "f1"): 0.5}}), "which is not one of truth"),
        (Published(change={"scores": {("truth", "text", "f1"): float("nan")}}), "not a finite number"),
        (Published(change={"numbers": {"MiB": "230"}}), "not a finite number"),
    ],
)
def test_mistakes_of_references_are_found(reference, message):
    with pytest.raises(AssertionError, match=message):
        check_reference(reference)


def test_an_option_of_a_type_that_no_recipe_can_express_is_refused():
    @attrs.frozen(kw_only=True)
    class Odd(Published):
        odd: set = frozenset()

    with pytest.raises(AssertionError, match="which a recipe cannot express"):
        check_reference(Odd())


class Plain:
    """Not an attrs class."""

    def load(self, progress):
        return Corpus(train=(), validation=())


@pytest.mark.parametrize(
    "check", [check_dataset, check_teacher, check_student, check_tracker, check_search, check_reference]
)
def test_what_is_not_a_component_of_the_kind_is_refused(check):
    with pytest.raises(AssertionError, match=r"lacks a method of kdkit\.api|is not an attrs class"):
        check(Plain())
