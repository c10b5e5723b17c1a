"""What every evaluation brings beside the student's scores: baselines, tokens, rows, costs."""

from __future__ import annotations

import json
import shutil
import signal

import numpy as np
import pytest
import team_kit
import tiny
import torch

from kdkit.api.values import DenseTargets, SparseTargets
from kdkit.builtin.codecs.float_ import Float
from kdkit.errors import DamagedData, Interrupted
from kdkit.evaluation import timing
from kdkit.evaluation.losses import row_losses
from kdkit.evaluation.row_scores import RowKey, RowScores
from kdkit.evaluation.tokens import TokenWatch, cached_tokens
from kdkit.logits.targets import NoTargets
from kdkit.losses import HardLoss
from kdkit.training import Forward

MODELS = {"teacher", "student", "labels-only", "untouched", "constant", "nearest"}
SMALL = {
    "train": 24,
    "test": 9,
    "validation": 6,
    "teacher__fine_tune": None,
    "training__best_by": "hard",
    "training__epochs": 1,
    "evaluation__baselines": True,
}
PLAIN = {**SMALL, "evaluation__baselines": False, "evaluation__loss_mean": "batches"}


def evaluation(folder) -> dict:
    return json.loads((folder / "evaluation.json").read_text())


def facts(folder, stage: str) -> dict:
    return json.loads((folder / "run.json").read_text())["stages"][stage]["facts"]


def by_key(folder) -> dict:
    scores = evaluation(folder)["scores"]
    return {RowKey(s["model"], s["against"], s["suite"], s["metric"]): s for s in scores}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with all there is, and others that share its store."""
    place = tmp_path_factory.mktemp("evidence")
    notes = tiny.Notes()
    tiny.run_here(place, "first", progress=notes, **SMALL)
    tiny.run_here(place, "other alpha", progress=notes, loss__alpha=0.9, **SMALL)
    tiny.run_here(place, "alpha 0", progress=notes, loss__alpha=0.0, **SMALL)
    tiny.run_here(place, "plain", progress=notes, **PLAIN)
    return place / "runs", notes.notes


# --- which models


def test_every_model_is_scored_on_every_row_and_its_texts_are_kept(whole):
    folder = whole[0] / "first"
    scores = by_key(folder)
    assert {key.model for key in scores} == MODELS
    for model in MODELS:
        assert scores[RowKey(model, "truth", "text", "f1")]["count"] == 9
        texts = [json.loads(line) for line in (folder / "predictions" / f"{model}.jsonl").read_text().splitlines()]
        assert len(texts) == 9
    for model in ("student", "labels-only", "untouched"):
        for against, name in (("truth", "hard"), ("teacher", "soft"), ("truth and teacher", "total")):
            assert RowKey(model, against, "loss", name) in scores


def test_differences_are_from_the_teacher_and_from_the_labels_alone(whole):
    found = evaluation(whole[0] / "first")["differences"]
    assert {(each["model"], each["than"]) for each in found} == {("student", "teacher"), ("student", "labels-only")}
    metrics = {
        than: {(d["suite"], d["metric"]) for d in found if d["than"] == than} for than in ("teacher", "labels-only")
    }
    both = {("text", "f1"), ("loss", "hard"), ("tokens", "accuracy"), ("tokens", "ece"), ("texts", "length")}
    assert both <= metrics["teacher"] & metrics["labels-only"]
    assert metrics["labels-only"] - metrics["teacher"] == {
        *(("loss", "soft"), ("tokens", "agreement"), ("texts", "agreement")),
    }
    scores = by_key(whole[0] / "first")
    for each in found:
        against = "teacher" if each["metric"] in {"soft", "agreement"} else "truth"
        ours, theirs = (scores[RowKey(each[m], against, each["suite"], each["metric"])] for m in ("model", "than"))
        assert each["value"] == pytest.approx(ours["value"] - theirs["value"], abs=1e-9)
        assert each["low"] <= each["value"] <= each["high"]


def test_labels_only_is_the_same_run_at_alpha_0(whole):
    folder = whole[0] / "alpha 0"
    stored = facts(whole[0] / "first", "baseline")["folder"]
    assert tiny.weights(folder / "student" / "best") == tiny.weights(whole[0] / stored)
    ours, theirs = by_key(folder), by_key(whole[0] / "first")
    for suite, metric in (("loss", "hard"), ("text", "f1"), ("tokens", "accuracy"), ("tokens", "ece")):
        student, baseline = (RowKey(model, "truth", suite, metric) for model in ("student", "labels-only"))
        assert ours[student]["value"] == pytest.approx(theirs[baseline]["value"], rel=1e-6)


def test_a_student_without_a_teacher_is_that_baseline_itself(whole):
    folder = whole[0] / "alpha 0"
    assert facts(folder, "baseline") == {"folder": None}
    assert {key.model for key in by_key(folder)} == MODELS - {"labels-only"}
    assert {each["than"] for each in evaluation(folder)["differences"]} == {"teacher"}


def test_one_switch_turns_all_of_them_off(whole):
    folder = whole[0] / "plain"
    assert facts(folder, "baseline") == {"folder": None}
    assert {key.model for key in by_key(folder)} == {"teacher", "student"}
    assert evaluation(folder)["baselines"] == {}
    assert {file.stem for file in (folder / "predictions").iterdir()} == {"teacher", "student", "student-validation"}


# --- what runs share


def test_runs_that_differ_in_their_loss_share_the_baseline_and_all_texts_but_the_students(whole):
    runs, notes = whole
    first, other = runs / "first", runs / "other alpha"
    assert facts(first, "baseline") == {**facts(other, "baseline"), "reused": False}
    assert facts(other, "baseline")["reused"] is True
    assert tiny.metrics(first, "labels-only")
    assert not tiny.metrics(other, "labels-only")
    assert not (first / "labels-only").exists()
    for name in ("teacher", "labels-only", "untouched"):
        texts = [(run / "predictions" / f"{name}.jsonl").read_bytes() for run in (first, other)]
        assert texts[0] == texts[1], "to the second: they were generated once"
        taken = sum(note.startswith(f"{name} writes: texts taken from") for note in notes)
        assert taken == {"teacher": 3, "labels-only": 1, "untouched": 2}[name], "by every later run that has it"
    assert len(list((runs / "cache" / "texts").glob("*.jsonl"))) == 3


def test_texts_of_the_store_that_are_damaged_are_named(whole, tmp_path):
    runs = shutil.copytree(whole[0], tmp_path / "runs")
    for entry in (runs / "cache" / "texts").glob("*.jsonl"):
        entry.write_bytes(entry.read_bytes().replace(b'"text": "', b'"text": "!', 1))
    with pytest.raises(DamagedData, match=r"the stored texts \S+ are damaged; delete that file and run again"):
        tiny.run_here(tmp_path, "third", loss__alpha=0.3, **SMALL)


def test_a_baseline_of_the_store_that_is_damaged_is_named(whole, tmp_path):
    runs = shutil.copytree(whole[0], tmp_path / "runs")
    (entry,) = (runs / "cache" / "baselines").glob("*/model.safetensors")
    entry.write_bytes(entry.read_bytes()[:-1] + b"\xff")
    with pytest.raises(DamagedData, match=r"the stored baseline .* to make the baseline again"):
        tiny.run_here(tmp_path, "third", loss__alpha=0.3, **SMALL)


def test_an_interrupted_baseline_goes_on_where_it_was(whole, tmp_path, monkeypatch):
    runs = shutil.copytree(whole[0], tmp_path / "runs")
    (entry,) = (runs / "cache" / "baselines").glob("*/model.safetensors")
    made = entry.read_bytes()
    shutil.rmtree(entry.parent)
    # The student's 3 steps come first.
    with monkeypatch.context() as patched:
        patched.setattr(*tiny.signalling("kdkit.training.loop:Trainer._step", 3 + 2, signal.SIGINT))
        with pytest.raises(Interrupted, match="saved a checkpoint of the labels-only student at step 2 of 3"):
            tiny.run_here(tmp_path, "third", loss__alpha=0.3, **SMALL)
    notes = tiny.Notes()
    tiny.run_here(tmp_path, "third", progress=notes, loss__alpha=0.3, **SMALL)
    assert "distill: done before" in notes.notes
    assert [line["step"] for line in tiny.metrics(runs / "third", "labels-only")] == [1, 2, 3]
    assert entry.read_bytes() == made


@pytest.mark.slow
def test_two_processes_have_the_evidence_that_one_has(whole, tmp_path):
    runs = shutil.copytree(whole[0], tmp_path / "runs")
    shutil.rmtree(runs / "cache" / "baselines")
    shutil.rmtree(runs / "cache" / "texts")
    recipe = tiny.write_recipe(tmp_path, **SMALL)
    ended = team_kit.kdkit("run", recipe, "--run-dir", runs / "two", log=tmp_path / "log")
    assert [code for code, _ in ended] == [0, 0], ended
    ours, theirs = by_key(runs / "two"), by_key(runs / "first")
    assert ours.keys() == theirs.keys()
    for key, score in ours.items():
        assert score["count"] == theirs[key]["count"]
        if key.model not in {"student", "labels-only"}:  # two processes draw other dropout noise while they train
            assert score["value"] == pytest.approx(theirs[key]["value"], rel=1e-5, abs=1e-6), key
    assert len(list((runs / "cache" / "texts").glob("*.jsonl"))) == 3


# --- rows and validation


@pytest.mark.parametrize("name", ["first", "plain"], ids=["means over tokens", "means over batches"])
def test_scores_can_be_had_from_the_rows(whole, name):
    folder = whole[0] / name
    rows, scores = RowScores.read(folder), by_key(folder)
    assert set(rows.keys) == set(scores)
    for key, score in scores.items():
        terms_RK = rows.terms_of(key)
        sums_K = terms_RK[:, :-1].sum(0) / terms_RK[:, -1].sum()
        value = np.abs(sums_K).sum() if len(sums_K) > 1 else sums_K[0]
        assert score["value"] == pytest.approx(value, abs=1e-9), key
        assert score["count"] == np.count_nonzero(terms_RK[:, -1])


def test_where_test_rows_are_scored_the_student_is_on_the_validation_rows_too(whole):
    found = evaluation(whole[0] / "first")
    assert found["split"] == "test"
    names = {(each["model"], each["against"], each["suite"], each["metric"]) for each in found["validation_scores"]}
    assert {("student", "truth", "text", "f1"), ("student", "truth", "loss", "hard")} <= names
    assert {each["count"] for each in found["validation_scores"]} == {6}
    best = [line["hard"] for line in tiny.metrics(whole[0] / "first", kind="validation") if line["best"]][-1]
    (hard,) = (each["value"] for each in found["validation_scores"] if each["suite"] == "loss")
    assert hard == pytest.approx(best, rel=1e-6)


# --- tokens


def logits_of(model, rows) -> dict[str, torch.Tensor]:
    from kdkit.data.tokens import collate

    found = {}
    for row in rows:
        with torch.no_grad():
            found[row.id] = model.logits(collate([row], pad_id=0))[0, : len(row.target_ids)].float()
    return found


def watched(model, rows, teacher_ids):
    watch = TokenWatch(teacher_ids=teacher_ids)
    model.module.eval()
    row_losses(rows, Forward.of(model), HardLoss(), NoTargets(), pad_id=0, device="cpu", batch_size=3, watch=watch)
    return watch.of(rows)


def test_tokens_are_what_the_models_own_logits_say():
    model, (_, rows) = tiny.model(), tiny.encoded(7)
    own = logits_of(model, rows)
    said = {row_id: logits.argmax(-1).tolist() for row_id, logits in own.items()}
    cut = {row_id: ids[:2] for row_id, ids in said.items()}
    cut["row0"] = [-1, said["row0"][1]]
    for row, found in zip(rows, watched(model, rows, cut), strict=True):
        assert found.tokens == len(row.target_ids)
        assert found.right == sum(a == b for a, b in zip(said[row.id], row.target_ids, strict=True))
        assert found.compared == 2
        assert found.agreed == 2 - (row.id == "row0")
        assert found.bins.confidence_K.sum() == pytest.approx(own[row.id].softmax(-1).amax(-1).sum().item(), rel=1e-4)


class Cached:
    """Targets as a cache gives them: the logits of a model, all of them or the first few of each row."""

    device = "cpu"

    def __init__(self, logits, kept=None):
        self.logits, self.kept = logits, kept

    def __call__(self, batch):
        rows = [self.logits[row_id] for row_id in batch.ids]
        lengths = torch.tensor([len(row) for row in rows])
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        if self.kept is None:
            return DenseTargets(logits_BTV=padded, lengths_B=lengths)
        values, ids = padded.topk(self.kept, dim=-1, sorted=False)
        tail = torch.log1p(-(values.logsumexp(-1) - padded.logsumexp(-1)).exp().clamp(max=1 - 1e-7))
        width = padded.shape[-1]
        return SparseTargets(
            ids_BTK=ids, values_BTK=values, log_tail_BT={1.0: tail}, vocab_size=width, lengths_B=lengths
        )


@pytest.mark.parametrize("kept", [None, 5])
def test_a_cache_tells_of_the_teacher_what_its_logits_would(kept):
    from kdkit.builtin.codecs.topk import TopK

    model, (_, rows) = tiny.model(seed=2), tiny.encoded(7)
    own = logits_of(model, rows)
    own["row3"] = own["row3"][:1]  # recorded logits may be shorter than the row
    codec = Float() if kept is None else TopK()
    found = cached_tokens(rows, Cached(own, kept), codec, pad_id=0, batch_size=3)
    for row, tokens, hard in zip(rows, found.rows, found.hard, strict=True):
        logits = own[row.id]
        labels = torch.tensor(row.target_ids[: len(logits)])
        assert found.ids[row.id] == logits.argmax(-1).tolist()
        assert (tokens.tokens, tokens.right) == (len(logits), int((logits.argmax(-1) == labels).sum()))
        assert tokens.bins.confidence_K.sum() == pytest.approx(logits.softmax(-1).amax(-1).sum().item(), rel=1e-3)
        if kept is None:
            expected = torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
            assert hard == pytest.approx(expected, rel=1e-5)
        else:
            assert np.isnan(hard)


def test_a_sample_of_the_teachers_probabilities_does_not_tell_its_tokens():
    from kdkit.builtin.codecs.sampled import Sampled

    _, rows = tiny.encoded(3)
    assert cached_tokens(rows, Cached({}), Sampled(), pad_id=0, batch_size=3) is None


# --- costs


def test_costs_have_latency_length_and_memory(whole):
    costs = evaluation(whole[0] / "first")["costs"]
    assert costs.keys() == {"student", "teacher"}
    for cost in costs.values():
        assert 0 < cost["latency_low"] <= cost["latency"] <= cost["latency_high"]
        assert 1 <= cost["tokens_per_sample"] <= 7, "of the 8 the first is the decoder's start"
        assert cost["peak_bytes"] is None or cost["peak_bytes"] >= 0


def test_rows_alone_are_timed_until_the_time_is_over():
    from kdkit.api.values import Prediction

    _, rows = tiny.encoded(30)
    asked, now = [], [0.0]

    def generate(some):
        for row in some:
            asked.append(row.id)
            now[0] += 3
            yield Prediction(id=row.id, text="", seconds=3.0)

    assert timing.seconds_alone(rows, generate, clock=lambda: now[0]) == [3.0] * 4  # 12 s are past the 10
    assert asked[0] == asked[1], "the first goes before, untimed"


@pytest.mark.skipif(not timing.STATUS.exists(), reason="only Linux tells")
def test_the_peak_is_what_was_held_at_once_and_not_before():
    meter = timing._Meter.on("cpu")
    kept = np.ones(4_000_000)
    meter.clear()
    if meter.before is None:
        pytest.skip("/proc cannot be written here")
    passing = np.ones(6_000_000)
    del passing
    assert 75e6 < meter.peak() < 120e6
    meter.clear()
    assert 30e6 < meter.peak() < 60e6
    assert kept[0] == 1
