"""The same logits in another codec: the same keys and tokens, and nothing claimed that the source does not hold."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import numpy as np
import pytest
import tiny
from cache_kit import block, fill, flip, identity, key, records, shards
from click.testing import CliRunner
from fitted_codec import MeanCodec

from kdkit.api.values import TeacherBlock
from kdkit.builtin.codecs.float_ import Float
from kdkit.builtin.codecs.u8_lz4 import U8LZ4
from kdkit.cli.cache import command
from kdkit.errors import DamagedData, Interrupted, Mismatch, UsageError
from kdkit.logits.cache import CacheWriter, LogitCache, convert, merge, verify
from kdkit.plugins import load
from kdkit.recipe.codec_spec import read_codec_spec

NUMBERS = range(20)
EXACT = Float(dtype="fp32")


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exact") / "cache"
    fill(folder, NUMBERS, codec=EXACT, shard_bytes=2000)
    return folder


def turn(source: Path, out: Path, name="u8-lz4", codec=None, progress=None, **options):
    codec = codec if codec is not None else U8LZ4()
    return convert(LogitCache.open(source), out, name=name, codec=codec, progress=progress or tiny.Notes(), **options)


def test_each_record_is_what_the_new_codec_makes_of_the_same_logits(exact, tmp_path):
    turn(exact, tmp_path / "out", shard_bytes=600)
    straight = tmp_path / "straight"
    fill(straight, NUMBERS)
    assert records(tmp_path / "out") == records(straight)
    assert LogitCache.open(tmp_path / "out").identity == LogitCache.open(straight).identity
    assert verify(tmp_path / "out") == []


def test_keys_tokens_and_teacher_stay(exact, tmp_path):
    turn(exact, tmp_path / "out")
    before, after = LogitCache.open(exact), LogitCache.open(tmp_path / "out")
    assert set(after) == set(before)
    assert all(after.tokens(k) == before.tokens(k) for k in before)
    assert attrs.evolve(after.identity, codec="float", codec_options=before.identity.codec_options) == before.identity


def test_a_codec_with_a_state_learns_it_of_the_decoded_records(exact, tmp_path):
    manifest = turn(exact, tmp_path / "out", "mean", MeanCodec())
    assert len(manifest.states) == 1
    cache = LogitCache.open(tmp_path / "out", codec=MeanCodec())
    for number in NUMBERS:
        np.testing.assert_allclose(cache.decode(key(number)), block(number).logits_TV, atol=1e-5)
    sample, tokens = [], 0
    for k in sorted(LogitCache.open(exact)):
        if tokens < MeanCodec().sample_tokens:
            sample.append(TeacherBlock(id="", logits_TV=LogitCache.open(exact).decode(k)))
            tokens += len(sample[-1].logits_TV)
    (state,) = (tmp_path / "out").glob("state-*")
    from safetensors.numpy import load_file

    np.testing.assert_array_equal(load_file(state)["mean"], MeanCodec().fit(sample)["mean"])


@pytest.mark.parametrize(("name", "codec"), [("u8-lz4", U8LZ4()), ("mean", MeanCodec())])
def test_a_conversion_that_is_stopped_goes_on_and_ends_as_one_that_was_not(exact, tmp_path, monkeypatch, name, codec):
    turn(exact, tmp_path / "straight", name, codec, shard_bytes=400)
    for at in (1, 9):
        calls = []
        real = CacheWriter.add_block

        def stopping(self, k, b, calls=calls, at=at, real=real):
            import os
            import signal

            calls.append(k)
            if len(calls) == at:
                os.kill(os.getpid(), signal.SIGINT)
            return real(self, k, b)

        with monkeypatch.context() as patched:
            patched.setattr(CacheWriter, "add_block", stopping)
            with pytest.raises(Interrupted, match=r"converted \d+ of 20 records"):
                turn(exact, tmp_path / "out", name, codec, shard_bytes=400)
        assert not (tmp_path / "out" / "manifest.json").exists()
    turn(exact, tmp_path / "out", name, codec, shard_bytes=400)
    assert records(tmp_path / "out") == records(tmp_path / "straight")


def test_a_damaged_record_ends_it_and_is_named(exact, tmp_path):
    import shutil

    from kdkit.logits.cache.format import read_shard

    source = shutil.copytree(exact, tmp_path / "source")
    flip(shards(source)[1], read_shard(shards(source)[1]).payload_start + 5)
    with pytest.raises(DamagedData, match=rf"{shards(source)[1].name}.*record \d"):
        turn(source, tmp_path / "out")


def test_the_same_codec_and_another_caches_folder_are_refused(exact, tmp_path):
    with pytest.raises(UsageError, match="already"):
        turn(exact, tmp_path / "out", "float", EXACT)
    assert not (tmp_path / "out").exists()
    with pytest.raises(Mismatch, match="use another folder"):
        turn(exact, exact)


def warnings_of(source, out, name, codec):
    notes = tiny.Notes()
    turn(source, out, name, codec, progress=notes)
    return [note for note in notes.notes if note.startswith("warning")]


def test_a_codec_that_keeps_more_than_the_source_holds_is_warned_of(exact, tmp_path):
    fill(tmp_path / "u8", NUMBERS)
    (warning,) = warnings_of(tmp_path / "u8", tmp_path / "a", "float", EXACT)
    assert "precision that u8-lz4 lost stays lost" in warning
    assert warnings_of(exact, tmp_path / "b", "u8-lz4", U8LZ4()) == []
    assert warnings_of(exact, tmp_path / "c", "float", Float(dtype="fp32", compression="zstd")) == []
    for number in NUMBERS:
        np.testing.assert_array_equal(
            LogitCache.open(tmp_path / "a").decode(key(number)), LogitCache.open(tmp_path / "u8").decode(key(number))
        )


def test_what_a_sparse_codec_keeps_is_refused_whatever_the_new_codec(exact, tmp_path):
    sparse = read_codec_spec("topk:k=4")
    assert warnings_of(exact, tmp_path / "sparse", sparse.name, sparse.codec) == []
    for number, spec in enumerate(("float", "topk:k=16", "topk:k=2", "sampled:draws=4")):
        chosen = read_codec_spec(spec)
        with pytest.raises(UsageError, match=r"topk keeps only some entries of each row.*capture again with"):
            turn(tmp_path / "sparse", tmp_path / f"out{number}", chosen.name, chosen.codec)
        assert not (tmp_path / f"out{number}").exists()


def test_what_was_made_of_a_lossy_codec_never_passes_for_a_capture(exact, tmp_path):
    fill(tmp_path / "u8", NUMBERS)
    turn(tmp_path / "u8", tmp_path / "out", "float", EXACT)
    turn(tmp_path / "out", tmp_path / "twice", "float", Float(dtype="bf16"))
    made, real = LogitCache.open(tmp_path / "out"), LogitCache.open(exact)
    assert made.identity != real.identity
    assert made.identity.digest != real.identity.digest
    assert "big-teacher, converted from u8-lz4 {" in made.identity.describe()
    assert set(made) == set(real)
    with pytest.raises(Mismatch):
        LogitCache.open(tmp_path / "out", real.identity)
    with pytest.raises(Mismatch, match="converted from u8-lz4"):
        merge(tmp_path / "joined", [exact, tmp_path / "out"], progress=tiny.Notes())
    assert LogitCache.open(tmp_path / "twice").identity.teacher == made.identity.teacher, "the mark stays"
    turn(tmp_path / "twice", tmp_path / "thrice", "float", EXACT)
    assert LogitCache.open(tmp_path / "thrice").identity != made.identity


# --- codecs on the command line


def test_a_codec_is_named_with_its_options():
    plain, tuned, listed = map(
        read_codec_spec, ("u8-lz4", "u8-lz4:scope=array, level=3", "topk:temperatures=[1, 2],k=9")
    )
    assert (plain.name, plain.codec) == ("u8-lz4", U8LZ4())
    assert tuned.codec == U8LZ4(scope="array", level=3)
    assert (listed.codec.temperatures, listed.codec.k) == ((1.0, 2.0), 9)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("u8lz4", 'did you mean "u8-lz4"'),
        ("u8-lz4:scop=row", 'scop: is not an option .*did you mean "scope"'),
        ("u8-lz4:level=high", 'level: must be a whole number, is "high"'),
        ("u8-lz4:scope=column,level=high", "level: must be .*; .*scope: must be"),
        ("u8-lz4:scope", '"scope" must have the form key=value'),
        ("u8-lz4:level=1,level=2", "level is given twice"),
        ("u8-lz4:name=float", "name is given twice"),
        ("", "unknown codec"),
    ],
)
def test_what_names_no_codec_is_refused_with_every_problem(text, said):
    with pytest.raises(UsageError, match=said):
        read_codec_spec(text, load())


def run(*arguments):
    return CliRunner().invoke(command, ["convert", *map(str, arguments)])


def test_the_command_converts(exact, tmp_path):
    result = run(exact, tmp_path / "out", "--codec", "u8-lz4:scope=array")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{tmp_path / 'out'}: 20 records, 40 tokens, ")
    table = json.loads(run(exact, tmp_path / "out", "--codec", "u8-lz4:scope=array", "--json").stdout)
    assert (table["records"], table["codec"], table["codec_options"]["scope"]) == (20, "u8-lz4", "array")
    assert table["source_bytes"] == LogitCache.open(exact).manifest.size
    assert isinstance(run(exact, tmp_path / "out", "--codec", "u8-lz5").exception, UsageError)


def test_sizes_before_and_after_count_what_codecs_learnt(tmp_path):
    random = np.random.default_rng(0)
    head_DV = random.normal(size=(4, 40)).astype(np.float32)
    with CacheWriter(tmp_path / "linear", identity(EXACT), EXACT, 10**6) as writer:
        for number in range(20):
            logits_TV = random.normal(size=(6, 4)).astype(np.float32) @ head_DV
            writer.add_block(key(number), TeacherBlock(id=str(number), logits_TV=logits_TV))
        writer.finish()
    found = json.loads(run(tmp_path / "linear", tmp_path / "out", "--codec", "subspace", "--json").stdout)
    assert found["source_state_bytes"] == 0
    assert found["state_bytes"] == sum(path.stat().st_size for path in (tmp_path / "out").glob("state-*")) > 0
    back = run(tmp_path / "out", tmp_path / "back", "--codec", "float")
    assert back.stdout.endswith(" of codec state before\n")
