from __future__ import annotations

import os
import signal

import pytest

from kdkit.api.values import EncodedExample, Prediction
from kdkit.errors import DamagedData, Interrupted
from kdkit.store import predictions
from kdkit.system.progress import Silent

ROWS = [EncodedExample(id=str(n), source_ids=(n,), target_ids=(1,)) for n in range(6)]


class Model:
    """Answers in reverse order, as one sorted by length may; stops after so many rows."""

    def __init__(self, stop_after: int | None = None, how=None) -> None:
        self.asked: list[str] = []
        self._stop_after, self._how = stop_after, how

    def __call__(self, rows, done):
        self.rows = [row.id for row in rows]
        for number, row in enumerate(row for row in reversed(rows) if row.id not in done):
            if number == self._stop_after:
                self._how()
            self.asked.append(row.id)
            yield Prediction(id=row.id, text=f"text\n\u2028 {row.id}", seconds=0.5)


class Killed(BaseException):
    pass


def kill() -> None:
    raise Killed


def fill(path, model, rows=ROWS) -> None:
    predictions.fill(path, rows, model, progress=Silent(), name="student")


def test_the_file_has_the_rows_order_whatever_order_they_came_in(tmp_path):
    path = tmp_path / "new" / "p.jsonl"
    fill(path, Model())
    assert [prediction.id for prediction in predictions.read(path)] == [row.id for row in ROWS]
    assert predictions.read(path)[2] == Prediction(id="2", text="text\n\u2028 2", seconds=0.5)
    assert list(path.parent.iterdir()) == [path]


def test_a_try_that_was_cut_short_is_gone_on_with(tmp_path):
    path = tmp_path / "p.jsonl"
    with pytest.raises(Killed):
        fill(path, Model(2, kill))
    assert not path.exists()
    with pytest.raises(Killed):
        fill(path, Model(3, kill))
    last = Model()
    fill(path, last)
    assert last.asked == ["0"]
    assert last.rows == [row.id for row in ROWS], "its batches are to be those of all rows"
    assert [prediction.id for prediction in predictions.read(path)] == [row.id for row in ROWS]


def test_each_prediction_is_on_disk_before_the_next_is_made(tmp_path):
    path = tmp_path / "p.jsonl"
    found = []

    def look() -> None:
        found.append((tmp_path / "p.jsonl.partial").read_text().count("\n"))
        raise Killed

    with pytest.raises(Killed):
        fill(path, Model(3, look))
    assert found == [3]


def test_a_line_that_a_kill_cut_short_is_predicted_again(tmp_path):
    path = tmp_path / "p.jsonl"
    with pytest.raises(Killed):
        fill(path, Model(3, kill))
    partial = tmp_path / "p.jsonl.partial"
    partial.write_bytes(partial.read_bytes()[:-9])
    model = Model()
    fill(path, model)
    assert model.asked == ["3", "2", "1", "0"]
    assert len(predictions.read(path)) == 6


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_what_is_done_and_says_so(tmp_path, number, code):
    path = tmp_path / "p.jsonl"
    with pytest.raises(Interrupted, match=r"kept 3 of 6 predictions; run the same command to resume") as error:
        fill(path, Model(2, lambda: os.kill(os.getpid(), number)))
    assert error.value.signal_exit_code == code
    model = Model()
    fill(path, model)
    assert model.asked == ["2", "1", "0"]


def test_a_finished_file_of_the_same_rows_is_left_as_it_is(tmp_path):
    path = tmp_path / "p.jsonl"
    fill(path, Model())
    model = Model()
    fill(path, model)
    assert model.asked == []
    fill(path, model, ROWS[:2])
    assert model.asked == ["1", "0"]
    assert len(predictions.read(path)) == 2


def test_no_rows_give_an_empty_file_and_show_nothing(tmp_path):
    predictions.fill(tmp_path / "p.jsonl", [], Model(), progress=None, name="student")
    assert predictions.read(tmp_path / "p.jsonl") == []


@pytest.mark.parametrize("line", ["{", "[1]", '{"id": "a"}', '{"id": "a", "text": "t", "more": 1}'])
def test_a_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "p.jsonl"
    path.write_text('{"id": "a", "text": "t"}\n' + line + "\n")
    with pytest.raises(DamagedData, match=r"p\.jsonl:2 is not a prediction .*delete the file and run again"):
        predictions.read(path)
