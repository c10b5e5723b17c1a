"""Writing a cache: whatever happens, what was sealed is kept, and nothing is written twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import filelock
import pytest
from cache_kit import block, fill, identity, key, shards, temporaries

from kdkit.builtin.codecs.float_ import Float
from kdkit.builtin.codecs.u8_lz4 import U8LZ4
from kdkit.errors import Interrupted, KdkitError, Mismatch, UsageError
from kdkit.logits.cache import CacheWriter, LogitCache, verify
from kdkit.testing import synthetic_block

HELPERS = Path(__file__).parents[2] / "helpers"
KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from cache_kit import block, identity, key
from kdkit.builtin.codecs.u8_lz4 import U8LZ4
from kdkit.logits.cache import CacheWriter

with CacheWriter(Path(sys.argv[2]), identity(), U8LZ4(), 600) as writer:
    for number in range(30):
        writer.add_block(key(number), block(number))
        if number == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
    writer.finish()
"""


@pytest.mark.parametrize("at", [0, 4, 13, 29])
def test_a_kill_loses_nothing_sealed_and_repeats_nothing(tmp_path, at):
    killed = subprocess.run([sys.executable, "-c", KILLED, str(HELPERS), str(tmp_path), str(at)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert temporaries(tmp_path)
    before = {path: path.read_bytes() for path in shards(tmp_path)}
    with CacheWriter(tmp_path, identity(), U8LZ4(), 600) as writer:
        sealed = set(writer.done_keys)
        assert not temporaries(tmp_path)
        added = [number for number in range(30) if writer.add_block(key(number), block(number))]
        writer.finish()
    assert {key(number) for number in range(30)} - sealed == {key(number) for number in added}
    assert all(path.read_bytes() == raw for path, raw in before.items())
    cache = LogitCache.open(tmp_path, identity())
    assert len(cache) == 30
    assert verify(tmp_path) == []
    fill(tmp_path / "straight", range(30))
    straight = LogitCache.open(tmp_path / "straight")
    assert all(cache.get(k) == straight.get(k) for k in straight)


@pytest.mark.parametrize(
    ("step", "at"), [*(("fsync", at) for at in range(1, 7)), *(("replace", at) for at in range(1, 4))]
)
def test_a_death_at_any_step_of_sealing_leaves_a_cache_that_goes_on(tmp_path, monkeypatch, step, at):
    """The process stops at the n-th fsync or rename, before or between shards and manifest."""

    class Dead(BaseException):
        pass

    calls = []
    owner, name = (os, "fsync") if step == "fsync" else (Path, "replace")
    real = getattr(owner, name)

    def dying(*args):
        calls.append(args)
        if len(calls) == at:
            raise Dead
        if len(calls) > at:
            raise AssertionError("a dead process does nothing")
        return real(*args)

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, dying)
        writer = CacheWriter(tmp_path, identity(), U8LZ4(), 600)
        writer.__enter__()
        with pytest.raises(Dead):
            _add_and_finish(writer)
        writer._lock.close()
        if writer._growing is not None:
            writer._growing._file.close()
    fill(tmp_path, range(12))
    assert len(LogitCache.open(tmp_path)) == 12
    assert verify(tmp_path) == []


def _add_and_finish(writer):
    for number in range(12):
        writer.add_block(key(number), block(number))
    writer.finish()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, Interrupted])
def test_leaving_by_an_error_seals_what_was_added(tmp_path, error):
    with pytest.raises(error):
        _add_and_raise(tmp_path, error("stop"))
    assert not (tmp_path / "manifest.json").exists()
    assert fill(tmp_path, range(7)) == [5, 6]
    assert len(LogitCache.open(tmp_path)) == 7


def _add_and_raise(folder, error):
    with CacheWriter(folder, identity(), U8LZ4()) as writer:
        for number in range(5):
            writer.add_block(key(number), block(number))
        raise error


def test_a_record_whose_writing_was_interrupted_leaves_no_trace(tmp_path):
    with CacheWriter(tmp_path, identity(), U8LZ4()) as writer:
        writer.add_block(key(0), block(0))
        writer._growing._file.write(b"half a record")
        writer.add_block(key(1), block(1))
        writer._growing._file.write(b"another half, and longer than the index of two records: " + bytes(500))
        writer.finish()
    assert verify(tmp_path) == []
    assert len(LogitCache.open(tmp_path)) == 2


def test_a_key_is_added_once(tmp_path):
    with CacheWriter(tmp_path, identity(), U8LZ4(), 1) as writer:
        assert writer.add(key(0), b"payload", 3)
        assert not writer.add(key(0), b"another", 4)
        writer.finish()
    assert fill(tmp_path, [0, 1, 1, 0]) == [1]
    assert LogitCache.open(tmp_path).get(key(0)) == (b"payload", 3)


def test_a_finished_cache_takes_more_records_and_stays_readable_meanwhile(tmp_path):
    fill(tmp_path, range(5))
    fill(tmp_path, range(10), finish=False)
    assert len(LogitCache.open(tmp_path)) == 5
    assert fill(tmp_path, range(10)) == []
    assert len(LogitCache.open(tmp_path)) == 10


def test_finishing_again_changes_nothing(tmp_path):
    fill(tmp_path, range(5))
    before = {path.name: path.read_bytes() for path in [*shards(tmp_path), tmp_path / "manifest.json"]}
    fill(tmp_path, range(5))
    assert before == {path.name: path.read_bytes() for path in [*shards(tmp_path), tmp_path / "manifest.json"]}


def test_a_cache_of_nothing_is_a_cache(tmp_path):
    fill(tmp_path, [])
    assert len(LogitCache.open(tmp_path)) == 0
    assert key(0) not in LogitCache.open(tmp_path)


@pytest.mark.parametrize("finished", [True, False])
def test_the_cache_of_another_is_refused_with_both_names_and_left_alone(tmp_path, finished):
    fill(tmp_path, range(8), finish=finished)
    before = {path.name: path.read_bytes() for path in shards(tmp_path)}
    with pytest.raises(Mismatch, match=r"big-teacher.*new-teacher"):
        fill(tmp_path, range(8), teacher="9" * 64, teacher_name="new-teacher")
    with pytest.raises(Mismatch, match=r"u8-lz4.*float"):
        fill(tmp_path, range(8), codec=Float())
    assert before == {path.name: path.read_bytes() for path in shards(tmp_path)}
    assert fill(tmp_path, range(8)) == []


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("damage", ["index", "header", "cut", "gone"])
def test_a_damaged_shard_is_captured_again_and_nothing_else_is(tmp_path, finished, damage):
    fill(tmp_path, range(12), finish=finished)
    path = shards(tmp_path)[1]
    raw = bytearray(path.read_bytes())
    lost = _numbers_in(path)
    if damage == "index":
        raw[-1] ^= 1
    if damage == "header":
        raw[20] ^= 1
    path.write_bytes(raw[:-7] if damage == "cut" else raw)
    if damage == "gone":
        path.unlink()
    notes = []
    assert fill(tmp_path, range(12), note=notes.append) == lost
    # An unfinished capture does not know of a shard that somebody deleted.
    assert [path.name in note for note in notes] == ([] if damage == "gone" and not finished else [True])
    assert verify(tmp_path) == []
    assert len(LogitCache.open(tmp_path)) == 12


def _numbers_in(path):
    from kdkit.logits.cache.format import read_shard

    found = {k.tobytes() for k in read_shard(path).keys_N16}
    return [number for number in range(12) if key(number) in found]


def test_deleting_a_shard_with_the_manifest_mends_a_damaged_cache(tmp_path):
    """What the messages about damage advise."""
    fill(tmp_path, range(12))
    lost = _numbers_in(shards(tmp_path)[0])
    shards(tmp_path)[0].unlink()
    (tmp_path / "manifest.json").unlink()
    assert fill(tmp_path, range(12)) == lost
    assert len(LogitCache.open(tmp_path)) == 12


def test_a_damaged_manifest_is_made_anew_from_the_shards(tmp_path):
    fill(tmp_path, range(12))
    path = tmp_path / "manifest.json"
    before = path.read_bytes()
    path.write_bytes(before[:-30])
    notes = []
    assert fill(tmp_path, range(12), note=notes.append) == []
    assert "manifest.json is damaged" in notes[0]
    assert path.read_bytes() == before


def test_a_copied_shard_is_thrown_away(tmp_path):
    fill(tmp_path, range(3), finish=False)
    (tmp_path / "shard-00009.safetensors").write_bytes(shards(tmp_path)[0].read_bytes())
    notes = []
    fill(tmp_path, range(3), note=notes.append)
    assert "shard-00009.safetensors is damaged (it holds records that other shards hold too)" in notes[0]
    assert len(LogitCache.open(tmp_path)) == 3


def test_damage_is_a_warning_where_nobody_takes_notes(tmp_path):
    fill(tmp_path, range(3))
    shards(tmp_path)[0].write_bytes(b"")
    with pytest.warns(UserWarning, match=r"shard-00000\.safetensors is damaged"):
        fill(tmp_path, range(3))


def test_two_processes_never_write_one_cache(tmp_path):
    notes = []
    with CacheWriter(tmp_path, identity(), U8LZ4()):
        other = CacheWriter(tmp_path, identity(), U8LZ4(), lock_seconds=0.2, note=notes.append)
        with pytest.raises(UsageError, match="another process is writing the logit cache"):
            other.__enter__()
    assert "waiting up to 0.2 s" in notes[0]
    fill(tmp_path, range(2))


def test_a_writer_waits_for_another_that_is_about_to_end(tmp_path, monkeypatch):
    monkeypatch.setattr("kdkit.logits.cache.locking._PATIENCE", 0.05)
    lock = filelock.FileLock(tmp_path / ".lock", thread_local=False)
    lock.acquire()
    threading.Timer(0.3, lock.release).start()
    notes = []
    fill(tmp_path, range(2), note=notes.append)
    assert len(notes) == 1
    assert len(LogitCache.open(tmp_path)) == 2


FULL = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from cache_kit import block, identity, key
from kdkit.builtin.codecs.u8_lz4 import U8LZ4
from kdkit.logits.cache import CacheWriter
from kdkit.errors import KdkitError

folder = Path(sys.argv[2])
try:
    with CacheWriter(folder, identity(), U8LZ4(), int(sys.argv[3])) as writer:
        for number in range(40):
            if number == 12:
                resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]),) * 2)
            writer.add_block(key(number), block(number))
        writer.finish()
except KdkitError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("shard_bytes", [600, 100_000])
def test_a_disk_that_takes_no_more_is_one_sentence_and_keeps_what_was_sealed(tmp_path, shard_bytes):
    """A limit on the size of files stands in for the full disk: the write fails in the same place."""
    arguments = [str(HELPERS), str(tmp_path), str(shard_bytes), "1000"]
    full = subprocess.run([sys.executable, "-c", FULL, *arguments], check=False, capture_output=True, text=True)
    assert (full.returncode, full.stderr) == (1, "")
    assert "bytes more" in full.stdout
    assert "are free" in full.stdout
    assert not temporaries(tmp_path)
    assert len(shards(tmp_path)) >= (1 if shard_bytes == 600 else 0)
    fill(tmp_path, range(40))
    assert len(LogitCache.open(tmp_path)) == 40


def test_a_full_disk_at_the_manifest_keeps_the_old_one(tmp_path, monkeypatch):
    fill(tmp_path, range(3))

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    with CacheWriter(tmp_path, identity(), U8LZ4()) as writer, monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(KdkitError, match="No space left"):
            writer.finish()
    assert len(LogitCache.open(tmp_path)) == 3


def test_logits_of_another_width_are_refused(tmp_path):
    with CacheWriter(tmp_path, identity(), U8LZ4()) as writer, pytest.raises(Mismatch, match="41 wide"):
        writer.add_block(key(0), synthetic_block(2, 41))


def test_shards_are_sealed_at_the_size_asked_for(tmp_path):
    fill(tmp_path, range(40), shard_bytes=2000)
    payloads = [path.stat().st_size for path in shards(tmp_path)]
    assert len(payloads) > 2
    assert all(2000 <= size < 2000 + 2500 for size in payloads[:-1])
