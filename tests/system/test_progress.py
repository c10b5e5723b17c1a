from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from kdkit.cli import main
from kdkit.cli.output import print_json, print_table, say
from kdkit.system import progress
from kdkit.system.progress import Bars, Lines, Silent


class Clock:
    def __init__(self, monkeypatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_lines_come_every_few_seconds_and_at_the_end(clock):
    stream = io.StringIO()
    with Lines(stream, every=5).task("capture", total=10, unit="rows") as task:
        for _ in range(10):
            clock.now += 2
            task.advance(1, loss="1.5")
    assert stream.getvalue().splitlines() == [
        "capture: 3 of 10 rows, loss 1.5, 0:14 left",
        "capture: 6 of 10 rows, loss 1.5, 0:08 left",
        "capture: 9 of 10 rows, loss 1.5, 0:02 left",
        "capture: 10 of 10 rows, loss 1.5, 0:20",
    ]


def test_what_was_done_before_says_nothing_about_the_speed(clock):
    stream = io.StringIO()
    with Lines(stream, every=5).task("train", total=110, unit="steps", done=100) as task:
        clock.now += 6
        task.advance()
    assert stream.getvalue().splitlines()[0] == "train: 101 of 110 steps, 0:54 left"


def test_a_total_that_is_not_known_is_not_shown(clock):
    stream = io.StringIO()
    with Lines(stream).task("data", total=None, unit="rows") as task:
        clock.now += 3700
        task.advance(7)
    assert stream.getvalue() == "data: 7 rows, 1:01:40\n" * 2


def test_a_task_that_fails_shows_no_end():
    stream = io.StringIO()
    with pytest.raises(ValueError), Lines(stream).task("data", total=3, unit="rows"):
        raise ValueError
    assert stream.getvalue() == ""


def test_notes_are_lines_as_they_are():
    stream = io.StringIO()
    Lines(stream).note("a [bold]b[/bold]")
    assert stream.getvalue() == "a [bold]b[/bold]\n"


def test_lines_hold_no_escape_codes(clock):
    stream = io.StringIO()
    with Lines(stream, every=0).task("data", total=3, unit="rows") as task:
        task.advance()
    assert "\x1b" not in stream.getvalue()


def test_bars_may_be_nested_with_notes_between_them():
    """A validation within a training: two displays at once are more than a terminal can have."""
    stream = io.StringIO()
    bars = Bars(Console(file=stream, force_terminal=True, width=120))
    with bars.task("train", total=2, unit="steps") as train:
        train.advance(1, loss="1.25")
        with bars.task("validate", total=None, unit="rows") as validate:
            validate.advance(5)
            bars.note("epoch 1: [loss]")
        train.advance(1, loss="1.00")
    with bars.task("capture", total=9, unit="rows", done=4) as capture:
        capture.advance(5)
    said = stream.getvalue()
    for part in ("train", "loss 1.25", "validate", "epoch 1: [loss]", "loss 1.00", "2/2", "capture", "9/9"):
        assert part in said
    assert said.endswith("\x1b[?25h"), "the cursor is shown again"


def test_bars_end_when_their_work_fails():
    stream = io.StringIO()
    bars = Bars(Console(file=stream, force_terminal=True))
    for _ in range(2):
        with pytest.raises(ValueError), bars.task("data", total=3, unit="rows"):
            raise ValueError
    assert stream.getvalue().endswith("\x1b[?25h")


def test_silence_is_silent(capsys):
    silent = Silent()
    with silent.task("data", total=1, unit="rows") as task:
        task.advance(1, loss="1")
    silent.note("a")
    assert capsys.readouterr() == ("", "")


def test_bars_are_for_terminals(monkeypatch):
    assert isinstance(progress.for_stderr(), Lines)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert isinstance(progress.for_stderr(), Bars)


HOSTILE = "x\x1b]0;OWNED\x07 [red]y[/red] \x9b31m :warning: \u202eabc"
SHOWN = "x\u241b]0;OWNED\u2407 [red]y[/red] \\u009b31m :warning: \\u202eabc"


def test_what_names_of_others_hold_is_shown_and_not_obeyed():
    stream = io.StringIO()
    Lines(stream).note(HOSTILE)
    assert stream.getvalue() == f"{SHOWN}\n"
    console = Console(file=io.StringIO(), force_terminal=True, width=200, no_color=True)
    bars = Bars(console)
    bars.note(HOSTILE)
    with bars.task(HOSTILE, total=1, unit="rows"):
        pass
    drawn = console.file.getvalue()
    assert SHOWN in drawn
    assert drawn.count(SHOWN) >= 2
    assert "OWNED\x07" not in drawn
    assert "\x9b" not in drawn


def test_the_command_line_shows_control_characters(capsys, monkeypatch):
    say(HOSTILE)
    print_table((HOSTILE,), [(HOSTILE,)])
    assert capsys.readouterr().out.splitlines() == [SHOWN] * 3
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    print_table(("id",), [(HOSTILE,)])
    shown = capsys.readouterr().out
    assert "[red]" in shown
    assert "\x1b]" not in shown
    assert not {"\x07", "\x9b", "\u202e"} & set(shown)


def test_json_has_the_same_values_and_no_control_characters(capsys):
    print_json({"id": HOSTILE + "\x7f"})
    shown = capsys.readouterr().out
    assert json.loads(shown) == {"id": HOSTILE + "\x7f"}
    assert not {"\x1b", "\x07", "\x9b", "\x7f", "\u202e"} & set(shown)


def test_an_id_in_an_error_reaches_no_terminal_as_it_is(tmp_path, capsys):
    model = tmp_path / "no\x1b]0;OWNED\x07model"
    with pytest.raises(SystemExit):
        main(["report", str(model)])
    shown = capsys.readouterr().err
    assert "no\u241b]0;OWNED\u2407model" in shown
    assert "\x1b" not in shown
