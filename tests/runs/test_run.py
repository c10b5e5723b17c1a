from __future__ import annotations

import errno
import fcntl
import json
import threading
from pathlib import Path

import attrs
import pytest
import tiny
import torch
from filelock import FileLock

from kdkit.errors import DamagedData, Interrupted, KdkitError, Mismatch, UsageError
from kdkit.recipe import load_recipe
from kdkit.runs.folders import check_folders
from kdkit.runs.opening import open_run
from kdkit.runs.record import check_recipe, read_record
from kdkit.runs.resume import do
from kdkit.runs.stage import Planned, Stage
from kdkit.runs.stage_facts import DataRead, StageFacts
from kdkit.store import store_of
from kdkit.system.progress import Silent


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "tiny"


def recipe_of(folder, **changes):
    return load_recipe(tiny.recipe_table(folder.parent.parent / "data", **changes))


def opened(folder, *, fresh=False, progress=None, **changes):
    return open_run(
        recipe_of(folder, **changes), folder, fresh=fresh, progress=progress or Silent(), plugins={}, device="cpu"
    )


@attrs.frozen(kw_only=True)
class Said(StageFacts):
    """What each of these stages tells."""

    said: str


def plan(*_) -> Planned:
    """What it will do."""
    return Planned(work="writes a file")


class Works:
    """Three stages that write a file each and count their calls."""

    def __init__(self, **instead) -> None:
        self.calls: list[str] = []
        self._instead = instead
        self.stages = tuple(
            Stage(name=name, work=self._work(name), plan=plan, outputs=(name,), leftovers=(f"{name}.partial",))
            for name in "abc"
        )

    def _work(self, name):
        def work(run):
            self.calls.append(name)
            self._instead.get(name, lambda _: None)(run)
            (run.path / name).write_text(name)
            return Said(said=name)

        return work

    def run(self, folder, **options) -> list[str]:
        with opened(folder, **options) as run:
            for stage in self.stages:
                do(run, stage, self.stages)
            run.finish()
        return self.calls


def statuses(folder) -> dict:
    record = json.loads((folder / "run.json").read_text())
    return {"run": record["status"], **{name: entry["status"] for name, entry in record["stages"].items()}}


def test_a_finished_run_says_so_with_digests_seeds_versions_and_timings(folder):
    Works().run(folder)
    record = read_record(folder)
    assert statuses(folder) == {"run": "done", "a": "done", "b": "done", "c": "done"}
    assert record["recipe_digest"] == recipe_of(folder).digest
    assert record["seeds"] == {"seed": 42}
    assert record["versions"].keys() >= {"python", "kdkit", "torch"}
    assert record["started"] <= record["finished"]
    assert record["stages"]["b"]["facts"] == {"said": "b"}
    assert record["stages"]["b"]["seconds"] >= 0
    assert load_recipe(folder / "recipe.toml").digest == record["recipe_digest"]


def test_finished_stages_are_not_done_again(folder):
    Works().run(folder)
    before = read_record(folder)["stages"]
    notes = tiny.Notes()
    assert Works().run(folder, progress=notes) == []
    assert notes.notes == ["a: done before", "b: done before", "c: done before"]
    assert read_record(folder)["stages"] == before


@pytest.mark.parametrize(("gone", "again"), [("a", "abc"), ("b", "bc"), ("c", "c")])
def test_a_stage_whose_output_is_gone_is_done_again_and_so_are_those_after_it(folder, gone, again):
    Works().run(folder)
    (folder / gone).unlink()
    assert "".join(Works().run(folder)) == again


def test_what_later_stages_left_goes_when_an_earlier_one_is_done_again(folder):
    def fails(run):
        (run.path / "b.partial").write_text("half")
        raise KdkitError("no")

    with pytest.raises(KdkitError):
        Works(b=fails).run(folder)
    assert (folder / "b.partial").exists()
    seen = []
    Works(b=lambda run: seen.append((run.path / "b.partial").exists())).run(folder)
    assert seen == [True]  # what b itself left is there to go on from
    (folder / "a").unlink()
    Works(b=lambda run: seen.append((run.path / "b.partial").exists())).run(folder)
    assert seen == [True, False]


def test_a_stage_that_can_restore_what_is_lost_costs_none_after_it(folder):
    works, restored = Works(), []

    def restore(run):
        restored.append("a")
        (run.path / "a").write_text("again")
        return Said(said="again")

    works.stages = (attrs.evolve(works.stages[0], restore=restore), *works.stages[1:])
    works.run(folder)
    (folder / "a").unlink()
    assert works.run(folder) == ["a", "b", "c"]
    assert restored == ["a"]
    assert read_record(folder)["stages"]["a"]["facts"] == {"said": "again"}
    # And where a later stage may need what it left elsewhere.
    (folder / "c").unlink()
    assert works.run(folder) == ["a", "b", "c", "c"]
    assert restored == ["a", "a"]


def test_a_stage_that_cannot_restore_what_is_lost_is_done_anew_and_so_are_those_after_it(folder):
    works = Works()
    works.stages = (works.stages[0], attrs.evolve(works.stages[1], restore=lambda _: None), works.stages[2])
    works.run(folder)
    (folder / "b").unlink()
    notes = tiny.Notes()
    assert works.run(folder, progress=notes) == ["a", "b", "c", "b", "c"]
    assert notes.notes == ["a: done before", "b: the lost files cannot be restored, so the stage is done again"]


def test_a_stage_may_name_further_outputs(folder):
    works = Works()

    def more(run):
        (run.path / "more").write_text("")
        return DataRead(digest="", rows={}, outputs=("more",))

    works.stages = (Stage(name="a", work=more, plan=plan), *works.stages[1:])
    works.run(folder)
    assert works.run(folder) == ["b", "c"]
    (folder / "more").unlink()
    assert works.run(folder) == ["b", "c", "b", "c"]


@pytest.mark.parametrize(
    ("error", "status"),
    [(KdkitError("no"), "failed"), (RuntimeError("bug"), "failed"), (Interrupted("stop"), "interrupted")],
)
def test_how_a_stage_ended_is_on_record(folder, error, status):
    def fails(_):
        raise error

    with pytest.raises(type(error)):
        Works(b=fails).run(folder)
    assert statuses(folder) == {"run": status, "a": "done", "b": status}
    works = Works()
    assert works.run(folder) == ["b", "c"]
    assert statuses(folder)["run"] == "done"


def test_ctrl_c_in_any_stage_gives_the_sentence(folder):
    import os
    import signal

    with pytest.raises(
        Interrupted, match=r"interrupted; stage b is not finished, .*; run the same command to resume"
    ) as error:
        Works(b=lambda _: os.kill(os.getpid(), signal.SIGINT)).run(folder)
    assert error.value.signal_exit_code == 130
    assert statuses(folder) == {"run": "interrupted", "a": "done", "b": "interrupted"}


def test_seconds_of_a_stage_add_up_over_tries(folder):
    import time

    def fails(_):
        time.sleep(0.05)
        raise KdkitError("no")

    for _ in range(2):
        with pytest.raises(KdkitError):
            Works(a=fails).run(folder)
    assert read_record(folder)["stages"]["a"]["seconds"] >= 0.1


def full(run) -> None:
    """What fails on a full disk."""
    raise KdkitError(f"{run.path / 'x.bin'} cannot take 5 bytes more")


def test_a_full_disk_names_the_file_that_failed_and_the_record_says_failed(folder, monkeypatch):
    """Nothing can be written any more but for what was reserved."""
    import kdkit.runs.run

    write, is_full = kdkit.runs.run.write_json, []

    def on_full_disk(path, value):
        if is_full and (folder / ".reserve").exists():
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, value)

    monkeypatch.setattr(kdkit.runs.run, "write_json", on_full_disk)
    with pytest.raises(KdkitError, match=r"x\.bin cannot take"):
        Works(b=lambda run: is_full.append(1) or full(run)).run(folder)
    assert statuses(folder) == {"run": "failed", "a": "done", "b": "failed"}
    is_full.clear()
    assert Works().run(folder) == ["b", "c"]
    assert not (folder / ".reserve").exists()


def test_where_not_even_that_can_be_written_the_file_that_failed_is_named(folder, monkeypatch):
    import kdkit.runs.run

    def refuse(*_):
        raise KdkitError("run.json cannot take 9 bytes more")

    def work(run):
        monkeypatch.setattr(kdkit.runs.run, "write_json", refuse)
        full(run)

    with pytest.raises(KdkitError, match=r"x\.bin cannot take"):
        Works(b=work).run(folder)
    monkeypatch.undo()
    assert Works().run(folder) == ["b", "c"]


@pytest.fixture
def threads():
    """Sets how many threads compute, as OMP_NUM_THREADS does for a process."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_a_run_that_goes_on_with_other_threads_says_so_and_how_to_avoid_it(folder, threads):
    threads(1)
    with pytest.raises(ZeroDivisionError):
        Works(b=lambda _: 1 / 0).run(folder)
    threads(2)
    progress = tiny.Notes()
    Works().run(folder, progress=progress)
    [said] = [note for note in progress.notes if "thread" in note]
    assert said == (
        "this run began with 1 thread and resumes with 2 threads: its weights and scores will differ in their last "
        "bits from a run that was never stopped; set OMP_NUM_THREADS=1 to avoid that"
    )
    record = read_record(folder)
    assert record["threads"] == 2
    assert {name: entry["threads"] for name, entry in record["stages"].items()} == {"a": [1], "b": [1, 2], "c": [2]}
    progress.notes.clear()
    Works().run(folder, progress=progress)
    assert not [note for note in progress.notes if "this run began with" in note]


def test_a_folder_of_another_recipe_is_refused_with_the_differences(folder):
    Works().run(folder)
    with pytest.raises(Mismatch, match="another recipe") as error:
        Works().run(folder, loss__alpha=0.25, training__max_steps=3, codec__scope="array")
    assert "  loss.alpha: 0.5 there, 0.25 in this recipe" in str(error.value)
    assert "  training.max_steps: 0 there, 3 in this recipe" in str(error.value)
    assert "temperature" not in str(error.value)
    assert "--fresh" in str(error.value)
    assert statuses(folder)["run"] == "done"


def test_a_folder_of_the_defaults_of_an_earlier_format_says_how_to_resume_it(folder):
    """What it was begun with is one line away, and its own recipe.toml resumes it, whatever the line of its format."""
    unsaid = {"training__log_every": None, "training__batch_size": None}
    table = tiny.recipe_table(folder.parent.parent / "data", **unsaid)
    then = load_recipe({"kdkit_recipe": 2, **table})

    def work(recipe):
        works = Works()
        with open_run(recipe, folder, fresh=False, progress=Silent(), plugins={}, device="cpu") as run:
            for stage in works.stages:
                do(run, stage, works.stages)
        return works.calls

    assert work(then) == ["a", "b", "c"]
    stored = folder / "recipe.toml"
    stored.write_text(stored.read_text().replace("kdkit_recipe = 3", "kdkit_recipe = 2"))
    with pytest.raises(Mismatch) as error:
        work(load_recipe(table))
    assert "  training.batch_size: 2 there, 8 in this recipe" in str(error.value)
    assert str(error.value).splitlines()[-1].startswith("Defaults have changed since: kdkit_recipe = 2 before the")
    assert work(load_recipe(stored)) == work(load_recipe({"kdkit_recipe": 2, **table})) == []
    with pytest.raises(Mismatch) as error:
        work(load_recipe({"kdkit_recipe": 2, **table, "loss": {"alpha": 0.25}}))
    assert "Defaults" not in str(error.value)


def test_a_name_or_description_makes_no_other_recipe(folder):
    Works().run(folder)
    assert Works().run(folder, description="other words") == []


def test_what_is_refused_is_refused_even_with_its_recipe_toml_spoilt(folder):
    Works().run(folder)
    (folder / "recipe.toml").write_text("[")
    with pytest.raises(Mismatch, match="another recipe"):
        check_recipe(folder, recipe_of(folder, loss__alpha=0.25))


def test_fresh_deletes_what_was_there(folder):
    Works().run(folder)
    (folder / "sub [x]").mkdir()
    (folder / "sub [x]" / "file").write_text("")
    (folder / "link").symlink_to(folder.parent)
    assert Works().run(folder, fresh=True, loss__alpha=0.25) == ["a", "b", "c"]
    assert sorted(path.name for path in folder.iterdir() if path.name != ".lock") == [
        "a",
        "b",
        "c",
        "recipe.toml",
        "run.json",
    ]


def test_a_kill_while_a_run_is_deleted_leaves_a_folder_that_can_be_deleted(folder, monkeypatch):
    import kdkit.runs.folders

    Works().run(folder)
    inner = kdkit.runs.folders.delete

    def killed(files):
        inner(list(files)[:2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(kdkit.runs.folders, "delete", killed)
        with pytest.raises(KeyboardInterrupt):
            Works().run(folder, fresh=True)
    assert Works().run(folder, fresh=True) == ["a", "b", "c"]


@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_of_something_else_is_left_alone(folder, fresh):
    folder.mkdir(parents=True)
    (folder / "thesis.doc").write_text("years of work")
    (folder / ".lock").write_text("")
    with pytest.raises(UsageError, match="is not empty and is not a run folder; name another folder with --run-dir"):
        Works().run(folder, fresh=fresh)
    assert (folder / "thesis.doc").read_text() == "years of work"


def test_a_folder_that_a_kill_left_at_the_very_start_is_taken(folder):
    folder.mkdir(parents=True)
    for name in (".lock", ".recipe.toml.tmp", ".run.json.tmp"):
        (folder / name).write_text("")
    (folder / "recipe.toml").write_text(recipe_of(folder).to_toml())
    assert Works().run(folder) == ["a", "b", "c"]


def test_a_run_that_another_process_begins_at_this_moment_is_not_a_folder_of_others(folder, monkeypatch):
    listed = Path.iterdir

    def another_runs(path):
        if path == folder and not (folder / "run.json").exists():
            with monkeypatch.context() as patch:
                patch.setattr(Path, "iterdir", listed)
                assert Works().run(folder) == ["a", "b", "c"]
        return listed(path)

    folder.mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", another_runs)
        check_folders(recipe_of(folder), folder)
    assert Works().run(folder) == []


def test_a_kill_between_the_first_two_files_leaves_a_folder_that_is_taken(folder, monkeypatch):
    import kdkit.runs.run

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(kdkit.runs.run, "write_atomically", killed)
        with pytest.raises(KeyboardInterrupt):
            Works().run(folder)
    assert Works().run(folder) == ["a", "b", "c"]


OWN = "# years of comments\n"


def own_recipe(folder, name="recipe.toml", **changes):
    """A recipe of the user's, commented, in what is to be the run folder."""
    import tomli_w

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(OWN + tomli_w.dumps(tiny.recipe_table(folder.parent.parent / "data", **changes)))
    return path


@pytest.mark.parametrize("fresh", [False, True])
def test_a_recipe_of_the_users_own_is_never_overwritten(folder, fresh):
    path = own_recipe(folder)
    before = path.read_bytes()
    with (
        pytest.raises(UsageError, match="is not empty and is not a run folder; name another folder with --run-dir"),
        open_run(load_recipe(path), folder, fresh=fresh, progress=Silent(), plugins={}, device="cpu"),
    ):
        pass
    assert path.read_bytes() == before


@pytest.mark.parametrize("fresh", [False, True])
def test_nor_is_it_where_a_run_lies_already(folder, fresh):
    Works().run(folder)
    path = own_recipe(folder)
    before = path.read_bytes()
    with (
        pytest.raises(
            UsageError, match=r"the run would overwrite .*recipe\.toml .*; name another folder with --run-dir"
        ),
        open_run(load_recipe(path), folder, fresh=fresh, progress=Silent(), plugins={}, device="cpu"),
    ):
        pass
    assert path.read_bytes() == before


def test_fresh_does_not_delete_the_recipe_that_it_is_to_run(folder):
    Works().run(folder)
    path = own_recipe(folder, "mine.toml")
    with (
        pytest.raises(UsageError, match=r"--fresh would delete the recipe .*mine\.toml; move it out of"),
        open_run(load_recipe(path), folder, fresh=True, progress=Silent(), plugins={}, device="cpu"),
    ):
        pass
    assert path.exists()
    with open_run(load_recipe(path), folder, fresh=False, progress=Silent(), plugins={}, device="cpu"):
        pass


def test_a_run_can_be_made_anew_from_its_own_recipe(folder):
    Works().run(folder)
    before = (folder / "recipe.toml").read_bytes()
    recipe = load_recipe(folder / "recipe.toml")
    with open_run(recipe, folder, fresh=True, progress=Silent(), plugins={}, device="cpu"):
        assert not (folder / "a").exists()
    assert (folder / "recipe.toml").read_bytes() == before


@pytest.mark.parametrize("name", ["cache", "cache/logits", "cache/teachers"])
def test_the_store_is_no_run_folder(folder, name, monkeypatch):
    monkeypatch.setenv("KDKIT_STORE", str(folder.parent / "cache"))
    with pytest.raises(UsageError, match="is the store that runs share; name another folder with --run-dir, or"):
        Works().run(folder.parent / name)
    assert not (folder.parent / name).exists()


def test_a_recipe_of_the_name_cache_is_told_so(folder, monkeypatch):
    monkeypatch.delenv("KDKIT_STORE", raising=False)
    with pytest.raises(UsageError, match="is the store that runs share"):
        Works().run(folder.parent / "cache")


def test_a_file_is_no_run_folder(folder):
    folder.parent.mkdir(parents=True)
    folder.write_text("")
    with pytest.raises(UsageError, match="is a file; name another folder with --run-dir"):
        Works().run(folder)


def test_a_folder_in_use_is_refused(folder):
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"), pytest.raises(UsageError, match="another kdkit process works in"):
        Works().run(folder)
    assert Works().run(folder) == ["a", "b", "c"]


def test_so_it_is_where_the_file_system_has_no_locks(folder, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with opened(folder), pytest.raises(UsageError, match=r"works in .*tiny, as .*/\.lock\.held says: process \d+ of"):
        Works().run(folder)
    (folder / "run.json").unlink()
    (folder / ".lock.held").write_text("")  # a process was killed at its start
    with pytest.raises(UsageError, match=r"\.lock\.held says; delete that file if no such process is left; wait for"):
        Works().run(folder)
    (folder / ".lock.held").unlink()
    assert Works().run(folder) == ["a", "b", "c"]


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "{}", '{"name": "a", "recipe_digest": "b"}', '"stages"'])
def test_a_damaged_record_says_to_start_anew_which_works(folder, content):
    Works().run(folder)
    (folder / "run.json").write_text(content)
    with pytest.raises(DamagedData, match=r"run\.json is damaged .*; run with --fresh to start from scratch") as error:
        Works().run(folder)
    assert "\n" not in str(error.value)
    assert Works().run(folder, fresh=True) == ["a", "b", "c"]


def test_the_store_is_the_recipes_or_the_environments_or_beside_the_run(folder, monkeypatch, tmp_path):
    monkeypatch.delenv("KDKIT_STORE", raising=False)
    assert store_of("", folder) == folder.parent / "cache"
    monkeypatch.setenv("KDKIT_STORE", str(tmp_path / "env"))
    assert store_of("", folder) == tmp_path / "env"
    assert store_of(str(tmp_path / "own"), folder) == tmp_path / "own"


def test_runs_in_two_threads_of_one_process_take_turns(tmp_path):
    entered, leave, said = threading.Event(), threading.Event(), tiny.Notes()
    order = []

    def first():
        with opened(tmp_path / "runs" / "first"):
            entered.set()
            leave.wait(30)
            order.append("first is done")

    def second():
        with opened(tmp_path / "runs" / "second", progress=said):
            order.append("second begins")

    threads = [threading.Thread(target=work) for work in (first, second)]
    threads[0].start()
    assert entered.wait(30)
    threads[1].start()
    threads[1].join(0.3)
    assert threads[1].is_alive()
    leave.set()
    for thread in threads:
        thread.join(30)
    assert order == ["first is done", "second begins"]
    assert "another thread of this process has a run open; waiting for it" in said.notes


def test_a_folder_that_leads_out_of_itself_is_refused_before_anything_is_written(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    folder.mkdir(parents=True)
    Works().run(folder)
    (folder / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"checkpoints is a link to .*elsewhere, outside"):
        Works().run(folder)
    assert Works().run(folder, fresh=True) == ["a", "b", "c"]
    assert (tmp_path / "elsewhere").is_dir()


def test_a_run_folder_may_itself_be_a_link_to_another_disk(folder, tmp_path):
    (tmp_path / "disk").mkdir()
    folder.parent.mkdir(parents=True)
    folder.symlink_to(tmp_path / "disk")
    assert Works().run(folder) == ["a", "b", "c"]
    assert (tmp_path / "disk" / "run.json").exists()
