"""Only regular files are read, and no more of one than fits: a pipe is not waited for, a device has no end."""

from __future__ import annotations

import os
import signal
import socket
import sys

import numpy as np
import pytest
from cache_kit import fill, identity, shards
from click.testing import CliRunner
from run_folders import write_run_folder
from state_caches import fill as fill_with_state
from state_caches import states

import kdkit.system.reading as reading
from kdkit.cli.report import command as report
from kdkit.data.jsonlines import open_lines
from kdkit.errors import DamagedData, KdkitError, MissingInput
from kdkit.evaluation.row_scores import RowScores
from kdkit.logits.cache import LogitCache, verify
from kdkit.models.places import find_folder
from kdkit.store import folders
from kdkit.system.reading import NotRegular, count_lines, open_regular, read_bytes, read_json, read_lines, read_tail


@pytest.fixture(autouse=True)
def no_waiting():
    """A test that would wait for a pipe fails instead."""

    def failed(*_):
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, failed)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def in_place_of(path, kind):
    path.unlink(missing_ok=True)
    if kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(os.path.relpath(path))
        listening.close()


@pytest.mark.parametrize("kind", ["a named pipe", "a device", "a socket"])
def test_what_is_not_a_regular_file_is_named_and_not_read(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    in_place_of(tmp_path / "run.json", kind)
    for read in (open_regular, read_bytes, read_json, count_lines, lambda path: list(read_lines(path))):
        with pytest.raises(NotRegular, match=rf"run.json is {kind}, but kdkit reads only regular files"):
            read(tmp_path / "run.json")


def test_a_link_to_a_file_is_read_and_a_folder_is_none(tmp_path):
    (tmp_path / "blob").write_text("{}")
    (tmp_path / "config.json").symlink_to("blob")
    assert read_json(tmp_path / "config.json") == {}
    with pytest.raises(IsADirectoryError) as raised:
        open_regular(tmp_path)
    assert raised.value.filename == str(tmp_path)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "run.json"
    path.write_bytes(b"")
    os.truncate(path, 2**40)  # of holes
    with pytest.raises(DamagedData, match=r"run.json has 1\.1 TB, but kdkit reads at most 268\.4 MB there"):
        read_bytes(path)


def test_lines_are_read_one_by_one_and_may_not_be_endless(tmp_path, monkeypatch):
    path = tmp_path / "lines"
    path.write_text("one\u2028half\n\nthree", encoding="utf-8")
    assert list(read_lines(path)) == ["one\u2028half\n", "\n", "three"]
    assert count_lines(path) == 3
    assert read_tail(path, 7) == "\n\nthree"
    monkeypatch.setattr(reading, "LARGEST_LINE", 4)
    with pytest.raises(DamagedData, match=r"lines:1: the line has more than 4 bytes"):
        list(read_lines(path))


FILES = [
    "run.json", "recipe.toml", "evaluation.json", "data/report.json", "data/test.jsonl",
    "predictions/student.jsonl",
]  # fmt: skip


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return write_run_folder(tmp_path_factory.mktemp("strange") / "run", rows=12)


@pytest.mark.parametrize("file", FILES)
def test_a_pipe_in_a_run_folder_holds_up_no_report(run_folder, file):
    path = run_folder / file
    content = path.read_bytes() if path.exists() else None
    in_place_of(path, "a named pipe")
    try:
        done = CliRunner().invoke(report, [str(run_folder)])
        assert done.exception is None or isinstance(done.exception, KdkitError | SystemExit), done.exception
        # What lies beside the page is either named or passed over as missing.
        assert done.exit_code == 0 or path.name in str(done.exception)
    finally:
        path.unlink()
        if content is not None:
            path.write_bytes(content)


def test_a_pipe_in_a_cache_is_a_fault_of_it(tmp_path):
    fill(tmp_path / "cache", range(9))
    first, *_ = shards(tmp_path / "cache")
    in_place_of(first, "a named pipe")
    assert any("named pipe" in str(fault) for fault in verify(tmp_path / "cache"))
    in_place_of(tmp_path / "cache" / "manifest.json", "a named pipe")
    with pytest.raises(DamagedData, match=r"manifest.json is a named pipe"):
        LogitCache.open(tmp_path / "cache", identity())
    fill_with_state(tmp_path / "other", range(3))
    in_place_of(states(tmp_path / "other")[0], "a named pipe")
    assert any("named pipe" in str(fault) for fault in verify(tmp_path / "other"))


def test_a_pipe_in_a_model_or_a_stored_folder_is_refused(tmp_path):
    (tmp_path / "model" / "inner").mkdir(parents=True)
    in_place_of(tmp_path / "model" / "inner" / "chat.jinja", "a named pipe")
    with pytest.raises(NotRegular, match=r"inner/chat.jinja is a named pipe"):
        find_folder(str(tmp_path / "model"), weights=False)
    with pytest.raises(NotRegular, match=r"inner/chat.jinja is a named pipe"):
        folders.put(tmp_path / "model", tmp_path / "store" / "entry")


def test_a_pipe_as_data_is_refused_with_the_option_that_names_it(tmp_path):
    in_place_of(tmp_path / "rows.jsonl", "a named pipe")
    with pytest.raises(MissingInput, match=r"rows.jsonl is a named pipe; train takes a regular file with rows$"):
        open_lines(tmp_path / "rows.jsonl", option="train")


def test_an_archive_of_rows_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[RowScores.__module__], "_LARGEST", 1000)
    np.savez_compressed(tmp_path / "rows.npz", ids=np.zeros(10**6))
    with pytest.raises(DamagedData, match=r"rows.npz is damaged \(its arrays claim 8\.0 MB"):
        RowScores.read(tmp_path)
