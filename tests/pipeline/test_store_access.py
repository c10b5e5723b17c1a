"""A store that cannot be written is found in the stage `check`, before a teacher is trained for hours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny

from kdkit.errors import UsageError
from kdkit.store import sharing

NOWHERE = "/proc/kdkit-nowhere"  # where nobody can make a folder, root included
MADE = {
    "name": "hf-seq2seq",
    "vocab_size": tiny.VOCAB,
    "config": tiny.T5,
    "fine_tune": {"epochs": 1, "batch_size": 8, "best_by": "loss"},
}


def refused(folder: Path, sentence: str, **changes) -> None:
    """Run until the stage that refuses; it is `check`, and nothing has been made."""
    with pytest.raises(UsageError, match=sentence):
        tiny.run_here(folder, teacher=MADE, **changes)
    run = folder / "runs" / "tiny"
    stages = json.loads((run / "run.json").read_text())["stages"]
    assert {name: entry["status"] for name, entry in stages.items()} == {"data": "done", "check": "failed"}
    assert not (run / "teacher-training").exists()


def test_a_store_that_cannot_be_made_is_refused(tmp_path):
    refused(
        tmp_path,
        rf"{NOWHERE}/teachers cannot be written \(No such file or directory\), but the run must keep teachers there; "
        "make it writable, or name another folder with store.dir or KDKIT_STORE",
        store={"dir": NOWHERE},
    )


@pytest.mark.parametrize("variable", ["HOME", "KDKIT_MIRROR"])
def test_a_home_that_cannot_have_the_mirror_of_a_url_is_refused(tmp_path, monkeypatch, variable):
    for name in ("XDG_CACHE_HOME", "KDKIT_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, NOWHERE)
    refused(
        tmp_path,
        rf"{NOWHERE}.* cannot be written .* keep mirrors of logits there; .* name another folder with KDKIT_MIRROR",
        store={"dir": "memory://kdkit-store"},
    )


def closed(monkeypatch, *folders: Path) -> None:
    """Folders in which no file can be made."""
    real = sharing.tempfile.TemporaryFile

    def made(*, dir):  # noqa: A002 - its name there
        if dir in folders:
            raise PermissionError(13, "Permission denied", str(dir))
        return real(dir=dir)

    monkeypatch.setattr(sharing.tempfile, "TemporaryFile", made)


def test_logits_of_others_in_a_folder_that_is_only_read_do_not_help_a_new_teacher(tmp_path, monkeypatch):
    logits = tmp_path / "runs" / "cache" / "logits"
    (logits / "of another teacher").mkdir(parents=True)
    closed(monkeypatch, logits)
    refused(tmp_path, r"logits cannot be written \(Permission denied\), but the run must keep logits there")


def test_a_store_that_has_all_and_is_only_read_will_do(tmp_path, monkeypatch):
    tiny.run_here(tmp_path, "first")
    store = tmp_path / "runs" / "cache"
    closed(monkeypatch, *store.iterdir())
    progress = tiny.Notes()
    tiny.run_here(tmp_path, "second", progress=progress)
    said = [note for note in progress.notes if "cannot be written" in note]
    assert said == [
        f"{store / kept} cannot be written (Permission denied): the run will stop if it needs {kept} that are not there"
        for kept in ("teachers", "logits", "texts")
    ]
