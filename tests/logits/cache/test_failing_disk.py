"""Every single operation of a capture fails once, or from then on: one sentence, nothing lost, and the next run mends it."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from cache_forgery import KINDS
from cache_kit import block, key, shards, temporaries
from failing_disk import Disk

from kdkit.cli import _sentence
from kdkit.errors import DamagedData, KdkitError
from kdkit.logits.cache import CacheWriter, verify
from kdkit.logits.cache.format import read_shard
from kdkit.system.files import write_atomically

NUMBERS = range(9)


def capture(kind, folder, acknowledged, notes):
    with CacheWriter(folder, kind.identity(), kind.codec, 600, note=notes.append, lock_seconds=0.1) as writer:
        kind.learn(writer)
        pending = []
        for number in NUMBERS:
            if writer.add_block(key(number), block(number)):
                pending.append(number)
            if writer._growing is None:
                acknowledged.update(pending)
                pending = []
        writer.finish()
    acknowledged.update(pending)


def failing_capture(kind, folder, acknowledged, notes, disk):
    """What it ended with; any other error is a fault of its own."""
    try:
        with disk.in_use():
            capture(kind, folder, acknowledged, notes)
    except (KdkitError, OSError) as error:
        return error
    return None


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.fixture(scope="module")
def begun(kind, tmp_path_factory):
    """A capture that was killed before: some shards, a temporary file, a state that nothing needs."""
    folder = tmp_path_factory.mktemp("begun")
    kind.fill(folder, NUMBERS[:4])
    (folder / "manifest.json").unlink()
    (folder / ".shard-00009.safetensors.tmp").write_bytes(b"half")
    (folder / f"state-{'0' * 32}.safetensors").write_bytes(b"{}")
    return folder


@pytest.fixture(scope="module")
def straight(kind, tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    kind.fill(folder, NUMBERS)
    return kind.payloads(folder)


@pytest.fixture(scope="module", params=["new", "resumed"])
def start(request, begun, tmp_path_factory):
    return begun if request.param == "resumed" else tmp_path_factory.mktemp("new")


def steps_of(kind, start, folder):
    shutil.copytree(start, folder)
    with Disk(folder).in_use() as disk:
        capture(kind, folder, set(), [])
    return disk.done


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "for_good"), [(errno.EIO, False), (errno.ENOSPC, True)], ids=["EIO once", "ENOSPC for good"]
)
def test_whatever_fails_is_one_sentence_and_the_next_run_completes(kind, start, straight, tmp_path, number, for_good):
    steps = steps_of(kind, start, tmp_path / "counted")
    assert {"open", "write", "fsync", "replace"} <= set(steps)
    assert {"scandir", "listdir"} & set(steps)  # pathlib's choice
    failed = 0
    for at, step in enumerate(steps):
        folder = Path(shutil.copytree(start, tmp_path / str(at)))
        acknowledged, notes = set(), []
        error = failing_capture(
            kind, folder, acknowledged, notes, Disk(folder, at=at, number=number, for_good=for_good)
        )
        failed += error is not None
        if error is None:
            assert acknowledged >= set(NUMBERS[4:]), step
        else:
            assert not isinstance(error, DamagedData), step
            assert "\n" not in _sentence(error)
        sealed = {k.tobytes() for path in shards(folder) for k in read_shard(path).keys_N16}
        assert sealed >= {key(number) for number in acknowledged}, (at, step)
        again = set()
        capture(kind, folder, again, notes)
        assert notes == [], (at, step)  # which say that something was thrown away
        assert again.isdisjoint(acknowledged), (at, step)
        assert verify(folder) == [], (at, step)
        assert kind.payloads(folder) == straight, (at, step)
        assert temporaries(folder) == [], (at, step)
    assert failed > len(steps) * 2 / 3  # the rest is tidying up that may fail


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_after_a_sync_that_failed_nothing_gets_its_name(kind, tmp_path, number):
    """The second sync of the same file would report success, although the bytes of the first are lost."""
    (tmp_path / "nothing").mkdir()
    steps = steps_of(kind, tmp_path / "nothing", tmp_path / "counted")
    # Syncs of files are those that a rename follows; those of folders come after it.
    places = [at for at, step in enumerate(steps[:-1]) if step == "fsync" and steps[at + 1] == "replace"]
    assert len(places) >= 3  # two shards, the manifest, and the state where there is one
    for at in places:
        folder = tmp_path / str(at)
        folder.mkdir()
        disk = Disk(folder, at=at, number=number)
        with pytest.raises(KdkitError), disk.in_use():
            capture(kind, folder, set(), [])
        assert "replace" not in disk.done[at:]
        assert temporaries(folder) == []


def test_a_writer_whose_disk_failed_takes_nothing_more(kind, tmp_path):
    with Disk(tmp_path).in_use() as disk, kind.writer(tmp_path, 10**6) as writer:
        kind.learn(writer)
        writer.add_block(key(1), block(1))
        disk.at = len(disk.done)
        with pytest.raises(KdkitError, match="Input/output error"):
            writer.seal()
        for more in (writer.finish, writer.seal, lambda: writer.add_block(key(2), block(2))):
            with pytest.raises(KdkitError, match="stops writing to it"):
                more()
    assert not (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_file_that_cannot_be_written_leaves_the_old_one_and_no_rest(tmp_path, number):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with Disk(tmp_path).in_use() as disk:
        write_atomically(path, b"old")
    for at, step in enumerate(disk.done):
        with Disk(tmp_path, at=at, number=number).in_use(), pytest.raises((KdkitError, OSError)):
            write_atomically(path, b"new")
        is_there = at > disk.done.index("replace")
        assert path.read_bytes() == (b"new" if is_there else b"old"), step
        assert temporaries(tmp_path) == []
        path.write_bytes(b"old")


def test_a_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(kind, tmp_path, monkeypatch):
    """A writer that saw no shards would begin at shard 0 again, over the one that is there."""
    kind.fill(tmp_path, NUMBERS[:4])
    (tmp_path / "manifest.json").unlink()
    before = {path.name: path.read_bytes() for path in shards(tmp_path)}

    def refused(path, *_args):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", refused)
        patched.setattr(os, "listdir", refused)
        with pytest.raises(PermissionError):
            capture(kind, tmp_path, set(), [])
    assert {path.name: path.read_bytes() for path in shards(tmp_path)} == before
