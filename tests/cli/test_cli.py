"""The command line turns every error into a sentence and an exit code; results go to standard output alone."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import rich_click as click

from kdkit import cli, errors


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", "from kdkit.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        encoding=environment.get("PYTHONIOENCODING", "utf-8"),
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )


@pytest.fixture
def fail(monkeypatch, capsys):
    """Run a verb that raises this; gives the exit code, standard output and standard error."""

    def fail(error):
        @click.command("plan")
        def command():
            raise error

        monkeypatch.setattr(cli.Verb, "load", lambda self: command)
        with pytest.raises(SystemExit) as left:
            cli.main(["plan"])
        shown = capsys.readouterr()
        return left.value.code, shown.out, shown.err

    return fail


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (errors.KdkitError("it failed"), 1, "error: it failed\n"),
        (errors.RecipeError(["a:1:1: x: y", "b:1:1: x: z"]), 2, "error: a:1:1: x: y\nerror: b:1:1: x: z\n"),
        (errors.MissingInput("it is not there"), 2, "error: it is not there\n"),
        (errors.DamagedData("it is damaged"), 4, "error: it is damaged\n"),
        (errors.Interrupted("stopped; the same command goes on"), 130, "error: stopped; the same command goes on\n"),
        (errors.Interrupted("stopped", signal_exit_code=143), 143, "error: stopped\n"),
        (errors.Elsewhere("the lead says it", exit_code_there=4), 4, ""),
        (KeyboardInterrupt(), 130, "\nerror: interrupted\n"),
    ],
)
def test_an_error_is_one_sentence_and_an_exit_code(fail, monkeypatch, error, code, shown):
    monkeypatch.delenv(cli.DEBUG, raising=False)
    assert fail(error) == (code, "", shown)


def test_debug_shows_the_traceback_too(fail, monkeypatch):
    monkeypatch.setenv(cli.DEBUG, "1")
    code, _, shown = fail(errors.DamagedData("it is damaged"))
    assert code == 4
    assert shown.startswith("Traceback")
    assert shown.endswith("error: it is damaged\n")


def test_what_nobody_expected_is_not_dressed_up(monkeypatch, fail):
    with pytest.raises(ZeroDivisionError):
        fail(ZeroDivisionError())


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (3, 3)])
def test_a_verb_may_give_its_exit_code(monkeypatch, returned, code):
    command = click.command("plan")(lambda: returned)
    monkeypatch.setattr(cli.Verb, "load", lambda self: command)
    with pytest.raises(SystemExit) as left:
        cli.main(["plan"])
    assert left.value.code == code


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_every_verb_in_plain_text(flag):
    shown = run(flag)
    assert shown.returncode == 0
    assert "\x1b" not in shown.stdout
    assert shown.stderr == ""
    for verb, line in cli.VERBS.items():
        assert f"{verb} " in shown.stdout
        assert line in shown.stdout


@pytest.mark.parametrize("verb", list(cli.VERBS))
def test_every_listed_verb_is_there(verb):
    assert isinstance(importlib.import_module(f"kdkit.cli.{verb}").command, click.Command)


def test_the_version_is_printed():
    import kdkit

    assert run("--version").stdout == f"kdkit, version {kdkit.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["recipess"], "error: No such command 'recipess'. Did you mean 'recipes'? (see kdkit --help)\n"),
        (["recipes", "list", "--jsn"], "error: No such option '--jsn'. Did you mean '--json'? (see "),
        (
            ["plan", "r.toml", "--steps", "3"],
            "error: No such option '--steps'. Did you mean '-o training.max_steps=VALUE'? (see kdkit plan --help)\n",
        ),
        (["report", "x", "--steps", "3"], "error: No such option '--steps'. (see kdkit report --help)\n"),
        (["recipes", "validate"], "error: Missing argument 'FILES...'. (see kdkit recipes validate --help)\n"),
    ],
)
def test_wrong_usage_is_one_sentence_and_code_2(arguments, shown):
    result = run(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(shown)
    assert result.stderr.count("\n") == 1


def test_a_reader_that_goes_away_is_no_error():
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [sys.executable, "-c", "from kdkit.cli import main; main()", "recipes", "schema"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(write)
    assert process.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device stands in for a full disk here")
@pytest.mark.parametrize("arguments", [["recipes", "schema"], ["plugins"]])
def test_output_that_a_full_disk_does_not_take_is_one_sentence(arguments):
    with Path("/dev/full").open("w") as full:
        process = subprocess.run(
            [sys.executable, "-c", "from kdkit.cli import main; main()", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
            env={key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"},
        )
    assert process.returncode == 1
    assert process.stderr == (
        "error: the output cannot be written: No space left on device; free some space and run again\n"
    )


ODD = "a \u2212 \u00e9 \U0001f642"


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-8"])
def test_characters_that_the_output_cannot_hold_are_escaped(tmp_path, encoding):
    (tmp_path / f"{ODD}.toml").write_text("")
    shown = run("recipes", "validate", str(tmp_path / f"{ODD}.toml"), PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert (shown.returncode, "Traceback" in shown.stderr) == (2, False)
    assert ODD.encode(encoding, "backslashreplace").decode(encoding) in shown.stdout


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-8"])
def test_json_says_every_character_in_any_encoding(tmp_path, encoding):
    file = str(tmp_path / f"{ODD}.toml")
    shown = run("recipes", "validate", "--json", file, PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert json.loads(shown.stdout)[0]["recipe"] == file
