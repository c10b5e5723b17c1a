"""Caches at URLs: what comes out of a mirror is what was put there, whatever the file system does meanwhile."""

from __future__ import annotations

import errno
import json
import shutil
import threading
from io import BytesIO
from pathlib import Path

import attrs
import fsspec
import pytest
import tiny
from cache_kit import block, fill, identity, key, shards, temporaries
from click.testing import CliRunner
from fitted_codec import MeanCodec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdkit.builtin.codecs.u8_lz4 import U8LZ4
from kdkit.cli.cache import command
from kdkit.errors import DamagedData, KdkitError, Mismatch, MissingInput, UsageError
from kdkit.logits.cache import CacheWriter, LogitCache, Manifest, open_cache, read_manifest, verify
from kdkit.logits.cache.payloads import MappedFiles, SoughtFiles
from kdkit.logits.cache.remote.contents import verify_remote
from kdkit.logits.cache.remote.mirror import mirror_of
from kdkit.logits.cache.remote.transfer import fetch, mirrored, push
from kdkit.recipe import load_recipe
from kdkit.store import logits_of, store_of
from kdkit.system.url import RemoteFolder, is_url

URL = "shaky://store/logits/x"


class ShakyFile(BytesIO):
    """What is written is there at once: a write that fails leaves half a file."""

    def __init__(self, fs, path, mode):
        super().__init__(b"" if "w" in mode else fs.files[path])
        self.fs, self.path, self.writing = fs, path, "w" in mode
        if self.writing:
            fs.files[path] = b""

    def read(self, *arguments):
        self.fs.called("read", self.path)
        return super().read(*arguments)

    def write(self, raw):
        half = len(raw) // 2
        super().write(raw[:half])
        self.fs.files[self.path] = self.getvalue()
        self.fs.called("write", self.path)
        super().write(raw[half:])
        self.fs.files[self.path] = self.getvalue()
        return len(raw)


class Shaky(fsspec.AbstractFileSystem):
    """A file system of which the Nth call fails; its files are a table."""

    protocol = "shaky"
    cachable = False
    files: dict[str, bytes] = {}  # noqa: RUF012 - shared by all instances, as a server's files are
    calls: list[tuple[str, str]] = []  # noqa: RUF012 - the same
    fails_at = 0
    error: BaseException = OSError(errno.EIO, "the cable is loose")
    before = staticmethod(lambda what, path: None)

    def called(self, what, path):
        Shaky.before(what, path)
        Shaky.calls.append((what, path))
        if len(Shaky.calls) == Shaky.fails_at:
            raise Shaky.error

    def ls(self, path, detail=True, **kwargs):
        path = self._strip_protocol(path)
        self.called("ls", path)
        below = {
            name.removeprefix(f"{path}/").partition("/")[::2] for name in self.files if name.startswith(f"{path}/")
        }
        if not below:
            raise FileNotFoundError(path)
        entries = [
            {
                "name": f"{path}/{name}",
                "type": "directory" if rest else "file",
                "size": 0 if rest else len(self.files[f"{path}/{name}"]),
            }
            for name, rest in sorted(below)
        ]
        return entries if detail else [entry["name"] for entry in entries]

    def info(self, path, **kwargs):
        path = self._strip_protocol(path)
        self.called("info", path)
        if path in self.files:
            return {"name": path, "type": "file", "size": len(self.files[path])}
        if any(name.startswith(f"{path}/") for name in self.files):
            return {"name": path, "type": "directory", "size": 0}
        raise FileNotFoundError(path)

    def _open(self, path, mode="rb", **kwargs):
        self.called("open", path)
        if "r" in mode and path not in self.files:
            raise FileNotFoundError(path)
        return ShakyFile(self, path, mode)

    def cp_file(self, path1, path2, **kwargs):
        path1, path2 = self._strip_protocol(path1), self._strip_protocol(path2)
        self.called("copy", path2)
        self.files[path2] = self.files[path1]

    def _rm(self, path):
        self.called("remove", path)
        del self.files[path]

    def makedirs(self, path, exist_ok=False):
        self.called("makedirs", path)


@pytest.fixture(autouse=True)
def _file_systems(tmp_path, monkeypatch):
    monkeypatch.setenv("KDKIT_MIRROR", str(tmp_path / "mirrors"))
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # no test here cuts the power, and this takes most time
    fsspec.register_implementation("shaky", Shaky, clobber=True)
    steady()
    Shaky.files.clear()
    fsspec.filesystem("memory").store.clear()


def steady():
    Shaky.calls.clear()
    Shaky.fails_at = 0
    Shaky.before = staticmethod(lambda what, path: None)


def shaking(call, error):
    steady()
    Shaky.fails_at, Shaky.error = call, error


def sentence_of(work):
    """The message of the error that it ends with; "" if it ends well."""
    try:
        work()
    except KdkitError as error:
        return str(error)
    return ""


def remote_files(url=URL):
    prefix = url.removeprefix("shaky://") + "/"
    return {name.removeprefix(prefix): raw for name, raw in Shaky.files.items() if name.startswith(prefix)}


def remote_path(name):
    return f"{URL.removeprefix('shaky://')}/{name}"


def shard_names(url=URL):
    return sorted(name for name in remote_files(url) if name.startswith("shard-"))


def check(place, numbers):
    cache = open_cache(place, identity())
    assert set(cache) == {key(number) for number in numbers}
    for number in numbers:
        assert cache.get(key(number)) == (U8LZ4().encode(block(number)), number % 5)
    return cache


def check_remote_is_consistent():
    """A manifest, if there is one, names only what is there, whole."""
    files = remote_files()
    if "manifest.json" in files:
        for entry in Manifest.from_bytes(files["manifest.json"]).shards:
            assert len(files[entry.file]) == entry.size
        assert verify_remote(URL) == []


ERRORS = [OSError(errno.EIO, "the cable is loose"), RuntimeError("<Code>SlowDown</Code>"), TimeoutError()]


@pytest.mark.parametrize("place", ["memory://bucket/some/where", URL, "file"])
def test_what_was_captured_into_a_url_comes_back(tmp_path, monkeypatch, place):
    url = (tmp_path / "there" / "x").as_uri() if place == "file" else place
    with mirrored(url, identity()) as folder:
        fill(folder, range(12))
    assert len(shards(folder)) > 1
    check(url, range(12))
    monkeypatch.setenv("KDKIT_MIRROR", str(tmp_path / "another machine"))
    cache = check(url, range(12))
    assert cache.folder.is_relative_to(tmp_path / "another machine")
    with mirrored(f"{url}/", identity()) as folder:
        assert fill(folder, range(20)) == list(range(12, 20))
    monkeypatch.setenv("KDKIT_MIRROR", str(tmp_path / "mirrors"))
    check(url, range(20))


def test_a_mirror_is_read_through_few_maps_and_a_folder_by_seeking(tmp_path):
    with mirrored(URL, identity()) as folder:
        fill(folder, range(40), shard_bytes=1)
    cache = open_cache(URL)
    files = cache._files
    assert isinstance(files, MappedFiles)
    few = MappedFiles(at_most=3)
    object.__setattr__(cache, "_files", few)
    assert [cache.get(key(number)) for number in range(40)] == [
        (U8LZ4().encode(block(number)), number % 5) for number in range(40)
    ]
    assert len(few._maps) == 3
    fill(tmp_path / "folder", range(3))
    assert isinstance(LogitCache.open(tmp_path / "folder")._files, SoughtFiles)


def test_a_second_open_fetches_the_manifest_alone(tmp_path):
    with mirrored(URL, identity()) as folder:
        fill(folder, range(12))
    shutil.rmtree(folder)
    open_cache(URL)
    first = {path for what, path in Shaky.calls if what == "open"}
    assert {remote_path(name) for name in shard_names()} <= first
    steady()
    open_cache(URL)
    assert {path for what, path in Shaky.calls} == {remote_path("manifest.json")}


def test_only_what_is_new_is_fetched_and_only_what_is_new_is_brought(tmp_path):
    with mirrored(URL, identity()) as folder:
        fill(folder, range(6))
    old = set(shard_names())
    steady()
    with mirrored(URL, identity()):
        fill(folder, range(12))
    new = set(shard_names()) - old
    assert new
    written = {path for what, path in Shaky.calls if what == "copy"}
    assert written == {remote_path(name) for name in {*new, "manifest.json"}}
    (folder / next(iter(new))).unlink()
    steady()
    check(URL, range(12))
    assert {path for what, path in Shaky.calls if what == "read"} == {
        remote_path(name) for name in ("manifest.json", next(iter(new)))
    }


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_fetch_of_which_any_call_fails_leaves_nothing_half_and_the_next_succeeds(tmp_path, error):
    with mirrored(URL, identity()) as folder:
        fill(folder, range(6), shard_bytes=200)
    whole = remote_files()
    assert len(shards(folder)) > 2
    failed = 0
    for call in range(1, 200):
        shutil.rmtree(folder)
        shaking(call, error)
        said = sentence_of(lambda: fetch(URL))
        if said:
            failed += 1
            assert URL in said
            assert "\n" not in said
            assert not (folder / "manifest.json").exists()
            for path in shards(folder):
                assert path.read_bytes() == whole[path.name]
        else:
            assert read_manifest(folder).to_bytes() == whole["manifest.json"]
        reached = len(Shaky.calls) >= call
        assert not temporaries(folder)
        assert {path.name for path in folder.parent.iterdir()} <= {folder.name}
        steady()
        if call % 5 == 0 or not reached:
            check(URL, range(6))
        folder.mkdir(parents=True, exist_ok=True)
        if not reached:
            break
    assert not reached
    assert failed > 8


@pytest.mark.parametrize("error", ERRORS[:2], ids=repr)
@pytest.mark.parametrize("before", [0, 4])
def test_a_push_of_which_any_call_fails_leaves_a_whole_cache_there_and_the_next_succeeds(tmp_path, error, before):
    if before:
        fill(tmp_path / "old", range(before))
        push(tmp_path / "old", URL)
    start = dict(Shaky.files)
    fill(tmp_path / "new", range(8))
    failed = 0
    for call in range(1, 400):
        Shaky.files.clear()
        Shaky.files.update(start)
        folder = tmp_path / str(call)
        shutil.copytree(tmp_path / "new", folder)
        shaking(call, error)
        said = sentence_of(lambda: push(folder, URL))  # noqa: B023 - called at once
        if said:
            failed += 1
            assert URL in said
        reached = len(Shaky.calls) >= call
        steady()
        check_remote_is_consistent()
        if before:
            assert "manifest.json" in remote_files()
        assert verify(folder) == []
        assert {key(number) for number in range(8)} <= set(LogitCache.open(folder))
        push(folder, URL)
        check_remote_is_consistent()
        assert {entry.file for entry in read_manifest(folder).shards} == set(shard_names())
        if not reached:
            break
    assert not reached
    assert failed > 15
    check(URL, range(8))


def test_where_an_object_is_whole_or_not_there_it_is_written_once(tmp_path):
    class Store(Shaky):
        protocol = ("shaky-store", "s3")

    fsspec.register_implementation("shaky-store", Store, clobber=True)
    fill(tmp_path, range(6))
    push(tmp_path, "shaky-store://shop/x")
    written = [path for what, path in Shaky.calls if what == "write"]
    assert set(written) == {name for name in Shaky.files if name.startswith("shop/")}
    assert not [what for what, _ in Shaky.calls if what in {"copy", "remove"}]


def test_a_file_system_that_says_nothing_is_given_up():
    over = threading.Event()
    Shaky.before = staticmethod(lambda what, path: over.wait(20))
    with pytest.raises(KdkitError, match=r"shaky://store/logits/x/manifest.json cannot be read: .* silent for 0.05 s"):
        RemoteFolder.at(URL, patience=0.05).read("manifest.json", 10)
    over.set()


@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_damage_at_a_url_is_refused_and_leaves_the_mirror_clean(tmp_path, data):
    Shaky.files.clear()
    shutil.rmtree(tmp_path / "mirrors", ignore_errors=True)
    with mirrored(URL, identity()) as folder:
        fill(folder, range(6))
    shutil.rmtree(folder)
    name = data.draw(st.sampled_from([*shard_names(), "manifest.json"]))
    raw = bytearray(Shaky.files[remote_path(name)])
    kind = data.draw(st.sampled_from(["flipped", "cut", "longer"]))
    place = data.draw(st.integers(0, len(raw) - 1))
    if kind == "flipped":
        raw[place] ^= 1 << data.draw(st.integers(0, 7))
    Shaky.files[remote_path(name)] = bytes(raw[:place] if kind == "cut" else raw + b"x" * (kind == "longer"))
    with pytest.raises(DamagedData, match=f"{URL}/{name}"):
        open_cache(URL)
    assert not (folder / "manifest.json").exists()
    assert not (folder / name).exists()
    assert [fault.file for fault in verify_remote(URL)][:1] == [name]


def test_damage_at_a_url_names_shard_and_record(tmp_path):
    with mirrored(URL, identity()) as folder:
        fill(folder, range(9), shard_bytes=10**6)
    (name,) = shard_names()
    payload = U8LZ4().encode(block(4))
    raw = bytearray(Shaky.files[remote_path(name)])
    raw[raw.index(payload) + 20] ^= 4
    Shaky.files[remote_path(name)] = bytes(raw)
    shutil.rmtree(folder)
    with pytest.raises(DamagedData, match=rf"{URL}/{name} record 4: .*`kdkit cache verify {URL}`") as raised:
        open_cache(URL)
    assert raised.value.exit_code == 4
    assert [(fault.file, fault.record) for fault in verify_remote(URL)] == [(name, 4)]


def test_a_shard_that_is_deleted_there_is_brought_again_by_who_has_it(tmp_path):
    with mirrored(URL, identity()) as folder:
        fill(folder, range(9))
    whole = remote_files()
    del Shaky.files[remote_path(shard_names()[0])]
    assert [fault.what for fault in verify_remote(URL)] == ["the file is missing"]
    with mirrored(URL, identity()):
        pass
    assert remote_files() == whole
    shutil.rmtree(folder)
    del Shaky.files[remote_path(shard_names()[0])]
    with pytest.raises(DamagedData, match=r"shard-\d+\.safetensors: the file is missing"):
        fetch(URL)


def test_a_damaged_mirror_is_mended_by_the_next_open():
    with mirrored(URL, identity()) as folder:
        fill(folder, range(9))
    for place in (-1, 30, 300):
        path = shards(folder)[0]
        raw = bytearray(path.read_bytes())
        raw[place] ^= 1
        path.unlink()
        path.write_bytes(raw[:1000])
        check(URL, range(9))
    (folder / "manifest.json").write_bytes(b"{}")
    check(URL, range(9))


def test_damaged_records_are_not_brought_to_a_url(tmp_path):
    fill(tmp_path, range(9), shard_bytes=10**6)
    (path,) = shards(tmp_path)
    raw = bytearray(path.read_bytes())
    raw[raw.index(U8LZ4().encode(block(4))) + 20] ^= 4
    path.write_bytes(raw)
    with pytest.raises(DamagedData, match="record 4"):
        push(tmp_path, URL)
    assert remote_files() == {}


def test_a_cache_of_something_else_is_refused_with_both_names(tmp_path):
    fill(tmp_path / "one", range(3))
    fill(tmp_path / "two", range(3), teacher="f" * 64, teacher_name="other-teacher")
    push(tmp_path / "one", URL)
    before = remote_files()
    with pytest.raises(Mismatch, match=rf"{URL} .*big-teacher.*other-teacher"):
        push(tmp_path / "two", URL)
    other = identity(teacher="f" * 64, teacher_name="other-teacher")
    with pytest.raises(Mismatch, match=rf"{URL} .*big-teacher.*other-teacher"):
        open_cache(URL, other)
    with pytest.raises(Mismatch, match=rf"{URL} .*big-teacher.*other-teacher"), mirrored(URL, other):
        pass
    assert remote_files() == before


def test_no_cache_and_no_file_system_are_said_to_be_so(tmp_path):
    with pytest.raises(MissingInput, match=f"no logit cache at {URL}"):
        open_cache(URL)
    for url in ("nonsense://x/y", "shaky+nonsense://x"):
        with pytest.raises(UsageError, match=rf"{url.replace('+', '.')} cannot be reached"):
            open_cache(url)
    assert not (tmp_path / "mirrors").exists()


def test_a_path_is_no_url():
    assert is_url("s3://bucket/x")
    assert is_url("simplecache::s3://bucket/x")
    for text in ("runs/cache", "c:\\caches", "c://caches", "/a/b://c", "", Path("s3://bucket")):
        assert not is_url(text)


def test_what_was_captured_before_an_error_is_kept_and_brought_the_next_time():
    class Stop(Exception):
        pass

    def stopped():
        with mirrored(URL, identity()) as folder:
            fill(folder, range(6), finish=False)
            raise Stop

    with pytest.raises(Stop):
        stopped()
    assert remote_files() == {}
    with mirrored(URL, identity()) as folder:
        assert fill(folder, range(8)) == [6, 7]
    check(URL, range(8))


def test_what_two_machines_captured_is_joined_without_a_record_twice(tmp_path, monkeypatch):
    for machine, numbers in (("a", range(10)), ("b", range(5, 15)), ("c", range(15))):
        monkeypatch.setenv("KDKIT_MIRROR", str(tmp_path / machine))
        fill(mirror_of(URL, identity()), numbers, shard_bytes=800)
        (mirror_of(URL, identity()) / ".url").write_text(URL)
    for machine in "abc":
        monkeypatch.setenv("KDKIT_MIRROR", str(tmp_path / machine))
        push(mirror_of(URL, identity()), URL)
        assert verify_remote(URL) == []
    for machine in "abcd":
        monkeypatch.setenv("KDKIT_MIRROR", str(tmp_path / machine))
        folder = check(URL, range(15)).folder
        assert verify(folder) == []
        assert len(shards(folder)) == len(shard_names())


def test_the_same_records_captured_on_two_machines_are_one_file(tmp_path, monkeypatch):
    for machine in "ab":
        monkeypatch.setenv("KDKIT_MIRROR", str(tmp_path / machine))
        fill(mirror_of(URL, identity()), range(10))
        (mirror_of(URL, identity()) / ".url").write_text(URL)
    for machine in "ab":
        monkeypatch.setenv("KDKIT_MIRROR", str(tmp_path / machine))
        push(mirror_of(URL, identity()), URL)
        check(URL, range(10))
        assert len(shards(mirror_of(URL, identity()))) == len(shard_names())


def test_another_push_in_the_middle_of_ours_loses_nothing(tmp_path, monkeypatch):
    fill(tmp_path / "theirs", range(20, 26))
    folder = mirror_of(URL, identity())
    busy = []

    def interfere(what, path):
        if what == "makedirs" and not busy:
            busy.append(path)
            push(tmp_path / "theirs", URL)

    with mirrored(URL, identity()):
        fill(folder, range(6))
        Shaky.before = staticmethod(interfere)
    assert busy
    check(URL, [*range(6), *range(20, 26)])
    assert verify_remote(URL) == []


@given(
    steps=st.lists(
        st.tuples(st.sampled_from("ab"), st.sets(st.integers(0, 12), max_size=5), st.integers(0, 60)), max_size=4
    )
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_fails_when_two_machines_capture_all_is_there_in_the_end(tmp_path_factory, steps):
    """Each step: a machine captures some records, and one call of the file system fails."""
    Shaky.files.clear()
    home = tmp_path_factory.mktemp("machines")
    captured: set[int] = set()

    def capture(numbers):
        with mirrored(URL, identity()) as folder:
            fill(folder, numbers)
            captured.update(numbers)

    with pytest.MonkeyPatch.context() as patch:
        for machine, numbers, call in [*steps, ("a", {0}, 0), ("b", {0}, 0)]:
            patch.setenv("KDKIT_MIRROR", str(home / machine))
            shaking(call, ERRORS[call % 2])
            said = sentence_of(lambda: capture(numbers))  # noqa: B023 - called at once
            assert said == "" or URL in said
            steady()
            check_remote_is_consistent()
        patch.setenv("KDKIT_MIRROR", str(home / "c"))
        check(URL, captured)


def test_states_travel_with_the_shards_that_need_them(tmp_path, monkeypatch):
    owner = attrs.evolve(identity(MeanCodec()), codec="mean")
    with mirrored(URL, owner) as folder, CacheWriter(folder, owner, MeanCodec(), 600) as writer:
        writer.learn(MeanCodec().fit([block(3), block(4)]))
        for number in range(6):
            writer.add_block(key(number), block(number))
        writer.finish()
    (state,) = (name for name in remote_files() if name.startswith("state-"))
    monkeypatch.setenv("KDKIT_MIRROR", str(tmp_path / "another machine"))
    cache = open_cache(URL, owner, codec=MeanCodec())
    assert cache.decode(key(4)).shape == (4, 40)
    shutil.rmtree(cache.folder)
    raw = Shaky.files[remote_path(state)]
    Shaky.files[remote_path(state)] = raw[:-1] + bytes([raw[-1] ^ 1])
    with pytest.raises(DamagedData, match=f"{URL}/{state}"):
        open_cache(URL)
    assert [fault.file for fault in verify_remote(URL)] == [state]
    assert not list(cache.folder.glob("state-*"))


def run(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_info_and_verify_take_a_url(tmp_path):
    for name, numbers in (("one", range(5)), ("two", range(7))):
        fill(tmp_path / name, numbers)
        push(tmp_path / name, f"shaky://store/logits/{name}")
    facts = json.loads(run("info", "--json", "shaky://store/logits/one/").output)
    assert (facts["folder"], facts["state"], facts["records"]) == ("shaky://store/logits/one", "finished", 5)
    assert [line.split(": ")[0] for line in run("info", "shaky://store").output.splitlines()] == [
        "shaky://store/logits/one",
        "shaky://store/logits/two",
    ]
    assert run("verify", "shaky://store/logits/two").output.startswith("ok: 7 records, 11 tokens")
    del Shaky.files[f"store/logits/two/{shard_names('shaky://store/logits/two')[0]}"]
    result = run("verify", "shaky://store")
    assert "shaky://store/logits/one: ok: 5 records" in result.output
    assert "shaky://store/logits/two: shard-00000.safetensors: the file is missing" in result.output
    assert isinstance(result.exception, DamagedData)
    assert "shaky://store" in str(result.exception)
    assert isinstance(run("info", "shaky://elsewhere").exception, MissingInput)


@pytest.mark.slow
def test_a_run_whose_cache_is_at_a_url_keeps_its_logits_there(tmp_path, monkeypatch):
    tiny.model(tiny.T5).save(tmp_path / "m", texts={})
    changes = {
        "teacher": {"name": "hf-seq2seq", "model": str(tmp_path / "m")},
        "store__dir": "memory://bucket/store",
        "evaluation__rows": 2,
        "training__validation_rows": 2,
        "training__epochs": 1,
        "train": 16,
        **tiny.NO_TEXTS,
    }
    facts = {}
    for name in ("one", "two"):
        monkeypatch.setenv("KDKIT_MIRROR", str(tmp_path / "mirrors" / name))
        tiny.run_here(tmp_path, name, **changes)
        record = json.loads((tmp_path / "runs" / name / "run.json").read_text())
        facts[name] = record["stages"]["capture"]["facts"]
    one, two = facts["one"], facts["two"]
    assert (one["reused"], two["reused"]) == (False, True)
    assert one["url"] == two["url"]
    assert one["url"].startswith("memory://bucket/store/logits/")
    assert Path(two["cache"]).is_relative_to(tmp_path / "mirrors" / "two")
    assert len(open_cache(two["url"])) == one["records"] == two["records"]
    assert not (tmp_path / "runs" / "cache" / "logits").exists()
    # A mirror that is deleted is filled from the URL when a later stage is done again.
    shutil.rmtree(tmp_path / "mirrors" / "two")
    (tmp_path / "runs" / "two" / "evaluation.json").unlink()
    tiny.run_here(tmp_path, "two", **changes)
    assert (Path(two["cache"]) / "manifest.json").exists()


@pytest.mark.parametrize(
    ("named", "environment", "store", "logits"),
    [
        ("", "", "runs/cache", "runs/cache/logits"),
        ("here", "", "here", "here/logits"),
        ("here", "memory://x", "here", "here/logits"),
        ("", "memory://x/", "runs/cache", "memory://x/logits"),
        ("memory://x", "", "runs/cache", "memory://x/logits"),
        ("memory://x", "there", "there", "memory://x/logits"),
        ("memory://x", "memory://y", "runs/cache", "memory://x/logits"),
    ],
)
def test_a_url_is_for_logits_and_the_rest_of_the_store_stays_local(
    tmp_path, monkeypatch, named, environment, store, logits
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDKIT_STORE", environment)
    recipe = load_recipe(tiny.recipe_table(tmp_path, store__dir=named))
    found = store_of(recipe.store.dir, Path("runs/one"))
    assert found.absolute() == tmp_path / store
    place = logits_of(recipe.store.dir, found)
    assert place == logits if isinstance(place, str) else place.absolute() == tmp_path / logits


def test_a_url_that_no_file_system_serves_is_refused_before_anything_is_done(tmp_path):
    with pytest.raises(UsageError, match="nonsense://x/logits cannot be reached"):
        tiny.run_here(tmp_path, "one", store__dir="nonsense://x")
    assert not (tmp_path / "runs").exists()


def fill_cache(folder, codec=None):
    """A finished cache of nine records; with the small codec that learns where one is given."""
    if codec is None:
        fill(folder, range(9))
        return folder
    owner = attrs.evolve(identity(codec), codec="mean")
    with CacheWriter(folder, owner, codec, 600) as writer:
        writer.learn(codec.fit([block(3), block(4)]))
        for number in range(9):
            writer.add_block(key(number), block(number))
        writer.finish()
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ("merge", "file:///there", "b"),
        ("merge", "out", "b", "file:///there"),
        ("repair", "memory://x"),
        ("convert", "s3://x/y", "out", "--codec", "float"),
        ("convert", "x", "s3://x/y", "--codec", "float"),
        ("push", "s3://x/y", "memory://y"),
    ],
)
def test_a_url_where_only_a_folder_goes_is_refused_and_leaves_nothing(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    error = run(*arguments).exception
    assert isinstance(error, UsageError)
    assert "is a URL, but this command needs a folder; fetch the cache with `kdkit cache fetch URL`" in str(error)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", ["payload", "manifest.json", "state"])
def test_damage_at_a_url_is_mended_from_a_whole_copy(tmp_path, part):
    codec = MeanCodec() if part == "state" else None
    own = fill_cache(tmp_path / "cache", codec)
    push(own, URL)
    whole = remote_files()
    name = next(name for name in sorted(whole) if name.startswith({"payload": "shard"}.get(part, part)))
    raw = bytearray(whole[name])
    raw[len(raw) - 30] ^= 4
    Shaky.files[remote_path(name)] = bytes(raw)
    refused = run("verify", URL).exception
    assert isinstance(refused, DamagedData)
    assert f"`kdkit cache push FOLDER {URL} --mend`" in str(refused)
    result = run("push", own, URL, "--mend", "--json")
    assert result.exception is None
    assert json.loads(result.stdout)["url"] == URL
    assert remote_files() == whole


def test_mending_touches_nothing_that_is_whole(tmp_path):
    own = fill_cache(tmp_path / "cache")
    push(own, URL)
    steady()
    push(own, URL, mend=True)
    assert not {what for what, _ in Shaky.calls} & {"makedirs", "copy", "remove"}


def test_a_folder_without_a_cache_is_not_made_by_pushing_it(tmp_path):
    assert isinstance(run("push", tmp_path / "none", URL).exception, MissingInput)
    assert not (tmp_path / "none").exists()


def test_a_fetch_prints_the_folder(tmp_path):
    push(fill_cache(tmp_path / "cache"), URL)
    folder = run("fetch", URL).stdout.strip()
    check(folder, range(9))
    assert isinstance(run("fetch", tmp_path).exception, UsageError)
    assert isinstance(run("push", folder, tmp_path).exception, UsageError)


@pytest.mark.parametrize("at_url", [False, True])
def test_info_counts_what_the_codec_learnt(tmp_path, at_url):
    own = fill_cache(tmp_path / "cache", MeanCodec())
    push(own, URL)
    place = URL if at_url else own
    size = sum(path.stat().st_size for path in own.glob("state-*.safetensors"))
    assert json.loads(run("info", place, "--json").stdout)["state_bytes"] == size > 0
    assert f"state_bytes:     {size:,}" in run("info", place).output.splitlines()
