"""`kdkit cache`: what it prints, and how it ends."""

from __future__ import annotations

import json

import pytest
from cache_kit import fill, shards
from click.testing import CliRunner

from kdkit.cli.cache import command
from kdkit.errors import DamagedData, MissingInput


def run(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def damage(folder):
    path = shards(folder)[0]
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    return path.name


def test_verify_says_ok_with_the_numbers(tmp_path):
    fill(tmp_path, range(10), shard_bytes=10**6)
    size = shards(tmp_path)[0].stat().st_size
    assert run("verify", tmp_path).output == f"ok: 10 records, 20 tokens, {size / 1000:.1f} KB\n"


def test_verify_lists_the_faults_and_ends_with_4(tmp_path):
    fill(tmp_path, range(10))
    name = damage(tmp_path)
    result = run("verify", tmp_path)
    assert result.output == f"{name}: its index does not match its checksum\n"
    assert isinstance(result.exception, DamagedData)
    assert result.exception.exit_code == 4
    assert "1 fault in" in str(result.exception)


def test_verify_prints_json(tmp_path):
    fill(tmp_path, range(10))
    whole = json.loads(run("verify", "--json", tmp_path).output)
    assert (whole["ok"], whole["records"], whole["tokens"], whole["faults"]) == (True, 10, 20, [])
    name = damage(tmp_path)
    result = run("verify", "--json", tmp_path)
    damaged = json.loads(result.output)
    assert (damaged["ok"], damaged["faults"][0]["file"], damaged["faults"][0]["record"]) == (False, name, None)
    assert isinstance(result.exception, DamagedData)


def test_info_tells_of_one_cache(tmp_path):
    fill(tmp_path, range(10))
    output = run("info", tmp_path).output
    for line in (
        "teacher_name:    big-teacher",
        'codec_options:   {"level": 0, "scope": "row"}',
        "records:         10",
        "tokens:          20",
    ):
        assert line in output.splitlines()
    facts = json.loads(run("info", "--json", tmp_path).output)
    assert facts["state"] == "finished"
    assert facts["bytes_per_token"] == pytest.approx(facts["bytes"] / 20, abs=1e-3)


def test_a_folder_of_caches_is_listed_one_a_line(tmp_path):
    fill(tmp_path / "one", range(10))
    fill(tmp_path / "three", range(4), finish=False)
    fill(tmp_path / "two", range(4))
    lines = run("info", tmp_path).output.splitlines()
    assert [line.split(": ")[0] for line in lines] == [str(tmp_path / name) for name in ("one", "three", "two")]
    assert "10 records, 20 tokens" in lines[0]
    assert "has not finished" in lines[1]
    assert [table["state"] for table in json.loads(run("info", "--json", tmp_path).output)] == [
        "finished",
        "not readable",
        "finished",
    ]


def test_verify_of_a_folder_of_caches_passes_over_unfinished_ones(tmp_path):
    fill(tmp_path / "one", range(10))
    fill(tmp_path / "three", range(4), finish=False)
    fill(tmp_path / "two", range(4))
    result = run("verify", tmp_path)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'one'}: ok: 10 records")
    assert lines[1].startswith(f"{tmp_path / 'two'}: ok: 4 records")
    assert len(lines) == 2
    assert result.stderr == f"{tmp_path / 'three'}: not verified: its capture has not finished\n"
    damage(tmp_path / "two")
    result = run("verify", tmp_path)
    assert str(tmp_path / "two") in result.output
    assert isinstance(result.exception, DamagedData)


@pytest.mark.parametrize("verb", ["info", "verify"])
def test_a_folder_without_a_cache_is_missing_input(tmp_path, verb):
    assert isinstance(run(verb, tmp_path).exception, MissingInput)
    assert isinstance(run(verb, tmp_path / "nowhere").exception, MissingInput)


def test_verify_of_an_unfinished_cache_alone_is_missing_input(tmp_path):
    fill(tmp_path, range(4), finish=False)
    assert isinstance(run("verify", tmp_path).exception, MissingInput)


def test_a_damaged_manifest_is_shown_by_info(tmp_path):
    fill(tmp_path, range(4))
    (tmp_path / "manifest.json").write_bytes(b"{}")
    assert "manifest.json is damaged" in run("info", tmp_path).output
