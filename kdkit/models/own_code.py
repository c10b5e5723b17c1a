"""Refuses folders of models that ask for code of their own, which kdkit never fetches or runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdkit.errors import UsageError
from kdkit.models.weights import read_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def refuse_own_code(folder: Path, *files: str) -> None:
    """Say that a folder which cannot be opened asks for Python code of its own, if it does.

    A folder that transformers has a class for is opened with that class, whatever code lies beside it.
    """
    for name in files:
        path = folder / name
        if path.is_file() and "auto_map" in read_table(path):
            raise UsageError(
                f"{path} asks for Python code that comes with the model (auto_map), which kdkit never runs; "
                "use a model whose type transformers knows, or register its classes with transformers in a "
                "plugin"
            )


def refuse_kernels(folder: Path) -> None:
    """Refuse a configuration that names code of the hub to compute with: transformers would fetch and run it."""

    def kernels(value: Any, *, of: str = "") -> Iterator[str]:
        if isinstance(value, dict):
            for key, each in value.items():
                yield from kernels(each, of=key if str(key).strip("_").endswith("_implementation") else of)
        elif isinstance(value, str) and of and "/" in value:
            yield value

    path = folder / "config.json"
    for name in kernels(read_table(path)):
        raise UsageError(
            f"{path} asks for the kernel {name!r}, code that kdkit does not fetch or run; delete that field"
        )
