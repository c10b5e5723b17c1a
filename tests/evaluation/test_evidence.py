"""What every evaluation brings beside the student's scores: baselines, tokens, rows, costs."""

from __future__ import annotations

import json
import math
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import team_kit
import tiny
import torch

from kdkit.api.values import DenseTargets, EncodedExample, SparseTargets
from kdkit.builtin.codecs.float_ import Float
from kdkit.builtin.losses.kd import KD
from kdkit.errors import DamagedData, Interrupted
from kdkit.evaluation import timing
from kdkit.evaluation.losses import row_losses
from kdkit.evaluation.questions import Questions
from kdkit.evaluation.row_scores import RowKey, RowScores
from kdkit.evaluation.tokens import RowTokens, TokenWatch, cached_tokens
from kdkit.logits.targets import NoTargets
from kdkit.losses import HardLoss
from kdkit.system.progress import Silent
from kdkit.system.team import ALONE
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
NO_SUITES = {**SMALL, "training__best_by": None, "evaluation__suites": []}
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
    tiny.run_here(place, "no suites", progress=notes, **NO_SUITES)
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
        *(("tokens", "top_5_agreement"), ("tokens", "acceptance")),
    }
    scores = by_key(whole[0] / "first")
    for each in found:
        against = "teacher" if each["metric"] in {"soft", "agreement", "top_5_agreement", "acceptance"} else "truth"
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


def test_without_suites_losses_and_tokens_are_scored_and_no_text_is_written(whole):
    folder = whole[0] / "no suites"
    scores, record = by_key(folder), evaluation(folder)
    assert {key.model for key in scores} == {"teacher", "student", "labels-only", "untouched"}
    assert {key.suite for key in scores} == {"loss", "tokens"}
    assert record["headline"] == "loss.hard"
    assert facts(folder, "distill")["best_by"] == "hard"
    assert all(not file.read_text() for file in (folder / "predictions").iterdir())
    assert {each["seconds_per_sample"] for each in record["costs"].values()} == {None}
    known = by_key(whole[0] / "first")
    for key, score in scores.items():
        assert score == known[key], key
    from kdkit.report.closing.run import closing_text

    said = closing_text(folder)
    assert "Hard loss" in " ".join(said.splitlines()[:3])
    assert "Expected acceptance" in said
    assert "a sample" not in said


def test_scores_without_generation_are_what_the_losses_say(whole):
    scores = by_key(whole[0] / "first")
    for model in ("student", "teacher", "labels-only"):
        hard = scores[RowKey(model, "truth", "loss", "hard")]["value"]
        perplexity = scores[RowKey(model, "truth", "tokens", "perplexity")]
        assert perplexity["value"] == pytest.approx(math.exp(hard), rel=1e-6)
        assert perplexity["direction"] == "lower"
        assert perplexity["low"] <= perplexity["value"] <= perplexity["high"]
        rows = [json.loads(line) for line in (whole[0] / "first" / "data" / "test.jsonl").read_text().splitlines()]
        ids = tiny.tokenizer()([row["target"] for row in rows])["input_ids"]
        nats = hard * sum(map(len, ids))  # the end of each text included
        bits = scores[RowKey(model, "truth", "tokens", "bits_per_byte")]
        assert bits["value"] == pytest.approx(nats / math.log(2) / sum(len(row["target"]) for row in rows), rel=1e-6)
        assert bits["direction"] == "lower"


def test_intervals_resample_the_documents_that_rows_are_parts_of():
    from kdkit.api.values import Example
    from kdkit.evaluation.evidence import Evidence
    from kdkit.evaluation.label_texts import LabelTexts
    from kdkit.evaluation.losses import RowLoss

    rows = [Example(id=str(i), source="", target="x", document=f"d{i // 4}") for i in range(40)]
    losses = [RowLoss(hard=float(i // 4), hard_tokens=1) for i in range(40)]
    tokens = [RowTokens(tokens=1, right=(i // 4) % 2) for i in range(40)]
    width = {}
    for documents in (None, tuple(str(row.document) for row in rows)):
        evidence = Evidence(
            examples=rows,
            texts=LabelTexts(bytes_R=np.ones(40), lines=((),) * 40),
            documents=documents,
            suites=(),
            resamples=300,
            seed=0,
            together=0,
        )
        evidence.add_loss("student", "truth", "hard", losses)
        evidence.add_tokens("student", tokens, losses)
        for score in evidence.scores:
            width.setdefault(score.metric, []).append(score.high - score.low)
    assert set(width) == {"hard", "accuracy", "bits_per_byte", "perplexity"}
    for metric, (of_rows, of_documents) in width.items():
        assert of_documents > 1.5 * of_rows, metric


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
    assert sum(note.startswith("untouched: answers taken from") for note in notes) == 1, "of the same loss"


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
    shutil.rmtree(runs / "cache" / "answers")
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
        value = np.exp(value) if key.metric == "perplexity" else value
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


@pytest.mark.parametrize("kept", [None, 5, 10_000])
def test_acceptance_is_1_minus_the_total_variation_or_two_bounds_of_it(kept):
    """Whatever the loss is; the rows that the teacher lacks do not count."""
    model, (_, rows) = tiny.model(seed=3), tiny.encoded(7)
    own, its = logits_of(model, rows), logits_of(tiny.model(seed=2), rows)
    its = {row_id: 8 * logits for row_id, logits in its.items()}
    its["row3"] = its["row3"][:1]
    width = len(own["row0"][0])
    watch = TokenWatch(teacher_ids={}, knows_teacher=True)
    targets = Cached(its, None if kept is None else min(kept, width))
    targets.count = lambda row: len(its[row.id])
    loss = KD(alpha=0.5, temperature=1.0)
    row_losses(rows, Forward.of(model), loss, targets, pad_id=0, device="cpu", batch_size=3, watch=watch)
    totals = np.zeros(3)
    for row, found in zip(rows, watch.of(rows), strict=True):
        size = len(its[row.id])
        ours, theirs = own[row.id][:size].softmax(-1), its[row.id].softmax(-1)
        shared = 1 - (ours - theirs).abs().sum(-1) / 2
        assert found.judged == size
        assert found.is_bound is (kept is not None)
        exact = shared.sum().item()
        totals += found.accepted, exact, found.accepted_at_most
        assert found.accepted <= exact + 1e-5
        assert exact <= found.accepted_at_most + 1e-5
        if kept != 5:
            assert (found.accepted, found.accepted_at_most) == pytest.approx((exact, exact), rel=1e-4)
    assert bool(totals[0] + 1e-3 < totals[1] < totals[2] - 1e-3) == (kept == 5), totals


def test_the_teachers_token_is_looked_for_among_the_first_five():
    model, (_, rows) = tiny.model(), tiny.encoded(7)
    ranked = {row_id: logits.argsort(-1, descending=True) for row_id, logits in logits_of(model, rows).items()}
    for place, among in ((0, True), (4, True), (5, False)):
        found = watched(model, rows, {row_id: ids[:, place].tolist() for row_id, ids in ranked.items()})
        assert [row.among for row in found] == [among * row.compared for row in found]


def test_a_line_matches_where_every_token_of_it_is_right():
    row = RowTokens(right_T=[np.array([True, True, False]), np.array([True, True])])
    assert row.right_lines(((0, 2), (1, 3), (3, 5))) == (2, 3)
    assert row.right_lines(((3, 6),)) == (0, 0), "the teacher's rows end before that line does"


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


def test_a_head_that_is_wider_than_the_tokenizer_is_compared_over_the_tokenizers_ids(tmp_path):
    """Of a model that is teacher and student both sides are the same, whatever its rows of no token are."""
    import causal_kit

    rows = [EncodedExample(id=str(n), source_ids=(5, 6, 7 + n), target_ids=(8, 9, 1)) for n in range(2)]
    width = len(causal_kit.tokenizer())
    model = causal_kit.model(seed=2, vocab_size=width + 18)
    model.module.get_output_embeddings().weight.data[width:] *= 40
    own = {row_id: logits.double() for row_id, logits in logits_of(model, rows).items()}
    targets = Cached({row_id: logits[:, :width].float() for row_id, logits in own.items()})
    its = cached_tokens(rows, targets, Float(), pad_id=0, batch_size=2)
    targets.count, targets.digest = lambda row: len(row.target_ids), lambda rows: str(len(rows))
    questions = Questions(
        rows=SimpleNamespace(encoded=rows, tokenizer=causal_kit.tokenizer()),
        loss=KD(alpha=0.5, temperature=1.0),
        targets=targets,
        teacher_ids=its.ids,
        knows_teacher=True,
        generation=SimpleNamespace(batch_size=2),
        wants_texts=False,
        together=0,
        store=tmp_path,
        device="cpu",
        progress=Silent(),
        team=ALONE,
    )
    answers = questions.answers(lambda: model, name="student", weights="some")
    for row, hard, theirs, loss, ours in zip(rows, its.hard, its.rows, answers.losses, answers.tokens, strict=True):
        nats = [float(-own[row.id][:, :end].log_softmax(-1)[range(3), row.target_ids].sum()) for end in (width, None)]
        assert nats[1] > nats[0] + 3, "the other entries have mass"
        assert (hard, loss.hard) == pytest.approx((nats[0], nats[0]), rel=1e-5)
        assert loss.soft == pytest.approx(0, abs=1e-5)
        assert (ours.agreed, ours.right) == (3, theirs.right)
        assert ours.accepted == pytest.approx(3, rel=1e-5)
        np.testing.assert_allclose(ours.bins.confidence_K, theirs.bins.confidence_K, rtol=1e-5)


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
