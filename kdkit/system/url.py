"""A folder at a URL, through fsspec; every error of its file system becomes one sentence with the URL."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs

from kdkit.errors import KdkitError, MissingInput, UsageError
from kdkit.system.files import FULL_DISK, disk_full

T = TypeVar("T")
Note = Callable[[str], None]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(::[A-Za-z0-9+.-]+)*://.*", re.ASCII | re.DOTALL)
_ONE_SLASH = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/+[^/]", re.ASCII)
# Stores in which an object is there whole or not at all; elsewhere a file is moved to its name when it is whole.
_WHOLE = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "hf"}


def is_url(text: object) -> bool:
    """Whether it names a place through a scheme, such as `s3://bucket/x`; a drive such as `c:` is none."""
    return isinstance(text, str) and _URL.fullmatch(text) is not None


def is_meant_as_url(place: str | Path) -> bool:
    """Whether a path was meant as a URL: `file:/x`, or what is left of `s3://bucket/x` once it is read as a path."""
    return _ONE_SLASH.match(str(place)) is not None and not Path(place).parents[-2].exists()


@attrs.frozen(kw_only=True)
class RemoteFolder:
    """A folder at a URL.

    Attributes:
        url: Where it is, without a slash at its end.
        patience: Seconds without a sign of life after which the file system is given up.
    """

    url: str
    patience: float
    _fs: Any
    _root: str

    @classmethod
    def at(cls, url: str, *, patience: float = 300.0) -> RemoteFolder:
        """The folder at a URL; nothing is asked of it yet.

        Raises:
            UsageError: No file system that is installed serves the URL.
        """
        import fsspec

        try:
            fs, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise UsageError(
                f"{url} cannot be reached from here ({_reason(error)}); install the fsspec package for "
                "it, or give another URL"
            ) from error
        except Exception as error:
            raise KdkitError(f"{url} cannot be reached: {_reason(error)}; correct that and run again") from error
        return cls(url=url.rstrip("/"), patience=patience, fs=fs, root=str(root).rstrip("/"))

    def __truediv__(self, name: str) -> RemoteFolder:
        """A folder in it."""
        return attrs.evolve(self, url=f"{self.url}/{name}", root=f"{self._root}/{name}")

    def sizes(self) -> dict[str, int]:
        """Name and bytes of every file in it; none if it is not there.

        Raises:
            KdkitError: The file system fails.
        """

        def listed(_alive: Callable[[], None]) -> list[dict[str, Any]]:
            self._fs.invalidate_cache()
            found: list[dict[str, Any]] = self._fs.ls(self._root, detail=True)
            return found

        try:
            entries = self._watched("listed", self.url, listed)
        except FileNotFoundError:
            return {}
        return {_name(entry["name"]): int(entry["size"] or 0) for entry in entries if entry["type"] == "file"}

    def folders_with(self, *patterns: re.Pattern[str]) -> list[str]:
        """The URLs of the folders, itself or below it, that hold a file whose name matches.

        Raises:
            KdkitError: The file system fails.
        """

        def found(_alive: Callable[[], None]) -> list[str]:
            self._fs.invalidate_cache()
            paths: list[str] = self._fs.find(self._root)
            return paths

        try:
            paths = self._watched("searched", self.url, found)
        except FileNotFoundError:
            return []
        matching = [path for path in paths if any(pattern.fullmatch(_name(path)) for pattern in patterns)]
        below = {str(path).rpartition("/")[0].removeprefix(self._root).strip("/") for path in matching}
        return sorted(f"{self.url}/{folder}" if folder else self.url for folder in below)

    def stamp(self, name: str) -> str | None:
        """A text that is another once a file has changed, as far as its file system can tell; None if it is not there.

        Raises:
            KdkitError: The file system fails.
        """

        def asked(_alive: Callable[[], None]) -> str:
            self._fs.invalidate_cache()
            return str(self._fs.ukey(f"{self._root}/{name}"))

        try:
            return self._watched("read", f"{self.url}/{name}", asked)
        except FileNotFoundError:
            return None

    def read(self, name: str, end: int) -> bytes | None:
        """The first bytes of a file; None if it is not there.

        Raises:
            KdkitError: The file system fails.
        """

        def start(_alive: Callable[[], None]) -> bytes:
            raw: bytes = self._fs.cat_file(f"{self._root}/{name}", start=0, end=end)
            return raw

        try:
            return self._watched("read", f"{self.url}/{name}", start)
        except FileNotFoundError:
            return None

    def download(self, name: str, path: Path) -> None:
        """Copy a file of it to a path.

        Raises:
            MissingInput: It is not there.
            KdkitError: The file system fails, or the disk is full.
        """

        def get(alive: Callable[[], None]) -> None:
            self._fs.get_file(f"{self._root}/{name}", str(path), callback=_pulse(alive))

        try:
            with disk_full(path, 0):
                self._watched("read", f"{self.url}/{name}", get, local=FULL_DISK)
        except FileNotFoundError as error:
            raise MissingInput(f"{self.url}/{name} is missing") from error

    def upload(self, path: Path, name: str) -> None:
        """Copy a file to a name in it; there it is whole or not at all, as far as its file system can.

        Raises:
            KdkitError: The file system fails.
        """
        protocols = {self._fs.protocol} if isinstance(self._fs.protocol, str) else set(self._fs.protocol)
        final = f"{self._root}/{name}"
        temporary = final if protocols & _WHOLE else f"{self._root}/.{name}.tmp"

        def put(alive: Callable[[], None]) -> None:
            if temporary != final:
                self._fs.makedirs(self._root, exist_ok=True)
            self._fs.put_file(str(path), temporary, callback=_pulse(alive))
            if temporary != final:
                self._fs.mv(temporary, final)

        try:
            self._watched("written", f"{self.url}/{name}", put)
        except FileNotFoundError as error:
            raise KdkitError(
                f"{self.url}/{name} cannot be written: {_reason(error)}; correct that and run again"
            ) from error

    def _watched(
        self, verb: str, url: str, work: Callable[[Callable[[], None]], T], *, local: tuple[int, ...] = ()
    ) -> T:
        """Run work on the file system in its own thread, which can be abandoned if it hangs; returns its result.

        Args:
            verb: What is done, for the message.
            url: To what.
            work: Does it, and calls what it is given at every sign of life.
            local: Numbers of system errors that are not the file system's, and pass as they are.
        """
        results: list[T] = []
        errors: list[BaseException] = []
        seen = [time.monotonic()]

        def run() -> None:
            try:
                results.append(work(lambda: seen.append(time.monotonic())))
            except BaseException as error:  # noqa: BLE001 - it is raised again below, in the caller's thread
                errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(max(0.01, seen[-1] + self.patience - time.monotonic()))
            if thread.is_alive() and time.monotonic() - seen[-1] > self.patience:
                raise KdkitError(
                    f"{url} cannot be {verb}: its file system has been silent for {self.patience:g} s; "
                    "finished files are kept, so run again when it answers"
                )
            del seen[:-1]
        if not errors:
            return results[0]
        error = errors[0]
        ours = isinstance(error, (FileNotFoundError, KdkitError)) or getattr(error, "errno", None) in local
        if ours or not isinstance(error, Exception):
            raise error
        raise KdkitError(
            f"{url} cannot be {verb}: {_reason(error)}; finished files are kept, so correct that and run again"
        ) from error


def _name(path: str) -> str:
    return str(path).rstrip("/").rpartition("/")[2]


def _reason(error: BaseException) -> str:
    """The text of an error, on one line; its class if it has no text."""
    said = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _pulse(alive: Callable[[], None]) -> Any:
    """A callback of fsspec that passes on every sign of life."""
    from fsspec.callbacks import Callback

    class Pulse(Callback):  # type: ignore[misc]  # fsspec carries no types
        def call(self, hook_name: str | None = None, **kwargs: Any) -> None:  # noqa: ARG002 - fsspec's signature
            alive()

    return Pulse()
