"""The teacher that has its logits from another tool: a run of each format, and what is refused before one."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import causal_kit
import guest_kit as kit
import numpy as np
import pytest
import tiny
import tomli_w
from click.testing import CliRunner

from kdkit.api.values import Corpus, EntriesBlock, TeacherBlock
from kdkit.builtin.codecs.sampled import Sampled
from kdkit.builtin.codecs.topk import TopK
from kdkit.builtin.teachers.imported import ImportedTeacher
from kdkit.cli import cache as cache_verb
from kdkit.errors import DamagedData, Mismatch, UsageError
from kdkit.logits.cache import LogitCache
from kdkit.logits.largest import check_kept
from kdkit.pipeline.importing import import_logits
from kdkit.pipeline.plan import make_plan
from kdkit.pipeline.run import run
from kdkit.recipe import load_recipe


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a tokenizer and Parquet of all rows."""
    place = tmp_path_factory.mktemp("guests")
    kit.recipe(place)
    kit.write_plain(place / "guest", kit.all_sequences())
    return place


def ran(folder, name, **changes):
    """A run of a recipe, its folder, its cache and its notes."""
    notes = tiny.Notes()
    run(load_recipe(kit.recipe(folder, **changes)), folder / "runs" / name, progress=notes)
    record = json.loads((folder / "runs" / name / "run.json").read_text())
    return (
        folder / "runs" / name,
        LogitCache.open(Path(record["stages"]["capture"]["facts"]["cache"])),
        record,
        notes.notes,
    )


def kept(cache, ids):
    """The log-probabilities of a sequence's labels that a cache keeps; its key is the row's."""
    from kdkit.logits.targets import keys_of

    identity = cache.identity
    rows = [row for row in (*kit.rows(16), *kit.rows(8, 1)) if [*row.source_ids, *row.target_ids] == ids][:1]
    keys = keys_of(rows, teacher=identity.teacher, tokenizer=identity.tokenizer)
    payload, tokens = cache.get(keys[rows[0].id])
    return rows[0], cache.codec.targets([(payload, tokens)], vocab_size=kit.V, device="cpu")


def assert_true(cache, most):
    """The cache keeps the true probabilities of the likeliest entries, and of all others together."""
    for ids in kit.all_sequences()[::5]:
        row, targets = kept(cache, ids)
        true = np.exp(kit.logp_of(ids)[len(row.source_ids) - 1 :])
        tail = np.exp(targets.log_tail_BT[1.0][0].double().numpy())
        entries = targets.ids_BTK[0].long().numpy()
        weights = np.exp(targets.values_BTK[0].double().numpy())
        probabilities = weights / weights.sum(axis=1, keepdims=True) * (1 - tail[:, None])
        assert len(true) == len(entries) == len(row.target_ids)
        assert np.abs(np.take_along_axis(true, entries, axis=1) - probabilities).max() < most
        assert np.abs(true.sum(axis=1) - np.take_along_axis(true, entries, axis=1).sum(axis=1) - tail).max() < most


def test_a_run_from_parquet_says_whose_logits_it_used(folder):
    planned = make_plan(load_recipe(kit.recipe(folder)), folder / "runs" / "plain", tiny.Notes())
    place, cache, record, notes = ran(folder, "plain")
    said = f"Parquet of ids and log-probabilities in {folder / 'guest'}, the 6 largest of 270 entries and the mass of the others, at temperature 1"
    assert cache.identity.teacher_name == f"tiny: {said}"
    assert record["stages"]["check"]["facts"]["imported"] == said
    assert f"imported: nothing to make ({said})" in [stage.work for stage in planned.stages]
    assert said in (place / "report.md").read_text()
    assert "another tool kept (guest)" in (place / "student" / "best" / "README.md").read_text()
    assert_true(cache, 0.008)  # topk rounds logits to 1/64
    assert any(note.startswith("imported logits: the likeliest entry is the label for ") for note in notes)


def test_a_run_from_distillkit(folder):
    kit.write_distillkit(folder / "kit", kit.all_sequences())
    assert_true(ran(folder, "kit", teacher__logits=str(folder / "kit"))[1], 0.03)


def test_a_run_from_megatron(folder):
    ids = kit.write_megatron(folder / "tars", kit.all_sequences())
    changes = {"teacher__logits": str(folder / "tars"), "teacher__ids": str(ids)}
    assert_true(ran(folder, "tars", **changes)[1], 0.01)


def test_a_run_from_llama_cpp(folder):
    """Its rows are made of it: prompts of half a chunk, and labels in the other half; kdkit puts a stop after them."""
    context, width = 10, 5
    chunks = [ids[:context] for ids in kit.all_sequences() if len(ids) > context]
    kit.write_llama(folder / "base", chunks, context=context)
    out = folder / "halves.jsonl"
    made = command("rows", folder / "base", out, "--tokenizer", folder / "tokenizer", "--json")
    counts = json.loads(made.stdout)
    assert counts["rows"] + counts["lost"] == len(chunks)
    assert counts["rows"] == len(out.read_text().splitlines()) > 6
    changes = {"data__train": str(out), "data__source": "prompt", "data__target": "completion", "validation": 0}
    changes |= {"teacher__logits": str(folder / "base"), "codec": {"name": "float"}, "training__batch_size": 4}
    _, cache, _, notes = ran(folder, "base", teacher__partial=True, **changes)
    assert "a --kl-divergence-base file of llama.cpp in" in cache.identity.teacher_name
    assert "all 270 entries at temperature 1" in cache.identity.teacher_name
    assert any("have fewer than labels (first" in note for note in notes)  # the stop
    true = {np.exp(kit.logp_of(ids)[width:]).round(2).tobytes() for ids in chunks}
    found = {np.exp(cache.decode(key).astype(float)).round(2).tobytes() for key in cache}
    assert len(found) > 3
    assert found <= true


# --- the commands


def command(*arguments):
    return CliRunner().invoke(cache_verb.command, [str(each) for each in arguments])


def test_import_fills_the_cache_where_a_run_finds_it(folder):
    (folder / "r.toml").write_text(tomli_w.dumps(kit.recipe(folder, codec__k=5)))
    made = json.loads(command("import", folder / "r.toml", "--run-dir", folder / "runs" / "import", "--json").stdout)
    assert made["imported"].endswith("the 6 largest of 270 entries and the mass of the others, at temperature 1")
    assert made["records"] == LogitCache.open(Path(made["cache"])).manifest.records == 22
    _, _, record, _ = ran(folder, "imported", codec__k=5)
    assert record["stages"]["capture"]["facts"]["cache"] == made["cache"]
    assert record["stages"]["capture"]["facts"]["reused"] is True


def test_import_is_for_a_teacher_that_is_not_asked(folder):
    table = kit.recipe(folder, teacher={"name": "hf-causal", "config": dict(causal_kit.LLAMA), "vocab_size": 270})
    (folder / "asked.toml").write_text(tomli_w.dumps(table))
    failed = command("import", folder / "asked.toml").exception
    assert 'asked.toml:16:1: teacher.name is "hf-causal", whose logits kdkit captures itself (`kdkit' in str(failed)


@pytest.mark.parametrize("into", ["parquet", "distillkit"])
def test_what_is_exported_is_imported_as_it_was(folder, into):
    _, cache, _, _ = ran(folder, "plain")
    out = folder / f"exported-{into}"
    said = command("export", folder / "runs" / "plain", out, "--format", into).stdout
    assert f"{out}: 22 rows, 75 tokens with 6 entries each\nnot in it: whose logits these are, and checksums" in said
    assert ("that a position is not known" in said) == (into == "distillkit")
    recipe, notes = load_recipe(kit.recipe(folder, teacher__logits=str(out))), tiny.Notes()
    told = import_logits(recipe, folder / "runs" / f"again-{into}", fresh=False, progress=notes).captured
    again = LogitCache.open(Path(told.cache))
    for ids in kit.all_sequences()[::4]:
        (_, before), (_, after) = kept(cache, ids), kept(again, ids)
        assert np.array_equal(before.ids_BTK, after.ids_BTK)
        assert np.array_equal(before.values_BTK, after.values_BTK)
        assert (before.log_tail_BT[1.0] - after.log_tail_BT[1.0]).abs().max() < 1e-5


def test_export_of_whole_rows_says_what_is_left_out(folder, tmp_path):
    changes = {"teacher__logits": str(folder / "base"), "codec": {"name": "float"}, "teacher__partial": True}
    changes |= {"data__train": str(folder / "halves.jsonl"), "data__source": "prompt", "data__target": "completion"}
    ran(folder, "base", training__batch_size=4, validation=0, **changes)
    made = json.loads(command("export", folder / "runs" / "base", tmp_path / "x", "--entries", 9, "--json").stdout)
    assert made["entries"] == 9
    assert made["lost"][:2] == [
        "all but the 9 largest entries of a token; of the others, their mass together is what is missing",
        "what is known at other temperatures",
    ]


def test_export_refuses_what_it_cannot_write(folder, tmp_path):
    failed = command("export", folder / "runs" / "plain", tmp_path / "x", "--temperature", 2).exception
    assert str(failed).endswith("knows probabilities at temperature 1 only, not at 2")
    draws = SimpleNamespace(codec=Sampled(), folder="cache", identity=SimpleNamespace(codec="sampled"))
    with pytest.raises(UsageError, match=r"cache keeps draws from the teacher's distributions .sampled., and no"):
        check_kept(draws, temperature=1.0)
    failed = command("export", tmp_path, tmp_path / "x").exception
    assert str(failed) == f"{tmp_path} is not the folder of a run that has captured logits; give that of one"


# --- what is refused, before anything is captured


def refusal(folder, **changes):
    with pytest.raises((UsageError, DamagedData)) as caught:
        make_plan(load_recipe(kit.recipe(folder, **changes)), folder / "runs" / "refused", tiny.Notes())
    return str(caught.value)


def test_another_temperature_is_refused_with_the_bound(folder):
    said = refusal(folder, loss__temperature=2.0, codec__temperatures=[2.0])
    assert said.startswith(
        "loss.temperature has 2, but logits are known only at 1 (Parquet of ids and log-probabilities"
    )
    assert "): the other entries' share of a token, 0." in said
    assert said.endswith(" at 2; set it to 1")
    assert refusal(folder, codec__temperatures=[1.0, 2.0]).startswith("codec.temperatures has 2, but logits are known")


def test_a_codec_of_whole_rows_is_refused_for_some_entries(folder):
    said = refusal(folder, codec={"name": "u8-lz4"})
    assert said.startswith('the codec "u8-lz4" keeps whole rows, but these logits are not known whole (Parquet')
    assert said.endswith('); set codec.name = "topk", codec.k = 6 and codec.temperatures = [1.0]')
    assert refusal(folder, codec__k=7).startswith("codec.k is 7, but only 6 entries of a token are known (Parquet")


def test_a_narrower_vocabulary_and_other_ids_are_refused(folder):
    kit.write_llama(folder / "narrow", [[3] * 8], context=8, width=269)
    said = refusal(folder, teacher__logits=str(folder / "narrow"), codec={"name": "float"})
    assert "narrow is over 269 entries, but the tokenizer has ids up to 269; set teacher.tokenizer to the one" in said

    def beyond(table):
        table["logprob_token_ids"][0][2][1] = 300

    kit.write_plain(folder / "beyond", kit.all_sequences(), edit=beyond)
    said = refusal(folder, teacher__logits=str(folder / "beyond"))
    assert f"{folder / 'beyond'}: row 1, position 3: the id 300 is beyond the 270 entries of the tokenizer" in said


def test_a_loss_of_hidden_states_is_refused(folder):
    assert "compares hidden states, but the codec" in refusal(folder, loss__features={})


def test_suites_need_texts_that_nobody_wrote(folder):
    said = refusal(folder, evaluation__suites=["text"])
    assert 'came without a prediction, and the teacher "imported" writes no texts for the suites to score' in said


def test_a_lost_tail_is_refused_unless_it_is_said(folder):
    def normalised(table):
        for rows in table["logprobs"]:
            rows[:] = [(np.array(row) - np.log(np.exp(row).sum())).tolist() for row in rows]

    kit.write_plain(folder / "normalised", kit.all_sequences(), edit=normalised)
    changes = {"teacher__logits": str(folder / "normalised")}
    assert "sum to 1 at every token, so nothing says what the other entries had; set teacher.tail" in refusal(
        folder, **changes
    )
    planned = make_plan(
        load_recipe(kit.recipe(folder, teacher__tail="none", **changes)), folder / "runs" / "refused", tiny.Notes()
    )
    assert any("the 6 largest of 270 entries, taken for all there is, at" in stage.work for stage in planned.stages)


# --- the open teacher


def opened(folder, *, validation=(), **options):
    given = {"logits": str(folder / "guest"), "tokenizer": str(folder / "tokenizer"), **options}
    return ImportedTeacher(**given).open(None, None, Corpus(train=(), validation=validation), device="cpu")


def blocks(teacher, rows, progress=None, **options):
    return {block.id: block for block in teacher.entries(rows, progress or tiny.Notes(), **options)}


def test_rows_without_a_sequence_are_refused_or_left_to_the_labels(folder):
    rows = kit.rows(4)
    other = [rows[0].source_ids, (*rows[1].target_ids[:1], 3, 4)]
    import attrs

    strange = attrs.evolve(rows[1], id="strange", source_ids=other[0], target_ids=other[1])
    with pytest.raises(Mismatch) as caught:
        blocks(opened(folder), [*rows, strange])
    said = str(caught.value)
    assert "has no sequence for 1 of 5 rows: of the first, 'strange', at position " in said
    assert said.endswith("or set teacher.partial = true to train such rows on their labels alone")
    notes = tiny.Notes()
    found = blocks(opened(folder, partial=True), [*rows, strange], notes)
    assert len(found["strange"].ids_TK) == 0
    assert TopK(k=6).encode_entries(found["strange"]) != b""
    assert {len(found[row.id].ids_TK) - len(row.target_ids) for row in rows} == {0}
    assert notes.notes[0] == (
        "imported logits: 1 of 5 rows have none (first 'strange'); these labels count for the hard loss alone"
    )


def test_held_out_rows_without_any_are_refused(folder, tmp_path):
    rows, validation = kit.rows(4), causal_kit.examples(*tiny.pairs(6))[4:]
    kit.write_plain(tmp_path / "few", kit.sequences(4))
    teacher = opened(folder, logits=str(tmp_path / "few"), partial=True, validation=validation)
    with pytest.raises(Mismatch, match=r"for none of 2 held-out rows \(first '4'\), so nothing could say how well"):
        blocks(teacher, kit.rows(6))
    assert len(blocks(teacher, rows)) == 4


def test_a_sequence_that_was_cut_covers_the_labels_before(folder, tmp_path):
    rows = kit.rows(4)
    sequences = [[*row.source_ids, *row.target_ids] for row in rows]
    kit.write_plain(tmp_path / "cut", [ids[:-1] for ids in sequences])
    with pytest.raises(Mismatch, match=r"has log-probabilities for the positions 1 to"):
        blocks(opened(folder, logits=str(tmp_path / "cut")), rows)
    found = blocks(opened(folder, logits=str(tmp_path / "cut"), partial=True), rows)
    assert [len(found[row.id].ids_TK) - len(row.target_ids) for row in rows] == [-1] * 4


def test_rows_that_are_done_are_left_out(folder):
    rows = kit.rows(6)
    whole, some = blocks(opened(folder), rows), blocks(opened(folder), rows, done={rows[0].id, rows[3].id})
    assert whole.keys() - some.keys() == {rows[0].id, rows[3].id}
    assert all(np.array_equal(some[id_].logp_TK, whole[id_].logp_TK) for id_ in some)


def test_log_probabilities_of_the_next_token_are_noticed(folder, tmp_path):
    rows = kit.rows(40)

    def shifted(table):
        for rows in (*table["logprobs"], *table["logprob_token_ids"]):
            rows.append(rows.pop(0))

    kit.write_plain(tmp_path / "next", kit.sequences(40), edit=shifted)
    with pytest.raises(UsageError, match=r'seem to be about the next token; set teacher.about = "next"'):
        blocks(opened(folder, logits=str(tmp_path / "next")), rows)


def test_the_identity_is_that_of_the_bytes_and_of_what_is_said(folder, tmp_path):
    copy = tmp_path / "copy"
    copy.write_bytes((folder / "guest").read_bytes())
    same, other = opened(folder), opened(folder, tail="none")
    assert opened(folder, logits=str(copy)).identity == same.identity != other.identity
    kit.write_plain(copy, kit.all_sequences()[:-1])
    assert opened(folder, logits=str(copy)).identity != same.identity


# --- entries, encoded without the others


@pytest.mark.parametrize(("k", "temperature"), [(6, 1.0), (4, 1.0), (6, 2.0), (1, 0.5)])
def test_entries_give_the_bytes_of_logits_for_which_they_are_true(k, temperature):
    logp = kit.logp_of(kit.sequences(1)[0])
    tempered = kit.logp_of(kit.sequences(1)[0], temperature=temperature)
    ids, values = kit.top(tempered)
    rest = np.log(1 - np.exp(values).sum(axis=1))
    block = EntriesBlock(id="a", ids_TK=ids, logp_TK=values, log_rest_T=rest, temperature=temperature, vocab_size=kit.V)
    codec = TopK(k=k, temperatures=(temperature,))
    whole = codec.decode(
        codec.encode(TeacherBlock(id="a", logits_TV=logp.astype(np.float32))), tokens=len(ids), vocab_size=kit.V
    )
    found = codec.decode(codec.encode_entries(block), tokens=len(ids), vocab_size=kit.V)
    assert np.abs(whole - found).max() < 0.02


def test_entries_beyond_those_known_are_refused():
    block = EntriesBlock(
        id="a", ids_TK=np.array([[3, 1], [2, -1]]), logp_TK=np.array([[-1, -2], [-1, -np.inf]]),
        log_rest_T=np.log([0.5, 0.6]), temperature=1.0, vocab_size=9,
    )  # fmt: skip
    with pytest.raises(
        UsageError, match=r"codec.k is 2, but 1 entries of label 1 of example 'a' are known; set it to 1"
    ):
        TopK(k=2).encode_entries(block)
    with pytest.raises(
        UsageError, match=r"codec.temperatures is .2.0., but the logits of example 'a' are known at 1 only"
    ):
        TopK(k=1, temperatures=(2.0,)).encode_entries(block)
