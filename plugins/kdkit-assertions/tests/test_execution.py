"""The `execution` suite: whatever a text does in its process, it says the truth about its own row and nothing of others."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
import time
from collections import defaultdict
from pathlib import Path

import attrs
import pytest

from kdkit.api import Example
from kdkit.errors import KdkitError, Mismatch
from kdkit.testing import check_metrics
from kdkit_assertions import mining, row_pool
from kdkit_assertions.execution import METRICS, Execution
from kdkit_assertions.mining import find_package, parse
from kdkit_assertions.python_tests import PythonTests

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the suite needs fork")

PACKAGE = "kdkit_tested"
TESTS = """
import os
import signal
import socket
import subprocess
import sys
import time
import unittest

import pytest

LIMIT = 3


def f(x):
    return x + 1


def stop():
    sys.exit(0)


def errno_of(call):
    try:
        call()
    except OSError as error:
        return error.errno


def test_plain():
    x = 2
    assert f(x) == 3
    y = f(x) + 1
    assert y > LIMIT and isinstance(y, int)
    with pytest.raises(TypeError):
        f(None)
    assert callable(f) == True


def test_truth_does_not_hold():
    assert f(1) == 1


@pytest.mark.parametrize(("x", "y"), [(1, 2), pytest.param(2, 3), (3, 4)])
@pytest.mark.parametrize("z", [0, 1])
def test_cases(x, y, z):
    assert f(x) + z == y + z


def test_fixture(tmp_path):
    assert f(1) == 2


def test_skipped():
    pytest.skip("never here")
    assert f(2) == 3


def test_not_reached():
    if LIMIT > 5:
        assert f(3) == 4


class TestClass:
    @classmethod
    def setup_class(cls):
        cls.one = 1

    def setup_method(self, method):
        self.two = 2

    def test_set_up(self):
        assert self.one + self.two == LIMIT


class TestOld(unittest.TestCase):
    def setUp(self):
        self.four = 4

    def test_call(self):
        self.assertEqual(self.four, 4)
        self.assertAlmostEqual(self.four / 3, 1.3333, places=3)

    def test_other(self):
        raise KeyError
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A package whose tests can be mined and imported."""
    folder = tmp_path_factory.mktemp("tested")
    (folder / PACKAGE / "tests").mkdir(parents=True)
    (folder / PACKAGE / "__init__.py").write_text("")
    (folder / PACKAGE / "tests" / "__init__.py").write_text("")
    (folder / PACKAGE / "tests" / "test_all.py").write_text(TESTS)
    (folder / PACKAGE / "tests" / "test_broken.py").write_text(
        "import nothing_of_the_kind\ndef test_a():\n    assert 1 + 1 == 2\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield find_package(PACKAGE)


def rows_of(package, task):
    """Every row of the package's tests, by the test's name."""
    maker = PythonTests(packages=(package.name,), task=task)._maker(package)
    found = defaultdict(list)
    for source in package.tests:
        parsed = parse(source)
        begun = maker.module(parsed)
        for test in mining.tests_of(parsed):
            for row in begun.rows(test, {}):
                found[row.meta["test"]].append(row)
    return found


@pytest.fixture(scope="module")
def oracles(package):
    return rows_of(package, "oracle")


@pytest.fixture(scope="module")
def assertions(package):
    return rows_of(package, "assertion")


def scored(pairs, **options):
    """The verdict of each row and text, and all values."""
    examples = [example for example, _ in pairs]
    suite = Execution(allow_execution=True, **{"time_limit": 5.0, "workers": 1, **options})
    found = suite.score([text for _, text in pairs], [example.target for example in examples], examples)
    assert list(found) == list(METRICS)
    verdicts = [
        next(name for name in ("holds", "fails", "does_not_run") if found[name][row]) for row in range(len(pairs))
    ]
    return verdicts, found


def lines(*parts):
    return "\n".join(parts)


def test_the_suite_is_refused_unless_it_is_allowed():
    with pytest.raises(ValueError, match="allow_execution = true"):
        Execution()


def test_true_assertions_hold_as_far_as_their_tests_can_be_run(oracles):
    rows = [row for of_test in oracles.values() for row in of_test]
    _, found = scored([(row, row.target) for row in rows])
    said = dict(
        zip(
            [row.id.partition("::")[2] for row in rows],
            zip(found["truth_holds"], found["not_runnable"], strict=True),
            strict=True,
        )
    )
    assert said == {
        **{f"test_plain#{number}": (1.0, 0.0) for number in range(5)},
        "test_truth_does_not_hold#0": (0.0, 0.0),
        "test_cases#0": (1.0, 0.0),
        "test_fixture#0": (0.0, 1.0),
        "test_skipped#0": (0.0, 1.0),
        "test_not_reached#0": (0.0, 1.0),
        "TestClass.test_set_up#0": (1.0, 0.0),
        "TestOld.test_call#0": (1.0, 0.0),
        "TestOld.test_call#1": (1.0, 0.0),
        "test_a#0": (0.0, 1.0),
    }
    assert found["holds"] == found["truth_holds"]
    assert [value for value in found["holds_of_runnable"] if value is not None] == [1.0] * 9


def test_generated_oracles_are_judged_by_running_them(oracles):
    expected = {
        ("test_plain", 0): {"== 3.0": "holds", "> 2": "holds", "is true": "holds", "== 4": "fails", "is false": "fails",
                            "raises ValueError": "fails", "isinstance int": "holds", "not isinstance int": "fails",
                            "== approx(3.0000001)": "holds", "== approx(3.1)": "fails", "in (3, 4)": "holds",
                            "== undefined": "does_not_run", "== (": "does_not_run", "": "does_not_run",
                            "+ 1": "does_not_run", "== 4 or True": "does_not_run", "== 4) or (True": "does_not_run",
                            "== 4\nx = 1": "does_not_run", "warns UserWarning": "fails"},
        ("test_plain", 2): {"isinstance (int, str)": "holds", "== 5": "fails"},
        ("test_plain", 3): {"raises Exception": "holds", "raises ValueError": "does_not_run", "== 3": "does_not_run"},
        ("test_cases", 0): {"== x + z + 1": "holds", "== 2": "fails"},
        ("test_fixture", 0): {"== 2 ": "does_not_run"},
        ("TestOld.test_call", 0): {"== 2 + 2": "holds", "!= 4": "fails", "is not None": "holds"},
        ("TestOld.test_call", 1): {"== approx(1.33331)": "holds", "== approx(1.4)": "fails"},
    }  # fmt: skip
    wanted = [
        (oracles[test][number], text, verdict)
        for (test, number), texts in expected.items()
        for text, verdict in texts.items()
    ]
    verdicts, _ = scored([(row, text) for row, text, _ in wanted])
    assert {(row.id, text): verdict for (row, text, _), verdict in zip(wanted, verdicts, strict=True)} == {
        (row.id, text): verdict for row, text, verdict in wanted
    }


def test_generated_assertions_take_the_places_of_the_masked_ones(assertions):
    plain = assertions["test_plain"][0]
    first, second, third, fourth = plain.target.split("\n")
    texts = {
        lines("assert f(x) in (3,)", second, "with pytest.raises(Exception):  # any", fourth): "holds",
        lines(first, "assert y == 5", third, fourth): "fails",
        lines(first, second, "with pytest.raises(ValueError):", fourth): "does_not_run",
        lines(first, second, third): "does_not_run",
        lines(first, second, fourth, third): "does_not_run",
        lines(first, "x = 1", third, fourth): "does_not_run",
        lines(first, "assert True; x = 1", third, fourth): "does_not_run",
        "pass": "does_not_run",
        "": "does_not_run",
    }
    verdicts, found = scored([(plain, text) for text in texts])
    assert dict(zip(texts, verdicts, strict=True)) == texts
    assert set(found["truth_holds"]) == {1.0}


HOSTILE = {
    "exits": "== sys.exit(0)",
    "exits at once": "== os._exit(0)",
    "raises SystemExit": "== stop()",
    "raises KeyboardInterrupt": "== exec('raise KeyboardInterrupt')",
    "loops": "== [1 for _ in iter(int, 1)]",
    "sleeps": "== time.sleep(60)",
    "takes memory": "== len(bytearray(10 ** 10))",
    "ends the interpreter": "== os.abort()",
    "reads where there is nothing": "== __import__('ctypes').string_at(0)",
    "stops itself": "== os.kill(os.getpid(), signal.SIGSTOP)",
    "closes everything": "== os.closerange(0, 300)",
    "opens a socket": "== socket.socket()",
    "opens the socket module's own": "== __import__('_socket').socket()",
    "resolves a name": "== socket.getaddrinfo('localhost', 80)",
    "claims the place": "== print('holds')",
}  # fmt: skip


def test_no_text_breaks_anything_or_counts_as_more_than_it_did(oracles):
    row = oracles["test_plain"][0]
    report = "b''.join([b'\\n', b'0' * 32, b' holds\\n'])"
    texts = {
        **HOSTILE,
        "ends the worker": "== os.kill(os.getppid(), signal.SIGKILL)",
        "writes to what is open": f"== [os.write(fd, {report}) for fd in range(1, 20) if not os.system('true')]",
        "nests too deep": "== " + "(" * 5000 + ")" * 5000,
        "leaves children": "== [os.fork() or time.sleep(60) for _ in range(3)]",
        "leaves them in sessions": "== [os.fork() or (os.setsid(), time.sleep(60)) for _ in range(3)]",
    }
    started = time.monotonic()
    verdicts, found = scored([(row, text) for text in texts.values()], time_limit=0.5, memory_mb=256, workers=2)
    assert set(zip(texts, verdicts, strict=True)) <= {
        (name, verdict) for name in texts for verdict in ("fails", "does_not_run")
    }
    said = dict(zip(texts, verdicts, strict=True))
    for name in ("exits", "exits at once", "raises SystemExit", "raises KeyboardInterrupt", "ends the interpreter", "loops", "takes memory", "opens a socket",
                 "opens the socket module's own", "resolves a name", "nests too deep"):  # fmt: skip
        assert said[name] == "does_not_run", name
    assert set(found["truth_holds"]) == {1.0}
    assert time.monotonic() - started < 60


def test_what_a_text_changes_is_changed_for_it_alone(oracles):
    first, second = oracles["test_plain"][:2]
    changes = [
        "== setattr(__import__('builtins'), 'AssertionError', ValueError)",
        "== setattr(__import__('builtins'), 'isinstance', lambda *_: True)",
        "== [setattr(os, '_exit', print), setattr(os, 'write', print)]",
        "== globals().__setitem__('f', lambda x: 4)",
        "== globals().__setitem__('LIMIT', 400)",
        "== [setattr(__import__('kdkit_assertions.' + name, fromlist=['x']), 'verdict_of', lambda e: 'holds') for name in ('calling', 'row_worker')][5:]",
        "== sys.setrecursionlimit(60)",
        "== signal.signal(signal.SIGALRM, print) and signal.setitimer(signal.ITIMER_REAL, 1e-6)",
    ]
    verdicts, found = scored([pair for text in changes for pair in ((first, text), (second, "> 3 "))])
    assert verdicts[::2][:6] == ["fails"] * 6  # whatever it says to the contrary
    assert verdicts[1::2] == ["holds"] * len(changes)
    assert set(found["truth_holds"]) == {1.0}


def test_files_are_written_and_deleted_in_a_folder_that_goes(oracles, tmp_path):
    row = oracles["test_plain"][0]
    kept = tmp_path / "kept.txt"
    kept.write_text("kept")
    here = Path.cwd()
    before = sorted(here.iterdir())
    texts = {
        "== open('a.txt', 'w').write('abc')": "holds",  # three characters
        "== (__import__('shutil').rmtree(os.getcwd()) or 3)": "holds",
        "== len(os.listdir('.')) + 3": "holds",  # it is empty
        f"== 3 * os.path.samefile('.', {str(here)!r})": "fails",
        "== open('big', 'wb').write(bytes(10 ** 8))": "does_not_run",
    }
    verdicts, _ = scored([(row, text) for text in texts])
    assert dict(zip(texts, verdicts, strict=True)) == texts
    assert sorted(here.iterdir()) == before
    assert kept.read_text() == "kept"


def test_other_files_and_processes_are_out_of_reach_where_the_kernel_helps(oracles, tmp_path):
    confined = row_pool.confinement_here()
    kept = tmp_path / "kept.txt"
    kept.write_text("kept")
    there = {
        f"== os.remove({str(kept)!r})": confined.files,
        f"== open({str(kept)!r}, 'w')": confined.files,
        f"== os.truncate({str(kept)!r}, 0)": confined.files,
        f"== os.kill({os.getpid()}, 0)": confined.processes or confined.files,
        "== open('/proc/%d/mem' % os.getppid(), 'r+b')": confined.processes or confined.files,
        "== __import__('ctypes').CDLL(None).socket(2, 1, 0) and 3 + os.system('ip link set lo up')": confined.network,
    }
    texts = [text for text, is_guarded in there.items() if is_guarded]
    if not texts:
        pytest.skip("this kernel has neither namespaces nor Landlock")
    verdicts, _ = scored([(oracles["test_plain"][0], text) for text in texts])
    assert "holds" not in verdicts
    assert kept.read_text() == "kept"


def test_sockets_outside_are_out_of_reach_of_native_code(oracles, tmp_path):
    """A network namespace does not cover those that are files."""
    if not row_pool.confinement_here().system_calls:
        pytest.skip("this system has no seccomp filter of ours")
    path = tmp_path / "server"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen()
        server.setblocking(False)
        address = struct.pack("=H", socket.AF_UNIX) + bytes(path) + b"\0"
        libc = "__import__('ctypes').CDLL(None)"
        made = [f"{libc}.socket({family}, {kind}, 0)" for family in (1, 2, 10, 16, 17) for kind in (1, 2, 3)]
        texts = {
            f"== 3 + ({libc}.connect({libc}.socket(1, 1, 0), {address!r}, {len(address)}) == 0)": "holds",
            f"== 3 + sum(made >= 0 for made in [{', '.join(made)}])": "holds",
            f"== 3 + ({libc}.socketpair(1, 2, 0, bytes(8)) == 0)": "holds",  # its ends can be sent elsewhere
            f"== 3 + ({libc}.syscall(425, 8, bytes(120)) >= 0)": "holds",  # io_uring makes its own
        }
        verdicts, _ = scored([(oracles["test_plain"][0], text) for text in texts])
        assert dict(zip(texts, verdicts, strict=True)) == texts
        with pytest.raises(BlockingIOError):
            server.accept()


def test_modes_owners_times_and_attributes_outside_stay(oracles, package):
    """Landlock does not cover them."""
    if not row_pool.confinement_here().system_calls:
        pytest.skip("this system has no seccomp filter of ours")
    kept = package.tests[0].path.with_name("kept.txt")  # where it can be read
    kept.write_text("kept")
    before = kept.stat()
    name, opened = repr(str(kept)), f"os.open({str(kept)!r}, 0)"
    changes = [
        f"os.chmod({name}, 0o777)", f"os.fchmod({opened}, 0o777)", f"os.utime({name}, (1, 1))",
        f"os.utime({opened}, (1, 1))", f"os.chown({name}, os.getuid(), os.getgid())",
        f"os.fchown({opened}, os.getuid(), os.getgid())", f"os.lchown({name}, os.getuid(), os.getgid())",
        f"os.setxattr({name}, 'user.kdkit', b'x')", f"os.removexattr({name}, 'user.kdkit')",
        f"__import__('fcntl').ioctl({opened}, 0x40086602, bytes(8))",
    ]  # fmt: skip
    tried = ", ".join(f"lambda: {change}" for change in changes)
    verdicts, _ = scored([(oracles["test_plain"][0], f"== 3 + sum(errno_of(change) != 1 for change in [{tried}])")])
    assert verdicts == ["holds"]
    assert kept.stat() == before


def test_nothing_is_passed_on_of_the_environment(oracles, monkeypatch):
    monkeypatch.setenv("SOME_API_TOKEN", "secret")
    row = oracles["test_plain"][0]
    verdicts, _ = scored(
        [(row, "== 3 + ('SOME_API_TOKEN' in os.environ)"), (row, "== 3 + (os.environ['PYTHONHASHSEED'] != '0')")]
    )
    assert verdicts == ["holds", "holds"]


def command_lines():
    """Of all processes, those apart that end meanwhile."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            yield path.read_bytes()


def test_what_is_written_has_bounded_room(oracles):
    if not row_pool.confinement_here().room:
        pytest.skip("this system lets no file system be put over a folder")
    write = "lambda name: open(str(name), 'wb').write(bytes(15 * 10**6))"
    texts = {
        f"== 3 + 0 * len(list(map({write}, range(3))))": "holds",
        f"== 3 + 0 * len(list(map({write}, range(30))))": "does_not_run",
        f"== 3 + (errno_of(lambda: list(map({write}, range(30)))) != 28)": "holds",  # no space left
    }
    verdicts, _ = scored([(oracles["test_plain"][0], text) for text in texts], workers=1)
    assert dict(zip(texts, verdicts, strict=True)) == texts


def test_nothing_that_a_text_started_is_left(oracles):
    row = oracles["test_plain"][0]
    mark = f"kdkit{os.getpid()}"
    text = f"== 3 + 0 * len([subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', '{mark}'], start_new_session=True) for _ in range(2)])"
    verdicts, _ = scored([(row, text)])
    assert verdicts == ["holds"]
    if sys.platform == "linux":
        assert not [line for line in command_lines() if mark.encode() in line]


def as_if(monkeypatch, changes):
    """Workers start as on a system of another kind."""
    imported = "from kdkit_assertions import confinement, landlock, namespaces, row_worker"
    start = row_pool._START.replace(
        "from kdkit_assertions.row_worker", f"{imported}; {changes}; from kdkit_assertions.row_worker"
    )
    monkeypatch.setattr(row_pool, "_START", start)


NO_NAMESPACES = "row_worker.enter = lambda folder: namespaces.NONE"
NO_LAYER = f"{NO_NAMESPACES}; landlock.version = lambda: 0; confinement.refuse_system_calls = lambda whose: False"


def test_without_any_help_of_the_kernel_the_rest_still_holds(oracles, monkeypatch):
    as_if(monkeypatch, NO_LAYER)
    row = oracles["test_plain"][0]
    lock = "open(os.path.join(__import__('tempfile').gettempdir(), 'app.lock'), 'x').write('abc')"
    texts = {
        "== 3.0": "holds",
        "== socket.socket()": "does_not_run",
        "== os.kill(os.getppid(), signal.SIGKILL)": "does_not_run",
        "== [os.fork() or (os.setsid(), time.sleep(60)) for _ in range(3)]": "fails",
        "== 4": "fails",
        f"== {lock}": "holds",
        f"== 0 + {lock}": "holds",
        "== (__import__('shutil').rmtree(os.environ['HOME']) or 3)": "holds",
        "== 3 + 0 * len(open('/proc/%d/environ' % os.getppid(), 'rb').read())": "does_not_run",
        f"== 3 + 0 * len(open('/proc/{os.getpid()}/environ', 'rb').read())": "does_not_run",
    }
    if sys.platform == "linux":  # of root's, the kernel counts none: time ends them
        many = "[subprocess.Popen(['sleep', '60']) for _ in range(20)]"
        texts[f"== 3 + 0 * len({many}) + (time.sleep(60) or 0)"] = "does_not_run"
    verdicts, _ = scored([(row, text) for text in texts], time_limit=1.0)
    assert dict(zip(texts, verdicts, strict=True)) == texts
    notes = Execution(allow_execution=True).check([row])
    assert len(notes) == 1
    assert "cannot confine generated code" in notes[0]


@pytest.mark.skipif(sys.platform != "linux", reason="there are namespaces on Linux alone")
@pytest.mark.parametrize(
    "changes",
    [
        "namespaces.Path.write_text = row_worker.os.chroot",  # ids cannot be mapped, as root without CAP_SETFCAP
        "namespaces._TRIED = tuple(each for each in namespaces._TRIED if not each.mounts)",
        "namespaces._MOUNT_SETATTR = 9999",  # as before Linux 5.12
        "namespaces.own_processes = lambda: False",  # as in a container that hides a part of /proc
        NO_NAMESPACES,
        "confinement.sys.platform = 'darwin'",
    ],
    ids=["unmapped", "no mounts", "no read-only mounts", "no own processes", "no namespaces", "macOS"],
)
def test_rows_run_with_what_there_is(oracles, monkeypatch, changes):
    as_if(monkeypatch, changes)
    confined = row_pool.confinement_here()
    if "NONE" in changes or "darwin" in changes:
        assert confined == attrs.evolve(confined, network=False, processes=False, room=False)
    row = oracles["test_plain"][0]
    lock = "open(os.path.join(os.environ['TMPDIR'], 'app.lock'), 'x').write('abc')"
    texts = {f"== {lock}": "holds", f"== 0 + {lock}": "holds", "== os.kill(os.getpid(), 9)": "does_not_run"}
    if confined.home:
        texts[f"== 3 + 0 * len(open('/proc/{os.getpid()}/cmdline', 'rb').read())"] = "does_not_run"
    verdicts, _ = scored([(row, text) for text in texts])
    assert dict(zip(texts, verdicts, strict=True)) == texts
    monkeypatch.setattr(row_pool, "confinement_here", lambda: confined)
    lacking = [name for name, holds in attrs.asdict(confined).items() if not holds]
    (note,) = Execution(allow_execution=True).check([row]) or [""]
    assert all(f"`{name}`" in note for name in lacking) or "cannot confine generated code" in note


MANY = """
import os
import sys
import tempfile

sys.kdkit_imported = [*getattr(sys, "kdkit_imported", ()), __name__]
with open(os.path.join(tempfile.gettempdir(), __name__), "w") as file:
    file.write("abc")


def taken(name):
    with open(os.path.join(os.environ["HOME"], name), "x") as file:
        return file.write("abc")


def test_lock():
    assert taken("app.lock") == 3


def test_what_imports_left():
    assert (len(sys.kdkit_imported), sorted(os.listdir(tempfile.gettempdir()))) == (1, [__name__])
    assert taken(__name__ + "2") == 3
"""


def test_scores_do_not_depend_on_the_number_of_workers(tmp_path, monkeypatch):
    """Each row finds its folders, and Python, as the imports of its own module left them."""
    name = "kdkit_tested_many"
    (tmp_path / name / "tests").mkdir(parents=True)
    for file in ("__init__.py", "tests/__init__.py"):
        (tmp_path / name / file).touch()
    for number in range(3):
        (tmp_path / name / "tests" / f"test_{number}.py").write_text(MANY)
    monkeypatch.syspath_prepend(str(tmp_path))
    rows = [row for of_test in rows_of(find_package(name), "oracle").values() for row in of_test]
    pairs = [(row, text) for row in rows for text in (row.target, f"{row.target} ", "is not None")]
    for workers in (1, 3):
        verdicts, found = scored(pairs, workers=workers)
        assert verdicts == ["holds"] * len(pairs)
        assert set(found["truth_holds"]) == {1.0}


def test_secrets_of_the_home_are_not_read(oracles, tmp_path, monkeypatch):
    if not row_pool.confinement_here().home:
        pytest.skip("this system has no Landlock")
    home = tmp_path / "home"
    (home / ".aws").mkdir(parents=True)
    for name in (".netrc", ".aws/credentials", "notes.txt"):
        (home / name).write_text("secret")
    (home / "kdkit_module.py").write_text("VALUE = 3")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.syspath_prepend(str(home))
    monkeypatch.chdir(home)
    texts = {
        **{f"== 3 + 0 * len(open({str(home / name)!r}).read())": "does_not_run" for name in (".netrc", ".aws/credentials", "notes.txt")},
        f"== 3 + 0 * len(os.listdir({str(home)!r}))": "does_not_run",
        "== __import__('kdkit_module').VALUE": "holds",
        "== 3 + 0 * len(os.listdir('/usr'))": "holds",
        "== 3 + 0 * len(open('/proc/self/status').read())": "holds",
    }  # fmt: skip
    verdicts, _ = scored([(oracles["test_plain"][0], text) for text in texts])
    assert dict(zip(texts, verdicts, strict=True)) == texts


def test_what_no_limit_counts_is_refused(oracles):
    if not row_pool.confinement_here().system_calls:
        pytest.skip("this system has no seccomp filter of ours")
    libc = "__import__('ctypes').CDLL(None)"
    texts = {
        f"== 3 + ({libc}.shmget(0, 40 << 20, 0o1600) >= 0)": "holds",
        f"== 3 + ({libc}.msgget(0, 0o1600) >= 0) + ({libc}.semget(0, 1, 0o1600) >= 0)": "holds",
        "== 3 + (errno_of(lambda: os.memfd_create('x')) != 1)": "holds",
        f"== 3 + ({libc}.clone({libc}.getpid, bytes(9999)[-1:], 0x10000000 | 17, 0) >= 0)": "holds",
        "== 3 + subprocess.run(['true']).returncode": "holds",
    }
    verdicts, _ = scored([(oracles["test_plain"][0], text) for text in texts], memory_mb=64)
    assert dict(zip(texts, verdicts, strict=True)) == texts


def test_the_machine_and_the_versions_are_looked_at_before_a_training(oracles, monkeypatch):
    row = oracles["test_plain"][0]
    suite = Execution(allow_execution=True)
    other = Example(id=row.id, source="", target=row.target, meta={**row.meta, "package": f"{PACKAGE} 9.9"})
    with pytest.raises(Mismatch, match=f"{PACKAGE} 9.9"):
        suite.check([other])
    assert suite.check([Example(id="1", source="", target="")]) == []
    monkeypatch.setattr(row_pool, "_START", "raise OSError('no such thing here')")
    with pytest.raises(KdkitError, match="could not be started: OSError: no such thing here"):
        suite.check([row])


def test_equal_texts_and_true_ones_run_once(oracles, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "kdkit_assertions.row_pool.verdicts_of",
        lambda asks, limits, workers: asked.extend(asks) or ["holds"] * len(asks),
    )
    row = oracles["test_plain"][0]
    suite = Execution(allow_execution=True)
    for _ in range(2):
        suite.score([row.target, "== 4", "== 4", f" {row.target}"], [row.target] * 4, [row] * 4)
    assert [text for _, text in asked] == [None, "== 4"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a process has started")
def test_nothing_that_a_text_started_is_left_to_the_next_one(oracles, monkeypatch, tmp_path):
    as_if(monkeypatch, NO_LAYER)
    row, file = oracles["test_plain"][0], str(tmp_path / "pid")
    started = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)"
    leaves = f"== 3 + [os.fork() or (open({file!r}, 'w').write(str({started}.pid)), os._exit(0)), os.wait()[1]][1]"
    is_gone = f"== 3 + (errno_of(lambda: os.kill(int(open({file!r}).read()), 0)) != 3)"
    verdicts, _ = scored([(row, leaves), (row, is_gone)])
    assert verdicts == ["holds", "holds"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what memory processes take")
def test_memory_of_all_that_a_text_started_is_limited_together(oracles):
    takes = "(lambda b: [b.__setitem__(i, 1) for i in range(0, len(b), 4096)] and time.sleep(1))(bytearray(40 * 2**20))"
    texts = {
        f"== 3 + 0 * len([[os.fork() or ({takes}, os._exit(0)) for _ in range({number})], os.wait()])": verdict
        for number, verdict in {1: "holds", 6: "does_not_run"}.items()
    }
    verdicts, _ = scored([(oracles["test_plain"][0], text) for text in texts], memory_mb=96)
    assert dict(zip(texts, verdicts, strict=True)) == texts


def test_rows_of_another_version_or_file_are_refused(oracles):
    row = oracles["test_plain"][0]
    suite = Execution(allow_execution=True, workers=1)
    other = Example(id=row.id, source="", target=row.target, meta={**row.meta, "package": f"{PACKAGE} 9.9"})
    with pytest.raises(Mismatch, match=f"{PACKAGE} 9.9"):
        suite.score(["== 3"], [row.target], [other])
    moved = Example(id=row.id, source="", target=row.target, meta={**row.meta, "line": 1})
    with pytest.raises(Mismatch, match="no such assertion at line 1"):
        suite.score(["== 3"], [row.target], [moved])


def test_against_the_teacher_the_suite_says_nothing(oracles):
    row = oracles["test_plain"][0]
    assert Execution(allow_execution=True).score(["== 4"], ["== 4"], [row]) == {}


def test_rows_of_other_data_sets_do_not_count():
    with pytest.warns(
        UserWarning, match=r'"execution" can run only rows of the data set "python-tests", and there are none'
    ):
        check_metrics(Execution(allow_execution=True))


def test_less_is_better_of_what_fails_or_does_not_run_and_nothing_of_what_the_rows_are():
    assert {metric: Execution.directions.get(metric, "higher") for metric in METRICS} == {
        "holds": "higher",
        "fails": "lower",
        "does_not_run": "lower",
        "truth_holds": "neither",
        "not_runnable": "neither",
        "holds_of_runnable": "higher",
    }


def test_mined_tests_of_an_installed_package_run():
    installed = find_package("networkx")
    maker = PythonTests(packages=("networkx",), task="assertion", focal_functions=0)._maker(installed)
    parsed = parse(next(source for source in installed.tests if source.module.endswith("classes.tests.test_digraph")))
    rows = [row for test in mining.tests_of(parsed) for row in maker.module(parsed).rows(test, defaultdict(list))]
    rows = [row for row in rows if row.meta["test"].startswith("TestDiGraph.")]
    verdicts, found = scored([(row, row.target) for row in rows])
    assert rows
    assert set(verdicts) == {"holds"}
    assert found["holds"] == found["truth_holds"]
