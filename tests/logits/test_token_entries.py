"""Soft losses are over the ids of the tokenizer, hard ones over the whole head, whatever is padded.

Letters: T target tokens, V vocabulary, D hidden.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import attrs
import numpy as np
import pytest
import tiny
import torch

from kdkit.api.values import EncodedExample, OutputHead, StateBlock, TeacherBlock
from kdkit.builtin.codecs.float_ import Float
from kdkit.builtin.codecs.sampled import Sampled
from kdkit.builtin.codecs.subspace import Subspace
from kdkit.builtin.codecs.topk import TopK
from kdkit.builtin.codecs.u8_lz4 import U8LZ4
from kdkit.errors import UsageError
from kdkit.logits.cache import LogitCache
from kdkit.logits.encoder import has_states
from kdkit.logits.token_entries import of_tokens
from kdkit.losses import distillation_loss
from kdkit.models import load_tokenizer, target_size
from kdkit.pipeline import recapture as recapturing
from kdkit.pipeline.stages import STAGES, capture
from kdkit.system.progress import Silent

IDS, WIDE, WIDER, TOKENS, HIDDEN = 9, 12, 16, 5, 4
ROW = EncodedExample(id="a", source_ids=(1,), target_ids=tuple(range(TOKENS)))


@attrs.frozen
class Words:
    """A tokenizer of two tokens, of which one has the largest id: the size of a vocabulary is not how many there are."""

    def get_vocab(self):
        return {"a": 0, "b": IDS - 1}

    def __len__(self):
        return 2


@attrs.frozen
class Recorded:
    """A teacher that says what is given, of every row."""

    logits_TV: np.ndarray
    tokenizer: Words = Words()
    identity: str = "0" * 64

    @property
    def vocab_size(self):
        return self.logits_TV.shape[1]

    def groups(self, rows):
        return [[row] for row in rows]

    def logits(self, rows, progress, *, done=()):
        for row in rows:
            if row.id not in done:
                yield TeacherBlock(id=row.id, logits_TV=self.logits_TV)

    def generate(self, rows, options, *, done=()):
        yield from (options, rows, done)

    def close(self):
        raise EOFError


@attrs.frozen
class WithHead(Recorded):
    """The same, of states and a head."""

    made_of: tuple = ()

    def head(self):
        weight_VD, bias_V, _ = self.made_of
        return OutputHead(weight_VD=weight_VD, bias_V=bias_V)

    def states(self, rows, progress, *, done=()):
        yield from (StateBlock(id=row.id, states_TD=self.made_of[2]) for row in rows if row.id not in done)


def teacher_of(width, *, head=False):
    """One whose entries beyond the tokens are far likelier than these."""
    random = np.random.default_rng(0)
    weight_VD, states_TD = random.normal(size=(width, HIDDEN)) * 2, random.normal(size=(TOKENS, HIDDEN))
    bias_V = np.where(np.arange(width) < IDS, 0.0, 9.0)
    parts = tuple(each.astype(np.float32) for each in (weight_VD, bias_V, states_TD))
    logits_TV = (parts[2] @ parts[0].T + parts[1]).astype(np.float32)
    return WithHead(logits_TV, made_of=parts) if head else Recorded(logits_TV)


def log_softmax(logits_TV):
    x_TV = np.asarray(logits_TV, np.float64)
    x_TV = x_TV - x_TV.max(axis=-1, keepdims=True)
    return x_TV - np.log(np.exp(x_TV).sum(axis=-1, keepdims=True))


def targets_of(codec, teacher, width):
    (block,) = teacher.logits([ROW], Silent())
    assert block.logits_TV.shape == (TOKENS, width)
    assert block.logits_TV.flags.c_contiguous
    return codec.targets([(codec.encode(block), TOKENS)], vocab_size=width, device="cpu")


@pytest.mark.parametrize(
    ("teacher_width", "student_width"),
    [(WIDE, IDS), (IDS, WIDE), (WIDE, WIDE), (WIDE, WIDER), (WIDER, WIDE), (IDS, IDS)],
)
@pytest.mark.parametrize("kind", ["float", "topk", "sampled", "u8-lz4", "subspace"])
def test_the_soft_loss_is_over_the_tokens_and_the_hard_one_over_the_head(kind, teacher_width, student_width):
    """The tail of `topk` and the draws of `sampled` know the cut as well, and so does a space of logits."""
    teacher = of_tokens(teacher_of(teacher_width, head=kind == "subspace"))
    codecs = {"float": Float(), "topk": TopK(k=4, step=2.0**-20), "sampled": Sampled(draws=2**17), "u8-lz4": U8LZ4()}
    codec = codecs.get(kind)
    if codec is None:
        assert has_states(teacher)
        (states,) = teacher.states([ROW], Silent())
        codec = Subspace(step=1e-5).bind(Subspace(step=1e-5).fit_head(teacher.head(), [states]))
    targets = targets_of(codec, teacher, IDS)
    student_TV = np.random.default_rng(1).normal(size=(TOKENS, student_width))
    student_TV[:, IDS:] += 5
    labels_T = np.arange(TOKENS)
    found = distillation_loss(
        torch.from_numpy(student_TV)[None], targets, torch.from_numpy(labels_T)[None], alpha=0.5, temperature=1.0
    )
    teacher_TV = teacher_of(teacher_width).logits_TV
    p_TV, q_TV = (log_softmax(each_TV[:, :IDS]) for each_TV in (teacher_TV, student_TV))
    if kind == "topk":
        ids_TK = targets.ids_BTK[0].numpy()
        p_TV, q_TV = (_merged(each_TV, ids_TK) for each_TV in (p_TV, q_TV))
    soft = (np.exp(p_TV) * (p_TV - q_TV)).sum(axis=1).mean()
    assert float(found.soft) == pytest.approx(soft, abs=2e-2 if kind == "u8-lz4" else 5e-4)
    hard = -log_softmax(student_TV)[labels_T, labels_T].mean()
    assert float(found.hard) == pytest.approx(hard, abs=1e-6)


def _merged(logp_TV, ids_TK):
    """The kept entries, and all others as one."""
    kept_TK = np.take_along_axis(logp_TV, ids_TK, axis=1)
    others_TV = logp_TV.copy()
    np.put_along_axis(others_TV, ids_TK, -np.inf, axis=1)
    return np.concatenate([kept_TK, np.log(np.exp(others_TV).sum(axis=1, keepdims=True))], axis=1)


def test_a_teacher_without_other_entries_is_what_it_was_and_one_with_them_keeps_all_else():
    for narrow in (teacher_of(IDS), teacher_of(IDS - 2)):
        assert of_tokens(narrow) is narrow
    teacher = teacher_of(WIDE)
    cut = of_tokens(teacher)
    assert not has_states(cut)
    assert (cut.vocab_size, cut.identity, cut.tokenizer) == (IDS, teacher.identity, teacher.tokenizer)
    assert cut.groups([ROW]) == [[ROW]]
    assert list(cut.generate([ROW], None, done={"x"})) == [None, [ROW], {"x"}]
    assert not list(cut.logits([ROW], Silent(), done={"a"}))
    with pytest.raises(EOFError):
        cut.close()


def test_a_wider_teacher_is_captured_again_without_the_entries_of_no_token(tmp_path, monkeypatch):
    """Also in a run that an earlier kdkit captured for, and that is then resumed."""
    config = {**tiny.T5, "vocab_size": tiny.VOCAB + 18}
    changes = {
        "train": 8, "validation": 3, "teacher__config": config, "teacher__fine_tune": None, "training__epochs": 1,
        "training__best_by": "loss", "codec__name": "topk", "codec__temperatures": [2.0],
    }  # fmt: skip

    def stopped(*_):
        raise InterruptedError

    def told():
        return json.loads((run_dir / "run.json").read_text())["stages"]

    run_dir = tmp_path / "runs/tiny"
    monkeypatch.setattr("kdkit.pipeline.stages.distill.untrained", stopped)
    with monkeypatch.context() as earlier:
        earlier.setattr(capture, "of_tokens", lambda teacher: teacher)
        with pytest.raises(InterruptedError):
            tiny.run_here(tmp_path, **changes)
    before, notes = told()["capture"]["facts"], tiny.Notes()
    with pytest.raises(InterruptedError):
        tiny.run_here(tmp_path, progress=notes, **changes)
    stages = told()
    after = stages["capture"]["facts"]
    width = target_size(load_tokenizer(str(run_dir / stages["teacher"]["facts"]["folder"])))
    assert width < config["vocab_size"]
    assert [LogitCache.open(Path(each["cache"])).vocab_size for each in (before, after)] == [288, width]
    assert before["records"] == after["records"]
    (note,) = [note for note in notes.notes if "belong to no token" in note]
    assert note == (
        f"capture: 288 logits a token are cut to {width}, one for each id of the tokenizer: the other "
        f"{288 - width} belong to no token; {before['cache']}, in which an earlier kdkit kept them all, is not used and may be deleted"
    )


def test_gaps_of_a_cache_with_entries_of_no_token_are_not_filled(tmp_path, monkeypatch):
    """What `kdkit cache repair --run` asks for: the run's logits are captured, but where they belong now."""
    old, new = tmp_path / "old", tmp_path / "new"
    facts = {
        "identity": "0" * 64, "tokenizer": "1" * 64, "codec": "float", "records": 1, "tokens": 1, "bytes": 4,
        "bytes_per_token": 4.0,
    }  # fmt: skip
    record = {"status": "done", "stages": {"capture": {"status": "done", "facts": facts | {"cache": str(old)}}}}
    stage = next(each for each in STAGES if each.name == "capture")

    @contextmanager
    def opened(*_, **__):
        yield SimpleNamespace(record=record, leave_as=None)

    def restored(run, _):
        run.record["stages"]["capture"]["facts"]["cache"] = str(new)
        return True

    recipe = SimpleNamespace(device="cpu")
    for name, fake in (
        ("check_run", lambda *_: (json.loads(json.dumps(record)), recipe)),
        ("_stages", lambda *_: [stage]), ("open_run", opened), ("restore", restored),
        ("settle", lambda _: None),
    ):  # fmt: skip
        monkeypatch.setattr(recapturing, name, fake)
    sentence = r"old has logits of entries without a token, .* of .*run are in .*new, so .*old may be deleted"
    with pytest.raises(UsageError, match=sentence):
        recapturing.recapture(old, tmp_path / "run", progress=Silent())
