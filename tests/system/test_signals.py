from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kdkit.errors import Interrupted
from kdkit.system.progress import Polled, Silent
from kdkit.system.signals import acquired, graceful, ignore_signals, keep_signals, leaving, poll, stopped_by

SIGNALS = pytest.mark.parametrize(
    ("number", "word", "code"),
    [(signal.SIGINT, "interrupted", 130), (signal.SIGTERM, "terminated", 143), (signal.SIGHUP, "terminated", 129)],
)


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def _handlers_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@SIGNALS
def test_the_first_signal_only_asks(number, word, code):
    with graceful() as stop:
        assert not stop
        send(number)
        assert stop
        error = stop.leave("kept 3 rows")
    assert str(error) == f"{word}; kept 3 rows; run the same command to resume"
    assert error.signal_exit_code == code


def test_a_second_ctrl_c_ends_at_once():
    with pytest.raises(KeyboardInterrupt), graceful():
        send(signal.SIGINT, signal.SIGINT)


def test_sigterm_may_come_often():
    with graceful() as stop:
        send(signal.SIGTERM)
        send(signal.SIGTERM)
    assert stop.leave("x").signal_exit_code == 143


def test_an_event_asks_as_ctrl_c_does_where_work_is_saved():
    event = threading.Event()
    with stopped_by(event), graceful() as stop:
        poll()
        assert not stop
        event.set()
        assert (bool(stop), stop.signal) == (True, signal.SIGINT)
        poll()  # what is being written is not cut off
        error = stop.leave("kept 3 rows")
    assert (str(error), error.signal_exit_code) == ("cancelled; kept 3 rows; run it again to resume", 130)
    with graceful() as stop:
        assert not stop, "the next work has not been asked"


def test_an_event_cuts_work_off_at_its_next_report_of_progress():
    event, done = threading.Event(), []

    def work():
        with stopped_by(event), leaving("a"):
            with graceful():
                event.set()
                poll()
                done.append("saved")
            with Polled(Silent()).task("data", total=None, unit="rows"):
                done.append("begun")

    for _ in range(2):  # the second time it does not begin
        with pytest.raises(Interrupted, match=r"^cancelled; a; run it again to resume$"):
            work()
        assert done == ["saved"]


def test_an_event_ends_the_wait_for_another_run():
    event, tries = threading.Event(), []

    def held(seconds):
        tries.append(seconds)
        event.set()
        return False

    with pytest.raises(Interrupted, match=r"^cancelled; c;"), stopped_by(event), leaving("c"):
        acquired(held)
    assert len(tries) == 1


@SIGNALS
def test_work_that_can_be_cut_off_is(number, word, code):
    with pytest.raises(Interrupted, match=f"{word}; a; run the same command to resume$") as error, leaving("a"):
        send(number)
    assert error.value.signal_exit_code == code


@SIGNALS
def test_within_a_loop_that_saves_long_work_can_be_cut_off(number, word, code):
    with graceful() as stop:
        with pytest.raises(KeyboardInterrupt), stop.at_once():
            send(number)
        assert stop.leave("x").signal_exit_code == code
        assert word in str(stop.leave("x"))


@SIGNALS
def test_a_loop_that_saves_has_the_say_within_work_that_can_be_cut_off(number, word, code):
    def loop() -> None:
        with leaving("a"), graceful() as stop:
            send(number)
            raise stop.leave("saved")

    with pytest.raises(Interrupted, match=f"{word}; saved") as error:
        loop()
    assert error.value.signal_exit_code == code


@pytest.fixture
def handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@SIGNALS
@pytest.mark.usefixtures("handlers")
def test_a_signal_that_is_kept_ends_nothing_until_work_can_act_on_it(number, word, code):
    keep_signals()
    with graceful() as stop:
        assert not stop
    send(number)
    with graceful() as stop:
        assert stop.signal == number
    done = []
    with pytest.raises(Interrupted, match=word) as error, leaving("a"):
        done.append("something")
    assert error.value.signal_exit_code == code
    assert not done


@pytest.mark.usefixtures("handlers")
def test_signals_may_be_ignored_at_the_very_end():
    ignore_signals()
    send(signal.SIGINT, signal.SIGTERM)


def test_other_threads_leave_signals_alone():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work() -> None:
        with leaving("a"), graceful() as stop:
            seen.append((bool(stop), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]


def test_tests_hear_signals_that_their_runner_ignores():
    conftest = Path(__file__).parents[1] / "conftest.py"
    code = f"import runpy, signal; runpy.run_path({str(conftest)!r}); print(*map(signal.getsignal, (1, 2, 15)))"
    command = f"trap '' HUP INT TERM; {shlex.join([sys.executable, '-c', code])}"
    ended = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert re.fullmatch(
        "0 <built-in function default_int_handler> 0\n|.*SIG_DFL.*default_int_handler.*SIG_DFL\n", ended.stdout
    )


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with graceful() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop
    finally:
        signal.signal(signal.SIGHUP, before)
