"""`kdkit doctor`: what it looks at, and how it says that something is wrong."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import attrs
import causal_kit
import pytest
import tomli_w
from click.testing import CliRunner

from kdkit import plugins as plugin_loading
from kdkit.cli.doctor import command
from kdkit.errors import RecipeError, UsageError
from kdkit.pipeline import diagnosis
from kdkit.plugins import Failure
from kdkit.system import locks


def doctor(*arguments, code=0) -> list[dict]:
    result = CliRunner().invoke(command, [*map(str, arguments), "--json"], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    assert result.return_value == code
    return json.loads(result.output)


def test_a_machine_is_looked_at(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = doctor()
    topics = [each["topic"] for each in found]
    assert topics[0] == "versions"
    store = next(each["says"] for each in found if each["topic"] == "store")
    assert store.startswith(f"{tmp_path}/runs/cache, "), "where a run of this folder has it"
    assert {"processor", "GPU", "runs", "store", "models", "hub", "plugins"} <= set(topics)
    assert not list(tmp_path.iterdir())
    told = CliRunner().invoke(command, [], standalone_mode=False).output
    assert all(each["says"] in told for each in found if each["topic"] != "hub")


def test_what_is_wrong_is_told_with_what_to_do(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(diagnosis, "version_of", lambda name: {"transformers": "4.1.0", "lz4": None}.get(name, "99"))
    monkeypatch.setattr(diagnosis.shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    loaded = plugin_loading.load()
    broken = attrs.evolve(loaded, failures=(Failure(plugin="kdkit-x", cause="no module y"),))
    monkeypatch.setattr(plugin_loading, "load", lambda: broken)
    wrong = [each["says"] for each in doctor(code=1) if each["state"] == "wrong"]
    for part in (
        "transformers 4.1.0 is installed, and kdkit needs transformers",
        "lz4 is not installed, and kdkit needs it; install lz4>=",
        "there is a driver for GPUs, but torch is a build for processors",
        "kdkit-x failed to load: no module y",
    ):
        assert any(part in each for each in wrong), part


def test_a_file_system_without_locks_is_noted(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.FileLock, "acquire", refuse)
    found = {each.topic: each for each in diagnosis._disks(tmp_path / "runs", "")}
    assert found["runs"].state == "note"
    assert "no locks" in found["runs"].says


def test_without_the_hub_it_says_what_is_found(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert diagnosis._hub() == diagnosis.Finding(
        "hub", "off (HF_HUB_OFFLINE): only models in folders and in the hub's cache are found", "note"
    )


def saved(folder: Path) -> Path:
    causal_kit.model().save(folder, texts={})
    return folder


def recipe(folder: Path, **student) -> Path:
    table = {
        "data": {"name": "jsonl", "train": "rows.jsonl", "source": "a", "target": "b"},
        "teacher": {"name": "hf-causal", "model": str(folder)},
        "student": {"name": "hf-causal", **(student or {"from_teacher": {"layers": [0]}})},
    }
    path = folder.parent / "recipe.toml"
    path.write_text(tomli_w.dumps(table))
    return path


def test_the_tokens_of_teacher_and_student_are_told(tmp_path):
    folder = saved(tmp_path / "model")
    found = {each["topic"]: each["says"] for each in doctor(recipe(folder), "-o", f"store.dir={tmp_path}/kept")}
    assert found["store"].startswith(f"{tmp_path}/kept, "), "the store of the recipe"
    end = causal_kit.tokenizer().eos_token_id
    assert f"texts end at </s> ({end})" in found["teacher"]
    assert found["student"] == found["teacher"]
    assert found["tokens"] == "teacher and student have the same"


def test_a_recipe_that_cannot_run_is_wrong(tmp_path):
    folder = saved(tmp_path / "model")
    path = recipe(folder, model=str(tmp_path / "nowhere"))
    (wrong,) = [each["says"] for each in doctor(path, code=1) if each["state"] == "wrong"]
    assert "nowhere" in wrong
    with pytest.raises(RecipeError, match=r"loss\.alpha"):
        doctor(path, "-o", "loss.alpha=7")
    with pytest.raises(UsageError, match="none is given; add the recipe"):
        doctor("-o", "loss.alpha=7")
