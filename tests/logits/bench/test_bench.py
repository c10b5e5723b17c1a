"""`kdkit codec bench`: what it measures, against plain NumPy and autograd; what it reads; and what it refuses.

Letters: B batch, T target tokens, N tokens, V vocabulary, D hidden, K entries kept.
"""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import attrs
import numpy as np
import pytest
import tiny
from cache_kit import block, fill, identity, key
from click.testing import CliRunner

from kdkit import plugins
from kdkit.api.options import option
from kdkit.api.values import LabelPlaces, OutputHead, SparseTargets, StateBlock, TeacherBlock
from kdkit.builtin.codecs.float_ import Float
from kdkit.builtin.codecs.u8_lz4 import U8LZ4
from kdkit.cli.codec import command
from kdkit.errors import Mismatch, MissingInput, UsageError
from kdkit.logits.bench.candidates import SETTINGS
from kdkit.logits.cache import CacheWriter

torch = pytest.importorskip("torch")
from safetensors.torch import save_file  # noqa: E402 - after torch is known to be there

from kdkit.logits.bench import (  # noqa: E402
    Candidate,
    Coder,
    Result,
    default_candidates,
    draw_plot,
    fit_candidate,
    measure,
    parse_candidate,
    read_tensors,
)
from kdkit.logits.bench.sparse import dense_logp, sparse_target  # noqa: E402
from kdkit.logits.bench.student import HeadGradient, cosine, student_of  # noqa: E402
from kdkit.losses.alignment import align, student_rows, teacher_rows  # noqa: E402
from kdkit.losses.divergences import forward_kl  # noqa: E402

VOCAB, HIDDEN = 150, 8
LENGTHS = (5, 0, 7, 3, 9, 4)


@attrs.frozen(kw_only=True)
class Rounded:
    """Hidden states or logits to a step, with no state: what a `StateCodec` of a head is, without the finesse."""

    step: float = option("The step.", default=0.25)

    def encode(self, block):
        return np.rint(block.logits_TV / self.step).astype("<f4").tobytes()

    def decode(self, payload, *, tokens, vocab_size):
        return np.frombuffer(payload, "<f4").reshape(tokens, vocab_size).astype(np.float32) * np.float32(self.step)

    def bytes_per_token(self, vocab_size):
        return 4.0 * vocab_size


@attrs.frozen(kw_only=True, eq=False)
class BoundStates:
    weight_VD: np.ndarray

    def encode(self, block):
        raise AssertionError("logits were computed where hidden states are given")

    def encode_states(self, block: StateBlock):
        return block.states_TD.astype("<f2").tobytes()

    def decode(self, payload, *, tokens, vocab_size):
        states_TD = np.frombuffer(payload, "<f2").reshape(tokens, HIDDEN).astype(np.float32)
        return states_TD @ self.weight_VD.T

    def bytes_per_token(self, vocab_size):
        return 2.0 * HIDDEN


@attrs.frozen(kw_only=True)
class States:
    """Hidden states as fp16; learns the head."""

    sample_tokens = 6

    def fit(self, sample):
        raise UsageError("these logits have no head")

    def fit_head(self, head: OutputHead, sample):
        assert sum(len(block.states_TD) for block in sample) >= self.sample_tokens
        return {"head": head.weight_VD}

    def bind(self, state):
        return BoundStates(weight_VD=state["head"])

    def bytes_per_token(self, vocab_size):
        return 2.0 * HIDDEN


@attrs.frozen(kw_only=True)
class Kept:
    """The K largest as they are, and the tail's mass at the temperatures named; no tail's mass with `tail` false."""

    k: int = option("How many.", default=5)
    temperatures: tuple[float, ...] = option("Where it is exact.", default=(2.0, 1.0))
    tail: bool = option("Whether the tail has its mass.", default=True)

    @property
    def exact_temperatures(self):
        return self.temperatures

    def encode(self, block):
        return block.logits_TV.astype("<f4").tobytes()

    def decode(self, payload, *, tokens, vocab_size):
        return np.frombuffer(payload, "<f4").reshape(tokens, vocab_size).astype(np.float32)

    def targets(self, records, *, vocab_size, device):
        lengths = [tokens for _, tokens in records]
        logits_BTV = torch.zeros(len(records), max(lengths), vocab_size)
        for index, (payload, tokens) in enumerate(records):
            logits_BTV[index, :tokens] = torch.from_numpy(self.decode(payload, tokens=tokens, vocab_size=vocab_size))
        values_BTK, ids_BTK = logits_BTV.topk(self.k, dim=-1)
        tails = {}
        for temperature in self.temperatures:
            p_BTV = torch.softmax(logits_BTV.double() / temperature, dim=-1)
            rest_BT = p_BTV.scatter(-1, ids_BTK, 0.0).sum(-1)
            tails[temperature] = rest_BT.log().float() if self.tail else torch.full(rest_BT.shape, -torch.inf)
        return SparseTargets(
            ids_BTK=ids_BTK, values_BTK=values_BTK, log_tail_BT=tails, vocab_size=vocab_size,
            lengths_B=torch.tensor(lengths),
        )  # fmt: skip

    def bytes_per_token(self, vocab_size):
        return 4.0 * vocab_size


def coder(component, state_bytes=0):
    candidate = Candidate(name="test", options={}, given="", component=component)
    return Coder(candidate=candidate, codec=component, state_bytes=state_bytes)


def tensors(seed=0, records=LENGTHS, vocab=VOCAB, **changes):
    random = torch.Generator().manual_seed(seed)
    found = {
        "hidden": torch.randn(sum(records), HIDDEN, generator=random) * 2,
        "head": torch.randn(vocab, HIDDEN, generator=random),
        "bias": torch.randn(vocab, generator=random),
        "lengths": torch.tensor(records),
        "sample_hidden": torch.randn(12, HIDDEN, generator=random),
        "sample_lengths": torch.tensor([5, 7]),
    }
    return {name: value for name, value in {**found, **changes}.items() if value is not None}


def write(path, **changes):
    save_file(tensors(**changes), path)
    return path


def logits_file(path, logits_NV, **more):
    save_file({"logits": torch.as_tensor(logits_NV, dtype=torch.float32), **more}, path)
    return path


def run(*arguments):
    return CliRunner().invoke(command, ["bench", *map(str, arguments)])


def bad_row(rows, row):
    found = torch.zeros(rows, HIDDEN)
    found[row] = torch.nan
    return found


def np_logp(logits_NV, temperature):
    x_NV = logits_NV.astype(np.float64) / temperature
    x_NV -= x_NV.max(-1, keepdims=True)
    return x_NV - np.log(np.exp(x_NV).sum(-1, keepdims=True))


def exact(path):
    material = read_tensors(path)
    return np.concatenate([material.logits(record) for record in material.measure()])


def test_every_figure_is_that_of_plain_numpy(tmp_path):
    path = write(tmp_path / "f.safetensors")
    codec = Rounded()
    result = measure(read_tensors(path), [coder(codec)], temperatures=(0.5, 1.0, 4.0)).results[0]
    logits_NV = exact(path)
    decoded_NV = np.rint(logits_NV / 0.25).astype(np.float32) * np.float32(0.25)
    for temperature, kl in result.kl.items():
        p_NV, q_NV = np_logp(logits_NV, temperature), np_logp(decoded_NV, temperature)
        kl_N = (np.exp(p_NV) * (p_NV - q_NV)).sum(-1)
        assert kl == pytest.approx(kl_N.mean(), rel=1e-3)
        if temperature == 1:
            assert result.kl_max == pytest.approx(kl_N.max(), rel=1e-3)
    assert result.bytes_per_token == 4 * VOCAB
    assert result.top1_agreement == (logits_NV.argmax(-1) == decoded_NV.argmax(-1)).mean()
    order_NV = np.argsort(-logits_NV, axis=-1, kind="stable")[:, 128:]
    masses = [np.take_along_axis(np.exp(np_logp(x_NV, 1)), order_NV, -1).sum(-1) for x_NV in (logits_NV, decoded_NV)]
    assert result.tail_mass_error == pytest.approx(np.abs(masses[0] - masses[1]).mean(), abs=2e-7)
    assert result.encode_tokens_per_s > 0
    assert result.decode_tokens_per_s > 0


def test_the_gradient_is_that_of_the_loss_by_autograd(tmp_path):
    path = write(tmp_path / "f.safetensors", records=(130, 120, 40))
    material = read_tensors(path)
    codec = Rounded(step=1.0)
    result = measure(material, [coder(codec)]).results[0]
    student = student_of(material)
    cosines = []
    records = list(material.measure())
    for number, group in enumerate((records[:2], records[2:])):
        states_ND = torch.from_numpy(np.concatenate([record.states_TD for record in group]))
        logits_NV = material.logits_of_states(states_ND)
        decoded_NV = torch.round(logits_NV / 1.0)
        rows = student.rows(number, logits_NV, states_ND)
        gradients = []
        for target_NV in (logits_NV, decoded_NV):
            weight_VD = torch.from_numpy(material.head.weight_VD).clone().requires_grad_()
            q_NV = torch.log_softmax(rows.states_NH @ weight_VD.T + torch.from_numpy(material.head.bias_V), dim=-1)
            forward_kl(torch.log_softmax(target_NV, dim=-1), q_NV).mean().backward()
            gradients.append(weight_VD.grad.flatten().double())
        cosines.append(float(torch.nn.functional.cosine_similarity(*gradients, dim=0)))
    assert result.gradient_cosine == pytest.approx(np.mean(cosines), abs=1e-5)
    assert result.gradient_cosine < 0.9999


def test_a_lossless_codec_loses_nothing(tmp_path):
    path = write(tmp_path / "f.safetensors")
    result = measure(
        read_tensors(path), [coder(Float(compression="zstd", planes=True))], temperatures=(0.5, 1.0)
    ).results[0]
    assert (dict(result.kl), result.kl_max, result.top1_agreement, result.tail_mass_error) == (
        {0.5: 0, 1.0: 0},
        0,
        1,
        0,
    )
    assert result.gradient_cosine == pytest.approx(1, abs=1e-6)


def test_a_codec_of_states_is_taught_the_head_and_never_given_logits(tmp_path):
    path = write(tmp_path / "f.safetensors", bias=None)
    material = read_tensors(path)
    candidate = Candidate(name="states", options={}, given="", component=States())
    ready = fit_candidate(candidate, material)
    result = measure(material, [ready]).results[0]
    assert result.bytes_per_token == 2 * HIDDEN
    assert result.state_bytes > 4 * VOCAB * HIDDEN
    assert 0 < result.kl[1.0] < 1e-4


def test_a_codec_that_cannot_learn_is_refused_when_named(tmp_path):
    path = logits_file(tmp_path / "l.safetensors", np.random.default_rng(0).normal(size=(40, 30)))
    with pytest.raises(UsageError, match="no head"):
        fit_candidate(Candidate(name="states", options={}, given="", component=States()), read_tensors(path))


def sparse(codec, logits_NV):
    payload = codec.encode(TeacherBlock(id="a", logits_TV=logits_NV))
    return codec.targets([(payload, len(logits_NV))], vocab_size=logits_NV.shape[1], device="cpu")


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_sparse_targets_draw_a_student_as_the_loss_over_them_does(temperature):
    random = np.random.default_rng(3)
    logits_NV = random.normal(0, 3, (6, 40)).astype(np.float32)
    targets = sparse(Kept(), logits_NV)
    student_NV = torch.from_numpy(random.normal(0, 3, (1, 6, 40)).astype(np.float32)).requires_grad_()
    labels_BT = torch.zeros(1, 6, dtype=torch.int64)
    both = align(student_rows(student_NV[0]), teacher_rows(targets, LabelPlaces.of(labels_BT)), temperature=temperature)
    forward_kl(both.teacher_logp_MV, both.student_logp_MV).sum().backward()
    q_NV = torch.softmax(student_NV.detach()[0] / temperature, dim=-1)
    rows_BT = torch.ones(1, 6, dtype=torch.bool)
    ours_NV = (q_NV - sparse_target(targets, rows_BT, q_NV, temperature)) / temperature
    assert torch.allclose(ours_NV, student_NV.grad[0], atol=1e-6)


def test_dense_log_probabilities_of_sparse_targets_spread_the_tail_evenly():
    logits_NV = np.random.default_rng(4).normal(0, 3, (6, 40)).astype(np.float32)
    logp_NV = dense_logp(sparse(Kept(k=3), logits_NV), torch.ones(1, 6, dtype=torch.bool), 2.0).numpy()
    exact_NV = np_logp(logits_NV, 2.0)
    top_NK = np.argsort(-logits_NV, axis=-1)
    assert np.take_along_axis(logp_NV, top_NK[:, :3], -1) == pytest.approx(
        np.take_along_axis(exact_NV, top_NK[:, :3], -1), abs=1e-5
    )
    rest_NK = np.take_along_axis(logp_NV, top_NK[:, 3:], -1)
    assert np.ptp(rest_NK, axis=-1) == pytest.approx(0)
    assert np.exp(logp_NV).sum(-1) == pytest.approx(1, abs=1e-5)


def test_absent_entries_of_sparse_targets_count_for_nothing():
    targets = sparse(Kept(k=3), np.random.default_rng(4).normal(0, 3, (2, 40)).astype(np.float32))
    padded = attrs.evolve(
        targets,
        ids_BTK=torch.nn.functional.pad(targets.ids_BTK, (0, 2), value=-1),
        values_BTK=torch.nn.functional.pad(targets.values_BTK, (0, 2), value=-torch.inf),
    )
    rows_BT, q_NV = torch.ones(1, 2, dtype=torch.bool), torch.softmax(torch.randn(2, 40), -1)
    assert torch.equal(dense_logp(padded, rows_BT, 1.0), dense_logp(targets, rows_BT, 1.0))
    assert torch.allclose(sparse_target(padded, rows_BT, q_NV, 1.0), sparse_target(targets, rows_BT, q_NV, 1.0))


def test_a_sparse_codec_gives_what_it_knows_and_none_of_the_rest(tmp_path):
    path = write(tmp_path / "f.safetensors")
    results = measure(
        read_tensors(path),
        [coder(Kept()), coder(Kept(temperatures=(2.0,))), coder(Kept(tail=False)), coder(Kept(k=VOCAB))],
        temperatures=(1.0, 2.0, 4.0),
    ).results
    both, two, no_tail, whole = results
    assert both.kl[1.0] > 0
    assert both.kl[2.0] > 0
    assert both.kl[4.0] is None
    assert (two.kl[1.0], two.kl_max, two.tail_mass_error) == (None, None, None)
    assert (two.gradient_temperature, both.gradient_temperature) == (2.0, 1.0)
    assert two.kl[2.0] == pytest.approx(both.kl[2.0])
    assert all(value is None for value in no_tail.kl.values())
    assert no_tail.tail_mass_error > 0
    assert 0 < no_tail.gradient_cosine < both.gradient_cosine < 1
    assert whole.kl[1.0] == pytest.approx(0, abs=1e-6)
    assert whole.gradient_cosine == pytest.approx(1, abs=1e-6)


def test_a_small_vocabulary_has_no_tail_to_be_wrong_about(tmp_path):
    path = write(tmp_path / "f.safetensors", vocab=128, head=torch.randn(128, HIDDEN), bias=None)
    assert measure(read_tensors(path), [coder(Rounded())]).results[0].tail_mass_error is None


def test_figures_do_not_depend_on_how_the_rows_are_cut_into_records(tmp_path):
    logits_NV = np.random.default_rng(0).normal(0, 3, (700, 40)).astype(np.float32)
    sample = torch.as_tensor(logits_NV[:4])
    many = logits_file(tmp_path / "a.safetensors", logits_NV, lengths=torch.tensor([7] * 100), sample_logits=sample)
    one = logits_file(tmp_path / "b.safetensors", logits_NV, lengths=torch.tensor([700]), sample_logits=sample)
    first, second = (measure(read_tensors(path), [coder(U8LZ4())]).results[0] for path in (many, one))
    assert first.kl[1.0] == pytest.approx(second.kl[1.0], rel=1e-4)
    assert first.top1_agreement == second.top1_agreement


def test_records_without_tokens_change_nothing(tmp_path):
    logits_NV = np.random.default_rng(0).normal(0, 3, (300, 40)).astype(np.float32)
    sample = torch.as_tensor(logits_NV[:4])
    with_none = logits_file(
        tmp_path / "a.safetensors", logits_NV, lengths=torch.tensor([0, 300, 0]), sample_logits=sample
    )
    without = logits_file(tmp_path / "b.safetensors", logits_NV, lengths=torch.tensor([300]), sample_logits=sample)
    first, second = (measure(read_tensors(path), [coder(U8LZ4())]).results[0] for path in (with_none, without))
    assert (first.kl, first.kl_max, first.top1_agreement) == (second.kl, second.kl_max, second.top1_agreement)


def test_the_student_is_the_same_at_every_call(tmp_path):
    path = write(tmp_path / "f.safetensors")
    twice = [measure(read_tensors(path), [coder(Rounded())]).results[0] for _ in range(2)]
    assert twice[0].gradient_cosine == twice[1].gradient_cosine


def test_a_cosine_with_nothing_is_none():
    gram_NN = torch.eye(3)
    some = HeadGradient(error_NV=torch.randn(3, 5), gram_NN=gram_NN)
    assert cosine(HeadGradient(error_NV=torch.zeros(3, 5), gram_NN=gram_NN), some) is None
    assert cosine(some, some) == pytest.approx(1)


def test_without_a_sample_the_first_quarter_is_learnt_from_and_the_rest_measured(tmp_path):
    path = write(tmp_path / "f.safetensors", records=(1, 2, 3, 4, 5, 6, 7, 8), sample_hidden=None, sample_lengths=None)
    material = read_tensors(path)
    assert [record.tokens for record in material.learn()] == [1, 2]
    assert [record.tokens for record in material.measure()] == [3, 4, 5, 6, 7, 8]
    output = run("--logits", path, "--codec", "float").output
    assert "33 tokens in 6 records" in output
    assert "codecs learn from the first 2 of 8 records and are measured on the others" in output


def test_records_of_a_file_without_lengths_have_32_tokens(tmp_path):
    path = write(tmp_path / "f.safetensors", records=(70,), lengths=None, sample_lengths=None)
    material = read_tensors(path)
    assert [record.tokens for record in material.measure()] == [32, 32, 6]
    assert "32 tokens" in material.learnt_from


def test_half_precision_is_read_as_it_is(tmp_path):
    logits_NV = torch.randn(40, 30).bfloat16()
    save_file({"logits": logits_NV, "lengths": torch.tensor([10, 30])}, tmp_path / "f.safetensors")
    assert (exact(tmp_path / "f.safetensors") == logits_NV[10:].float().numpy()).all()


def test_json_has_every_field(tmp_path):
    path = write(tmp_path / "f.safetensors")
    result = run(
        "--logits", path, "--codec", "u8-lz4:clip=2,level=9", "--codec", "float", "--json", "--temperatures", "1,2.5"
    )
    table = json.loads(result.stdout)
    assert (table["file"], table["tokens"], table["records"]) == (str(path), 28, 6)
    assert "noise" in table["student"]
    u8, plain = table["results"]
    assert (u8["codec"], u8["options"]) == ("u8-lz4", {"scope": "row", "level": 9, "clip": 2.0})
    assert list(u8["kl"]) == ["1", "2.5"]
    assert plain["kl"] == {"1": 0.0, "2.5": 0.0}
    fields = "bytes_per_token state_bytes encode_tokens_per_s decode_tokens_per_s kl_max top1_agreement tail_mass_error gradient_cosine"
    assert all(isinstance(u8[name], int | float) for name in fields.split())


def test_the_table_is_sorted_by_size_and_progress_is_elsewhere(tmp_path):
    path = write(tmp_path / "f.safetensors")
    result = run("--logits", path, "--codec", "float", "--codec", "u8-lz4", "--codec", "float:dtype=fp16")
    assert [line.split()[0] for line in result.stdout.splitlines()[1:4]] == ["u8-lz4", "float:dtype=fp16", "float"]
    assert "bench" in result.stderr
    assert "bench" not in result.stdout


def test_with_no_codec_named_all_installed_ones_are_measured(tmp_path):
    path = write(tmp_path / "f.safetensors", records=(20, 20))
    results = json.loads(run("--logits", path, "--json").stdout)["results"]
    assert {"u8-lz4", "float"} <= {result["codec"] for result in results} <= set(plugins.load().names("codecs"))
    assert [result["options"].get("clip") for result in results if result["codec"] == "u8-lz4"] == [None, 16, 12, 8]


def test_the_settings_that_are_measured_by_default_are_those_of_installed_codecs():
    installed = plugins.load()
    assert set(SETTINGS) <= set(installed.names("codecs"))
    for candidate in default_candidates(installed):
        assert parse_candidate(candidate.label, installed).component == candidate.component


def test_the_plot_is_written(tmp_path):
    path = write(tmp_path / "f.safetensors")
    picture = tmp_path / "rate.png"
    assert run("--logits", path, "--codec", "u8-lz4", "--codec", "float", "--plot", picture).exit_code == 0
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    drawn = measure(read_tensors(path), [coder(Rounded()), coder(Kept(tail=False))]).results
    draw_plot(drawn, tmp_path / "rate.svg")
    assert "without a finite KL" in (tmp_path / "rate.svg").read_text()
    for name, what in (("rate.xyz", "xyz"), ("nowhere/rate.png", "nowhere")):
        with pytest.raises(UsageError, match=what):
            draw_plot(drawn, tmp_path / name)


def test_a_cache_at_a_url_is_measured_as_one_in_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KDKIT_MIRROR", str(tmp_path / "mirrors"))
    fill(tmp_path / "cache", range(12))
    result = run("--cache", f"file://{tmp_path}/cache", "--codec", "float", "--json")
    assert json.loads(result.stdout)["records"] == 9


def test_a_cache_of_masked_logits_is_refused_and_not_measured_as_nan(tmp_path):
    with CacheWriter(tmp_path, identity(), U8LZ4(), 600) as writer:
        for number in range(12):
            masked = block(number)
            masked.logits_TV[:, 3] = -np.inf
            writer.add_block(key(number), masked)
        writer.finish()
    result = run("--cache", tmp_path, "--codec", "float")
    assert isinstance(result.exception, UsageError)
    assert re.fullmatch(
        r"the logit of record \w{32} is -inf at row 0, column 3; .* unmasked logits", str(result.exception)
    )


def test_a_cache_is_measured_against_what_it_decodes_to(tmp_path):
    fill(tmp_path, range(12))
    result = run("--cache", tmp_path, "--codec", "float", "--codec", "float:dtype=fp16", "--json")
    table = json.loads(result.stdout)
    assert (table["records"], table["vocab_size"]) == (9, 40)
    assert table["results"][0]["kl"]["1"] == 0
    assert table["results"][1]["kl"]["1"] > 0


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe")
    return tiny.write_recipe(folder, train=12, validation=2)


def test_a_recipe_s_teacher_must_have_been_made(recipe):
    result = run("--recipe", recipe, "--run-dir", recipe.parent / "none")
    assert isinstance(result.exception, MissingInput)
    assert "kdkit run" in str(result.exception)


def test_a_recipe_s_teacher_is_asked_for_some_training_rows(recipe):
    from kdkit.pipeline.run import run as run_recipe
    from kdkit.recipe import load_recipe

    run_dir = recipe.parent / "run"
    run_recipe(load_recipe(recipe), run_dir)
    result = run("--recipe", recipe, "--run-dir", run_dir, "--rows", 8, "--codec", "float", "--json")
    table = json.loads(result.stdout)
    assert table["records"] == 6
    assert "the first 2 of 8 records" in table["learnt_from"]
    assert table["results"][0]["kl"]["1"] == 0
    assert "hidden states" in table["student"]
    # A run folder with another codec has the same teacher; one with another loss need not be the same run.
    asked = ("--recipe", recipe, "--run-dir", run_dir, "--rows", 8, "--codec", "float", "--json")
    other = json.loads(run(*asked, "-o", "codec.name=float", "-o", "codec.dtype=fp16").stdout)
    assert other["results"][0]["kl"] == table["results"][0]["kl"]
    refused = run(*asked, "-o", "loss.alpha=0.25").exception
    assert isinstance(refused, Mismatch)
    assert "--fresh" not in str(refused)
    assert "loss.alpha" in str(refused)


def test_values_are_laid_over_recipes_only(tmp_path):
    result = run("--logits", tmp_path / "f", "-o", "seed=3")
    assert result.exit_code == 2
    assert "--recipe" in result.output


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"hidden": None}, "needs `logits`, or `hidden` and `head`"),
        ({"head": None}, "no tensor `head`"),
        ({"logits": torch.zeros(28, VOCAB)}, "both `logits` and `hidden`"),
        ({"head": torch.zeros(VOCAB, HIDDEN + 1)}, "`hidden` has 8 columns but `head` has 9"),
        ({"head": torch.zeros(VOCAB)}, r"`head` is F32 of shape \[150\]; it must have floats of 2 dimensions"),
        ({"hidden": torch.zeros(28, HIDDEN, dtype=torch.int64)}, "`hidden` is I64"),
        ({"bias": torch.zeros(3)}, "`bias` must have 150 numbers"),
        ({"lengths": torch.tensor([5, 7])}, "`lengths` adds up to 12, but `hidden` has 28 rows"),
        ({"lengths": torch.tensor([29, -1])}, "`lengths` holds -1"),
        ({"lengths": torch.tensor([28.0])}, "`lengths` is F32 of shape .*whole numbers"),
        ({"sample_hidden": torch.zeros(12, 3)}, "`hidden` has 8 columns but `sample_hidden` has 3"),
        ({"sample_lengths": torch.tensor([11])}, "`sample_lengths` adds up to 11, but `sample_hidden` has 12"),
        ({"lengths": torch.tensor([28]), "sample_hidden": None}, "one record; give at least two"),
        ({"hidden": torch.full((28, HIDDEN), torch.nan)}, "`hidden` is nan at row 0, column 0"),
        ({"bias": torch.full((VOCAB,), torch.inf)}, "`bias` is inf at row 0"),
        ({"head": bad_row(VOCAB, 140)}, "`head` is nan at row 140"),
        ({"hidden": bad_row(28, 27)}, "`hidden` is nan at row 27"),
        ({"sample_hidden": bad_row(12, 11)}, "`sample_hidden` is nan at row 11"),
        ({"hidden": torch.full((28, HIDDEN), 1e30), "head": torch.full((VOCAB, HIDDEN), 1e30)}, "so large at row 0"),
        ({"hidden": torch.zeros(0, HIDDEN), "lengths": torch.tensor([0, 0])}, "no token to measure"),
        (
            {"hidden": torch.zeros(0, HIDDEN), "lengths": torch.tensor([0, 0]), "sample_hidden": None},
            "no token to measure",
        ),
        ({"sample_hidden": torch.zeros(0, HIDDEN), "sample_lengths": torch.tensor([0])}, "no token to learn from"),
        ({"head": torch.zeros(0, HIDDEN), "bias": None}, "a vocabulary of 0"),
    ],
)  # fmt: skip
def test_a_file_that_will_not_do_is_refused_in_one_sentence(tmp_path, changes, sentence):
    path = write(tmp_path / "f.safetensors", **changes)
    result = run("--logits", path, "--codec", "float")
    assert isinstance(result.exception, UsageError)
    assert result.exception.exit_code == 2
    assert not str(result.exception).startswith("--codec")
    assert re.search(sentence, str(result.exception))
    assert "\n" not in str(result.exception)
    assert str(path) in str(result.exception)


def test_a_file_is_read_to_its_end_before_any_codec_learns(tmp_path, monkeypatch):
    monkeypatch.setattr("kdkit.logits.bench.fit_candidate", lambda *_: pytest.fail("a codec was prepared"))
    logits_NV = np.zeros((96, 8), np.float32)
    logits_NV[95, 3] = np.inf
    result = run("--logits", logits_file(tmp_path / "f", logits_NV))
    assert re.search("`logits` is inf at row 95, column 3", str(result.exception))


def test_a_cache_of_no_tokens_is_refused(tmp_path):
    fill(tmp_path, range(0, 40, 5))
    result = run("--cache", tmp_path, "--codec", "float")
    assert isinstance(result.exception, UsageError)
    assert "no token to measure" in str(result.exception)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("rate.xyz", "must end in .png, .svg or .pdf"),
        ("rate", "must end in .png, .svg or .pdf"),
        ("none/rate.png", "there is no folder"),
        ("folder.png", "the file cannot be written"),
    ],
)
def test_a_plot_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path, name, sentence):
    (tmp_path / "folder.png").mkdir()
    result = run("--logits", tmp_path / "not there", "--plot", tmp_path / name)
    assert isinstance(result.exception, UsageError)
    assert sentence in str(result.exception)
    assert "\n" not in str(result.exception)


def test_a_plot_that_fails_at_the_end_does_not_take_the_table_along(tmp_path, monkeypatch):
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_a, **_k: (_ for _ in ()).throw(OSError("full")))
    path = write(tmp_path / "f.safetensors")
    result = run("--logits", path, "--codec", "float", "--plot", tmp_path / "rate.png")
    assert isinstance(result.exception, UsageError)
    assert "gradient cos" in result.output


def test_a_file_that_is_none_is_refused(tmp_path):
    assert isinstance(run("--logits", tmp_path / "no").exception, MissingInput)
    (tmp_path / "text").write_text("no tensors")
    assert "is not a safetensors file" in str(run("--logits", tmp_path / "text").exception)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("u8-lz5", 'unknown codec "u8-lz5"; did you mean "u8-lz4"?'),
        ("u8-lz4:clp=3", 'clp: is not an option of codec "u8-lz4"; did you mean "clip"?'),
        ("u8-lz4:level=fast", 'level: must be a whole number, is "fast"'),
        ("u8-lz4:level=99", "level: must be at most 16, is 99"),
        ("u8-lz4:clip", '"clip" must have the form key=value'),
        ("float:planes=true", "planes is true"),
        ("u8-lz4:level=1,level=2", "level is given twice"),
        ("u8-lz4:level=1,", '"" must have the form key=value'),
    ],
)
def test_a_codec_that_is_misspelt_is_refused_in_one_sentence(spec, sentence):
    with pytest.raises(UsageError, match=re.escape(sentence)):
        parse_candidate(spec, plugins.load())


def test_values_of_options_are_read_as_in_overrides():
    installed = plugins.load()
    entries = {
        **installed.entries,
        ("codecs", "kept"): plugins.Entry(kind="codecs", name="kept", target=Kept, plugin="t"),
    }
    found = parse_candidate("kept:temperatures=[1.0, 2],k=7,tail=false", attrs.evolve(installed, entries=entries))
    assert found.component == Kept(k=7, temperatures=(1.0, 2.0), tail=False)


@pytest.mark.parametrize("temperatures", ["", "0", "-1", "a", "1,,2", "nan", "inf"])
def test_temperatures_that_are_none_are_refused(tmp_path, temperatures):
    result = run("--logits", "x", "--temperatures", temperatures)
    assert result.exit_code == 2
    assert "above 0" in result.output


@pytest.mark.parametrize("arguments", [(), ("--logits", "a", "--cache", "b")])
def test_one_source_is_needed(arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert "one of --logits" in result.output


@pytest.fixture(scope="module")
def benchmark_script():
    path = Path(__file__).parents[3] / "benchmarks" / "codecs.py"
    spec = importlib.util.spec_from_file_location("benchmark_codecs", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def figures(label, size, kl, **changes):
    fields = {
        "codec": label.partition(":")[0], "options": {}, "label": label, "bytes_per_token": size, "state_bytes": 0,
        "encode_tokens_per_s": 1.0, "decode_tokens_per_s": 1.0, "kl": dict.fromkeys((0.5, 1.0, 2.0, 4.0), kl),
        "kl_max": kl, "top1_agreement": 1.0, "tail_mass_error": 0.0, "gradient_temperature": 1.0, "gradient_cosine": 1.0,
    }  # fmt: skip
    return Result(**{**fields, **changes})


@pytest.mark.parametrize("good", [True, False])
def test_the_benchmark_s_targets_follow_from_the_figures(benchmark_script, good):
    results = [
        figures("u8-lz4", 44_000.0, 3e-4),
        figures("subspace:step=1", 400.0 if good else 401.0, 3e-4),
        figures("subspace:step=2", 312.0, 1e-3 if good else 2e-2),
        figures("subspace:step=3", 100.0, 1.0),
        figures(benchmark_script.TOPK_ONE, 340.0 if good else 350.0, 0.2),
        figures(benchmark_script.SAMPLED, 49.0 if good else 50.0, None, gradient_cosine=0.97 if good else 0.96),
    ]
    found = [target for target in benchmark_script.targets(results, 49_152) if "shaped" not in target["target"]]
    assert [target["met"] for target in found] == [good] * 8
    assert found[0]["figure"] == pytest.approx(44_000 / (400 if good else 401))
    assert found[1]["ours"].startswith("subspace:step=2: 312.0 B/token")
    assert found[5]["compared_with"] == "flat: 512 B/token"


@pytest.mark.parametrize("good", [True, False])
def test_the_targets_of_shaped_rounding_compare_at_equal_bytes(benchmark_script, good):
    def both(step, size, kl, cosine):
        share, options = 0.04 if good else 0.9, {"shaping": (1.0,)}
        yield figures(f"subspace:step={step}", size, kl, gradient_cosine=cosine)
        shaped = {0.5: kl * share, 1.0: kl * share, 2.0: kl, 4.0: kl * (1 if good else 2)}
        changes = {"kl": shaped, "options": options, "gradient_cosine": 1 - (1 - cosine) * (0.1 if good else 0.5)}
        yield attrs.evolve(figures(f"subspace:step={step},shaping=[1.0]", size, kl), **changes)

    points = (
        (0.005, 400.0, 1e-4, 0.999),
        (0.01, 330.0, 4e-3, 0.99),
        (0.015, 290.0, 9e-3, 0.97),
        (0.08, 90.0, 0.2, 0.9),
    )
    results = [
        figures("u8-lz4", 44_000.0, 3e-4),
        *(each for point in points for each in both(*point)),
        figures(benchmark_script.TOPK_ONE, 340.0, 0.2),
        figures(benchmark_script.SAMPLED, 49.0, None, gradient_cosine=0.97),
    ]
    found = [each for each in benchmark_script.targets(results, 49_152) if "shaped" in each["target"]]
    by_name = {each["target"].partition("subspace ")[2][:30]: each["met"] for each in found}
    assert len(by_name) == 6
    assert list(by_name.values()) == [good, good, good, True, good, good]
    kl = next(each for each in found if "KL at T = 1," in each["target"])
    assert kl["figure"] == pytest.approx(0.04 if good else 0.9)


def test_a_target_that_no_setting_reaches_is_missed(benchmark_script):
    results = [
        figures("u8-lz4", 44_000.0, 3e-4),
        figures("subspace:step=1", 400.0, 1.0),
        figures(benchmark_script.TOPK_ONE, 340.0, 0.2),
        figures(benchmark_script.SAMPLED, 49.0, None),
    ]
    found = benchmark_script.targets(results, 49_152)
    assert [target["met"] for target in found] == [False] * 5 + [False] * 6 + [True] * 3
    assert found[0]["ours"] == "no setting that was measured"
    json.dumps(found, allow_nan=False)
