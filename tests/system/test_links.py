"""Files are whole or not there, and what lies in a folder leads no write and no deletion elsewhere."""

from __future__ import annotations

import os
import time

import pytest

from kdkit.errors import UsageError
from kdkit.system.files import append, copy_synced, create, write_atomically
from kdkit.system.folders import check_inside, delete, discard_folder


@pytest.fixture
def kept(tmp_path):
    path = tmp_path / "elsewhere" / "kept.txt"
    path.parent.mkdir()
    path.write_text("years of work")
    return path


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "strange"
    path.mkdir()
    return path


@pytest.mark.parametrize("link", [".page.html.tmp", "page.html"])
def test_a_file_is_a_new_one_whatever_link_has_its_name(folder, kept, link):
    (folder / link).symlink_to(kept)
    write_atomically(folder / "page.html", b"a page")
    assert kept.read_text() == "years of work"
    assert (folder / "page.html").read_bytes() == b"a page"
    assert not (folder / "page.html").is_symlink()


def test_two_processes_that_write_one_file_have_a_temporary_file_each(folder, monkeypatch):
    import kdkit.system.files as files

    names = []

    def interrupted(temporary, final):
        names.append(temporary)
        if len(names) == 1:
            write_atomically(folder / "run.json", b"the other's")
        temporary.replace(final)

    monkeypatch.setattr(files, "publish", interrupted)
    write_atomically(folder / "run.json", b"one's")
    assert len(set(names)) == 2
    assert (folder / "run.json").read_bytes() == b"one's"
    assert [path.name for path in folder.iterdir()] == ["run.json"]


def test_temporary_files_that_a_kill_left_long_ago_are_deleted(folder):
    old, new, other = folder / ".run.json.77-abc.tmp", folder / ".run.json.78-abc.tmp", folder / ".sweep.json.tmp"
    for path in (old, new, other):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 10_000,) * 2)
    write_atomically(folder / "run.json", b"{}")
    assert sorted(path.name for path in folder.iterdir()) == [new.name, other.name, "run.json"]


def test_what_is_created_or_copied_to_replaces_a_link(folder, kept):
    for write in (lambda path: create(path).close(), lambda path: copy_synced(folder / "source", path)):
        (folder / "source").write_text("new")
        (folder / "target").symlink_to(kept)
        write(folder / "target")
        assert not (folder / "target").is_symlink()
        assert kept.read_text() == "years of work"
        (folder / "target").unlink()


@pytest.mark.parametrize("kind", ["a link", "a named pipe", "a folder"])
def test_lines_are_added_to_regular_files_only(folder, kept, kind):
    log = folder / "metrics.jsonl"
    if kind == "a link":
        log.symlink_to(kept)
    elif kind == "a folder":
        log.mkdir()
    else:
        os.mkfifo(log)
    with pytest.raises(
        UsageError, match=rf"metrics.jsonl is {kind}, but kdkit appends only to regular files; delete it"
    ):
        append(log)
    assert kept.read_text() == "years of work"


def test_an_added_line_is_there_once_it_is_written(folder):
    log = folder / "metrics.jsonl"
    for text in ("one", "two"):
        with append(log) as stream:
            stream.write(f"{text}\n")
            assert log.read_text().endswith(f"{text}\n")
    assert log.read_text() == "one\ntwo\n"


def test_of_a_link_the_link_is_deleted(folder, kept):
    for remove in (lambda path: delete([path]), discard_folder):
        (folder / "checkpoints").symlink_to(kept.parent)
        remove(folder / "checkpoints")
        assert list(folder.iterdir()) == []
        assert kept.exists()


def test_a_folder_is_refused_that_a_link_leads_out_of(folder, kept, tmp_path):
    (folder / "logs").mkdir()
    (folder / "latest").symlink_to("logs")
    (folder / "file").symlink_to(kept)
    (tmp_path / "own-link").symlink_to(folder)
    check_inside(tmp_path / "own-link")
    (folder / "logs" / "old").symlink_to(kept.parent)
    with pytest.raises(UsageError, match=r"strange/logs/old is a link to .*elsewhere, outside .*strange"):
        check_inside(folder)
