from __future__ import annotations

import io
import json
import re
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from kdkit.cli import main
from kdkit.cli.output import print_json, print_table, put, say
from kdkit.system import progress
from kdkit.system.progress import Bars, Lines, Notebook, Once, Silent, StageShown, chosen


class Clock:
    def __init__(self, monkeypatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)


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
    for part in ("train", "loss 1.25", "validate", "5 rows", "epoch 1: [loss]", "capture", "4/9 rows"):
        assert part in said
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l"), "the cursor is shown again"


def screen(stream: io.StringIO, height: int = 24) -> list[str]:
    """What stands on a terminal after all that was written to it, for the codes that rich uses."""
    lines, row, column = [""], 0, 0
    for code, text in re.findall(r"(\x1b\[[\d;?]*[a-zA-Z])|([^\x1b])", stream.getvalue()):
        if code.endswith("A"):
            row -= int(code[2:-1] or 1)
        elif code == "\x1b[2K":
            lines[row] = ""
        elif text == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif text == "\r":
            column = 0
        elif text:
            lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + 1 :]
            column += 1
    assert len(lines) <= height
    return [line.rstrip() for line in lines]


def drawn(bars: Bars) -> list[str]:
    """What is under the notes at this moment."""
    bars.console.file.seek(0)
    bars.console.file.truncate()
    bars._live.refresh()
    return [line for line in screen(bars.console.file) if line]


def bars_of(width: int) -> Bars:
    return Bars(Console(file=io.StringIO(), force_terminal=True, width=width, height=24))


def stage_of(**changes) -> StageShown:
    return StageShown(**{"name": "distill", "number": 5, "count": 8, "began": 0.0, **changes})


@pytest.mark.parametrize(
    ("width", "row"),
    [
        (110, "train labels-only  BAR  312/20,624 steps  1:05:06 left  loss 1.325  hard 1.911  soft 0.128"),
        (80, "train labels-only  BAR  312/20,624 steps  1:05:06 left  loss 1.325"),
        (70, "train labels-only  312/20,624 steps  1:05:06 left  loss 1.325"),
        (60, "train labels-on…  312/20,624 steps  1:05:06 left  loss 1.325"),
    ],
)
def test_steps_time_and_loss_are_on_the_bar_however_wide_the_screen(clock, width, row):
    bars = bars_of(width)
    facts = {"loss": "1.325", "hard": "1.911", "soft": "0.128", "tok/s": "14,221 of the student"}
    with bars.task("train labels-only", total=20_624, unit="steps") as task:
        clock.now += 60
        task.advance(312, **facts)
        (line,) = drawn(bars)
    assert re.sub("[━╸╺]+", "BAR", line) == row
    assert len(line) <= width


def test_a_bar_without_facts_cuts_neither_its_name_nor_its_count(clock):
    bars = bars_of(80)
    with bars.task("untouched writes", total=47, unit="rows") as task:
        clock.now += 2
        task.advance(32)
        (line,) = drawn(bars)
    assert re.sub("[━╸╺]+", "BAR", line) == "untouched writes  BAR  32/47 rows  0:01 left"
    assert len(line) == 80


def test_a_terminal_shows_the_stage_and_the_time_of_the_whole_run(clock):
    bars, began = bars_of(80), clock.now
    clock.now += 130
    with bars.stage(stage_of(began=began, later=lambda seconds: seconds / 2)):
        assert drawn(bars) == [f"stage 5 of 8: distill{'2:10 so far':>59}"], "nothing tells how long it will take"
        with bars.task("train student", total=10, unit="steps") as task:
            clock.now += 20
            task.advance(2)
            head, row = drawn(bars)
            assert head == f"stage 5 of 8: distill{'2:30 so far, up to 3 min left':>59}"
            assert row.endswith("2/10 steps  1:20 left")


def test_a_terminal_keeps_notes_and_stages_and_no_bar(clock):
    bars = bars_of(80)
    with bars.stage(stage_of(name="data", number=1, before=50)), bars.task("data", total=None, unit="rows") as task:
        task.advance(2000)
        clock.now += 22
        bars._live.refresh()
        bars.note("data: 2,000 rows")
    assert [line for line in screen(bars.console.file) if line] == ["data: 2,000 rows", "stage 1 of 8: data, 1:12"]


def test_a_stage_whose_length_is_known_counts_down_whatever_its_tasks_say(clock):
    stage = stage_of(name="evaluate", expected=90.0, before=10.0, later=lambda _: 0.0)
    assert stage.left(None) == 80.0
    clock.now += 70
    assert stage.left(3.0) == 10.0
    assert stage.left(30.0) == 30.0, "what is being done takes longer than all should"
    clock.now += 20
    assert stage.left(None) is None, "it takes longer than it should, and nothing tells how long"


def test_the_first_seconds_of_a_stage_tell_nothing_of_the_run(clock):
    stage = stage_of(later=lambda seconds: seconds)
    assert stage.left(100.0) is None
    clock.now += 5
    assert stage.left(100.0) == 205.0


def test_lines_say_which_stage_begins(clock):
    stream = io.StringIO()
    clock.now += 3600
    with (
        Lines(stream).stage(stage_of(began=100.0)),
        Lines(stream).stage(stage_of(began=100.0, expected=61.0, later=lambda _: 60.0)),
    ):
        pass
    assert stream.getvalue().splitlines() == [
        "stage 5 of 8: distill; 1:00:00 so far",
        "stage 5 of 8: distill; 1:00:00 so far, up to 3 min left",
    ]


class Cell:
    """A notebook's output: `display` and the handle that it gives."""

    def __init__(self) -> None:
        self.shown = []

    def __call__(self, picture, *, display_id):
        assert display_id
        self.update(picture)
        return self

    def update(self, picture) -> None:
        self.shown.append((picture._repr_html_(), repr(picture)))


def test_a_notebook_has_one_output_that_changes(clock):
    cell = Cell()
    notebook = Notebook(cell)
    with notebook.stage(stage_of(began=90.0)), notebook.task("train student", total=10, unit="steps") as task:
        before = len(cell.shown)
        for _ in range(10):
            clock.now += 0.1
            task.advance(1, loss="<1.5>")
        assert len(cell.shown) - before <= 3, "not a picture for each step"
        notebook.note("epoch 1: <best>")
        html, _ = cell.shown[-1]
    assert "stage 5 of 8: distill" in html
    assert '<progress value="10" max="10">' in html
    assert "10/10 steps" in html
    assert "loss &lt;1.5&gt;" in html
    html, text = cell.shown[-1]
    assert "progress" not in html
    assert "epoch 1: &lt;best&gt;" in html
    assert text == "epoch 1: <best>\nstage 5 of 8: distill, 0:01"


@pytest.fixture
def kernel(monkeypatch):
    """This process as the kernel of a notebook, as far as IPython tells."""
    shell = SimpleNamespace(kernel=object())
    display = SimpleNamespace(display=Cell())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell, display=display))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shell


def test_progress_is_shown_by_default_where_someone_looks(monkeypatch):
    assert isinstance(chosen(None), Silent)
    assert isinstance(chosen(True), Lines)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(chosen(None), Bars)
    assert isinstance(chosen(False), Silent)
    mine = Silent()
    assert chosen(mine) is mine


def test_a_notebook_shows_progress_by_default(kernel):
    for asked in (None, True):
        assert isinstance(chosen(asked), Notebook)
    assert isinstance(chosen(False), Silent)
    del kernel.kernel  # IPython in a terminal
    assert isinstance(chosen(None), Silent)


def test_bars_end_when_their_work_fails():
    stream = io.StringIO()
    bars = Bars(Console(file=stream, force_terminal=True))
    for _ in range(2):
        with pytest.raises(ValueError), bars.task("data", total=3, unit="rows"):
            raise ValueError
    assert "\x1b[?25h" in stream.getvalue()[-20:], "the cursor is shown again"


def test_what_several_note_alike_is_noted_once():
    stream = io.StringIO()
    shown = Once(Lines(stream))
    for note in ("data: taken", "other", "data: taken"):
        shown.note(note)
    with shown.task("read", total=1, unit="rows") as task:
        task.advance()
    assert stream.getvalue().splitlines()[:2] == ["data: taken", "other"]
    assert len(stream.getvalue().splitlines()) == 3


def test_silence_is_silent(capsys):
    silent = Silent()
    with silent.task("data", total=1, unit="rows") as task:
        task.advance(1, loss="1")
    silent.note("a")
    assert capsys.readouterr() == ("", "")


def test_bars_are_for_terminals(monkeypatch):
    assert isinstance(progress.for_stderr(), Lines)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(progress.for_stderr(), Bars)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(progress.for_stderr(), Lines)


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


def test_lines_of_a_terminal_end_between_words_and_paths_are_whole(monkeypatch):
    path = "/" + "long/" * 8
    told = f"data: taken from {path}, where an earlier run has kept\nthe same rows"
    lines = ["data: taken from", f"  {path},", "  where an earlier run has", "  kept", "the same rows"]
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "26")
    say(told, err=True)
    put(told, err=True)
    say(f"note  {told}", err=True, indent=6)
    shown = [*lines, *told.split("\n"), "note  data: taken from", f"      {path},"]
    assert stream.getvalue().split("\n")[: len(shown)] == shown
    notes = io.StringIO()
    Bars(Console(file=notes, force_terminal=False, width=26)).note(told)
    assert notes.getvalue().split("\n")[:-1] == lines
    monkeypatch.setattr(sys, "stderr", plain := io.StringIO())
    say(told, err=True)
    assert plain.getvalue() == f"{told}\n"


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
