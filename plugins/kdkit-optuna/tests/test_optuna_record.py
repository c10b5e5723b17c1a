"""What processes tell each other through: any of it may be lost, cut or damaged, and nothing is lost with it."""

from __future__ import annotations

import multiprocessing
import sqlite3
import warnings
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from search_kit import ask_thrice, outcome, search, searched

from kdkit.errors import KdkitError
from kdkit_optuna import record as records

LINE = {"x": {"low": 0.0, "high": 1.0}}


@pytest.fixture(params=["journal", "database"])
def storage(request, tmp_path):
    return "journal" if request.param == "journal" else f"sqlite:///{tmp_path / 'sweep.db'}"


def study_of(folder: Path, storage: str, space=None):
    """The study as optuna's own tools see it."""
    if storage == "journal":
        backend = optuna.storages.journal.JournalFileBackend(str(folder / "search" / "optuna.journal"))
        kept = optuna.storages.JournalStorage(backend)
    else:
        kept = storage
    names = optuna.study.get_all_study_names(kept)
    return optuna.load_study(study_name=names[-1], storage=kept)


def told(folder: Path, storage: str, outcomes, space=None):
    """The study's trials once these outcomes were told."""
    opened = search(storage, space, trials=2).open(folder, seed=1)
    opened.tell(outcomes)
    opened.close()
    return study_of(folder, storage).trials


def test_the_proposals_are_those_that_no_storage_would_give(tmp_path, storage):
    assert searched(tmp_path, 5, storage=storage, startup=3) == searched(tmp_path, 5, startup=3)


def test_a_resumed_search_goes_on_as_it_would_have(tmp_path, storage):
    assert searched(tmp_path, 5, storage=storage, startup=3, apart=True) == searched(tmp_path, 5, startup=3)


def test_the_study_says_what_the_run_folders_say_and_says_it_once(tmp_path, storage):
    outcomes = [
        outcome({"x": 0.1}, number=1, value=0.5),
        outcome({"x": 0.2}, number=2, value=0.5, higher=False),
        outcome({"x": 0.3}, number=3, status="failed", value=None),
        outcome({"x": 0.4}, number=4, status="running", value=None),
        outcome({"x": 0.5}, number=5, value=None),
        outcome({"x": 7.0}, number=6, value=1.0),
    ]
    trials = told(tmp_path, storage, outcomes, LINE)
    assert told(tmp_path, storage, outcomes, LINE) == trials
    assert [(trial.params["x"], trial.state, trial.value) for trial in trials] == [
        (0.1, TrialState.COMPLETE, -0.5),
        (0.2, TrialState.COMPLETE, 0.5),
        (0.3, TrialState.FAIL, None),
        (0.4, TrialState.RUNNING, None),
        (0.5, TrialState.FAIL, None),
    ]
    assert [trial.user_attrs["kdkit_trial"] for trial in trials] == [each.id for each in outcomes[:5]]


def test_a_trial_that_was_asked_for_is_finished_with_its_id(tmp_path, storage):
    opened = search(storage, LINE).open(tmp_path, seed=1)
    opened.tell([])
    done, failed = opened.ask(), opened.ask()
    opened.tell([outcome(done, number=1, value=2.0), outcome(failed, number=2, status="failed", value=None)])
    opened.close()
    trials = study_of(tmp_path, storage).trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.FAIL]
    assert [trial.user_attrs["kdkit_trial"] for trial in trials] == [f"{1:016x}", f"{2:016x}"]


def test_one_that_failed_and_was_run_again_is_told_anew(tmp_path, storage):
    told(tmp_path, storage, [outcome({"x": 0.3}, status="failed", value=None)], LINE)
    trials = told(tmp_path, storage, [outcome({"x": 0.3}, value=1.0)], LINE)
    assert [trial.state for trial in trials] == [TrialState.FAIL, TrialState.COMPLETE]


def test_who_asks_elsewhere_counts_as_running_until_it_is_clear_that_it_is_gone(tmp_path, storage, monkeypatch):
    space = {"a": {"choices": ["x", "y"]}}
    gone = search(storage, space, trials=2).open(tmp_path, seed=1)
    gone.tell([])
    asked = gone.ask()
    here = search(storage, space, trials=2).open(tmp_path, seed=1)
    here.tell([])
    assert here.ask() != asked
    monkeypatch.setattr(records, "ABANDONED_SECONDS", 0)
    later = search(storage, space, trials=2).open(tmp_path, seed=1)
    later.tell([])
    assert later.ask() == asked
    for each in (gone, here, later):
        each.close()


def test_of_two_that_claim_one_trial_the_first_has_it(tmp_path, storage):
    opened = search(storage, LINE).open(tmp_path, seed=1)
    other = search(storage, LINE).open(tmp_path, seed=1)
    with opened.record.opened(()) as shared:
        assert shared.claim({"x": 0.5})
    with other.record.opened(()) as shared:
        assert not shared.claim({"x": 0.5})
        assert shared.claim({"x": 0.6})
    opened.close()
    other.close()


@pytest.mark.slow
def test_two_processes_with_one_journal_never_get_the_same(tmp_path):
    storage = "journal"
    context = multiprocessing.get_context("spawn")
    gate, answers = context.Barrier(2), context.Queue()
    processes = [context.Process(target=ask_thrice, args=(str(tmp_path), storage, gate, answers)) for _ in range(2)]
    for process in processes:
        process.start()
    asked = [values for _ in processes for values in answers.get(timeout=60)]
    for process in processes:
        process.join(60)
    assert len({str(values) for values in asked}) == 6
    running = [trial for trial in study_of(tmp_path, storage).trials if trial.state == TrialState.RUNNING]
    assert len(running) == 6


def aside(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted((folder / "search").glob("optuna.journal.damaged-*"))]


def test_a_journal_that_is_cut_anywhere_in_its_last_records_loses_nothing(tmp_path):
    outcomes = searched(tmp_path, 4, storage="journal", startup=3)
    wanted = searched(tmp_path, 5, startup=3)[-1]
    journal = tmp_path / "search" / "optuna.journal"
    whole = journal.read_bytes()
    begin = len(b"".join(whole.splitlines(keepends=True)[:-1]))
    for end in sorted({0, *range(begin, len(whole), 13), *range(len(whole) - 3, len(whole) + 1)}):
        folder = tmp_path / str(end)
        (folder / "search").mkdir(parents=True)
        (folder / "search" / "optuna.journal").write_bytes(whole[:end])
        is_cut = end > 0 and whole[end - 1 : end] != b"\n"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = searched(folder, 5, storage="journal", startup=3, outcomes=outcomes)
        assert found[-1] == wanted, end
        assert aside(folder) == ([whole[:end]] if is_cut else [])
        assert [
            str(each.message) for each in caught if "it is kept as optuna.journal.damaged-1" in str(each.message)
        ] == [str(each.message) for each in caught]
        assert len(caught) == is_cut


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"\x00\xff garbage\n" + content,
        lambda content: content + b"garbage\n",
        lambda content: content + b"[1]\n",
        lambda content: content + b'{"op_code": 99, "worker_id": "x"}\n',
        lambda content: content.replace(b'"op_code":0', b'"op_code":1', 1),
        lambda content: content.replace(b'"loss.alpha":0', b'"loss.alphe":0'),
        lambda content: b"\xf0" * 4096 + b"\n",
    ],
    ids=["before", "after", "list", "unknown", "no study", "no params", "bytes"],
)
def test_a_damaged_journal_is_set_aside_and_made_again(tmp_path, damage):
    outcomes = searched(tmp_path, 4, storage="journal", startup=3)
    journal = tmp_path / "search" / "optuna.journal"
    damaged = damage(journal.read_bytes())
    journal.write_bytes(damaged)
    with pytest.warns(UserWarning, match=r"kept as optuna\.journal\.damaged-1, and a new one is made from the run"):
        found = searched(tmp_path, 5, storage="journal", startup=3, outcomes=outcomes)
    assert found == searched(tmp_path, 5, startup=3)
    assert aside(tmp_path) == [damaged]
    assert len(study_of(tmp_path, "journal").trials) == 5


@pytest.mark.parametrize("left", [0, 3])
def test_a_journal_that_is_lost_or_begins_in_its_middle_is_made_again(tmp_path, left):
    outcomes = searched(tmp_path, 3, storage="journal")
    journal = tmp_path / "search" / "optuna.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.unlink()
    if left:
        journal.write_bytes(b"".join(lines[-left:]))
    again = told(tmp_path, "journal", outcomes)
    assert [each.user_attrs["kdkit_trial"] for each in again] == [each.id for each in outcomes]
    assert all(trial.state == TrialState.COMPLETE for trial in again)


def test_another_space_has_a_study_of_its_own(tmp_path, storage):
    told(tmp_path, storage, [outcome({"x": 0.5}, value=1.0)], LINE)
    other = told(tmp_path, storage, [outcome({"x": "b"}, value=1.0)], {"x": {"choices": ["a", "b"]}})
    assert len(other) == 1


def test_a_database_that_is_none_is_an_error_and_is_left_alone(tmp_path):
    file = tmp_path / "sweep.db"
    file.write_bytes(b"no database at all" * 500)
    with pytest.raises(KdkitError, match=r"sqlite:///.*sweep\.db cannot be read or written \(.*sweep\.search\.storage"):
        told(tmp_path, f"sqlite:///{file}", [])
    assert file.read_bytes() == b"no database at all" * 500


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(KdkitError, match="cannot be read or written"):
        told(tmp_path / "gone", "journal", [])


@pytest.mark.parametrize("url", ["nosuch://user:hunter2@host/base", "postgresql+nosuch://user:hunter2@host:1/base"])
def test_no_error_shows_a_password(tmp_path, url):
    with pytest.raises(KdkitError) as caught:
        told(tmp_path, url, [])
    assert "cannot be read or written" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(search(url).open(tmp_path, seed=1))


def test_nothing_of_the_study_is_pickled(tmp_path):
    database = tmp_path / "sweep.db"
    searched(tmp_path, 4, storage=f"sqlite:///{database}", startup=2)
    dumped = "\n".join(sqlite3.connect(database).iterdump())
    assert "X'80" not in dumped  # what a pickle in a table begins with
    assert b"\x80\x04" not in database.read_bytes()
