"""Which files generated code may read where Landlock can say so: all but those of a few places that hold secrets.

Hidden are the user's home, the working folder, the temporary folder and a few of the system's. Of a hidden place, what
Python imports stays open: its own folders, and the modules and packages that lie there.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kdkit_assertions import landlock
from kdkit_assertions.landlock import Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_OF_THE_SYSTEM = ("/run", "/dev/shm", "/var/tmp")  # noqa: S108 - they are hidden, not used
_NEVER_HIDDEN = frozenset({"usr", "lib", "lib64", "bin", "sbin", "etc"})
_FOLDERS_OF_PYTHON = ("bin", "lib", "lib64", "include", "share", "pyvenv.cfg")
_PACKAGES = ("site-packages", "dist-packages")
_MODULES = (".py", ".so", ".pyd", ".pth", ".dist-info", ".egg-info", ".egg-link", ".egg", ".zip")
_MOST = 256  # in a folder with more beside a hidden place, all are hidden: they are other people's


def hidden_places() -> list[str]:
    """What is hidden, as the process that starts workers sees it."""
    named = [os.path.expanduser("~"), os.getcwd(), tempfile.gettempdir(), *_OF_THE_SYSTEM]  # noqa: PTH109, PTH111
    if sys.platform != "win32":
        import pwd

        with suppress(KeyError):  # a user without a name, as containers have them
            named.append(pwd.getpwuid(os.getuid()).pw_dir)
    return sorted({os.path.realpath(name) for name in named if name})


def readable_places(hidden: Iterable[str], *, own_processes: bool, own: Path) -> list[Place]:
    """What may be read, open to be named in rules; nothing where there is no Landlock to name it to.

    Args:
        hidden: Files and folders that are not.
        own_processes: Whether `/proc` shows only processes that may be seen; otherwise it is hidden, but for what is
            not of a process.
        own: The worker's folder.
    """
    if not landlock.version():
        return []
    closed = {Path(name) for name in hidden}
    closed = {path for path in closed if len(path.parts) > 1 and path.parts[1] not in _NEVER_HIDDEN}
    opened = [*_around(closed if own_processes else closed | {Path("/proc")}), own]
    if not own_processes:
        opened += [path for path in _children(Path("/proc")) if not path.name.isdigit()]
    places = [place for path in dict.fromkeys(opened) for place in _open(path)]
    covered = {str(path) for path in opened}
    for path in _of_python():
        if covered.isdisjoint((str(path), *map(str, path.parents))):
            covered.add(str(path))
            places += _open(path)
    return places


def _open(path: Path) -> Iterator[Place]:
    try:
        yield Place.open(path)
    except OSError:  # it has gone, or is closed to this user as it is
        return


def _around(closed: set[Path], folder: Path = Path("/")) -> Iterator[Path]:
    """The largest files and folders that hold none that is closed; links count as what they lead to, and so do not."""
    children = _children(folder)
    on_the_way = [child for child in children if any(place.is_relative_to(child) for place in closed)]
    if len(children) <= _MOST:
        yield from (child for child in children if child not in on_the_way)
    for child in on_the_way:
        if child not in closed:
            yield from _around(closed, child)


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(child for child in folder.iterdir() if not child.is_symlink())
    except OSError:
        return []


def _of_python() -> Iterator[Path]:
    """Where Python's own files, libraries, and all that can be imported lie."""
    prefixes = sorted({*map(os.path.realpath, (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix))})
    yield from (Path(prefix, name) for prefix in prefixes for name in _FOLDERS_OF_PYTHON)
    named = [*sysconfig.get_paths().values(), *os.environ.get("LD_LIBRARY_PATH", "").split(":")]
    yield from (Path(path) for path in map(os.path.realpath, filter(None, named)) if path not in prefixes)
    for name in filter(None, sys.path):
        yield from _importable(Path(os.path.realpath(name)))
    for module in list(sys.modules.values()):
        yield from _files_of(module)


def _importable(entry: Path) -> Iterator[Path]:
    """Of an entry of `sys.path`, which may be the home itself, what can be imported: no notes, keys or data."""
    if _is_file(entry) or entry.name in _PACKAGES:
        yield entry
        return
    for child in _children(entry):
        if child.suffix in _MODULES or _is_file(child / "__init__.py"):
            yield child


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _files_of(module: object) -> Iterator[Path]:
    """Where a module that was imported lies, and what a finder of an editable installation leads to."""
    name, file = str(getattr(module, "__name__", "")), getattr(module, "__file__", None)
    if name.startswith("__editable___"):
        yield from (Path(os.path.realpath(str(path))) for path in getattr(module, "MAPPING", {}).values())
    if "." in name or not isinstance(file, str):
        return
    path = Path(os.path.realpath(file))
    yield path.parent if path.name.startswith("__init__.") else path
