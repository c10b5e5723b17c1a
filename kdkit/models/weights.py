"""The weight files of a model's folder that the loader reads, and the digest that stands for them.

A folder may hold more files than the loader reads: an adapter, an optimizer, a second format, an older save. So the
files are found once, here, by the loader's own rules; the digest is of exactly these, and the loader is shown exactly
these, so that it cannot take others.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from safetensors import SafetensorError, safe_open

from kdkit.errors import DamagedData, Mismatch, MissingInput, UsageError
from kdkit.system.files import link_or_copy, make_folder, size_text
from kdkit.system.parsing import parse_json
from kdkit.system.reading import open_regular, read_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

FETCH_AGAIN = "download that folder again or, if a run made it, delete it and run again"
SINGLE_OR_INDEX = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""The files that transformers looks for in a folder; it takes the first that exists."""
CONFIGURATIONS = ("config.json", "generation_config.json")
_NUMBERS_IN_A_BYTE, _MADE_UP = 4, 2**26
"""The most parameters that a byte of a file can hold; and how many need not be in a file."""
_SETTLED_NS = 10 * 10**9
"""A file's times are trusted only after so long: a second write just after the first may have the same times."""
VOLATILE = ("_name_or_path", "transformers_version", "architectures", "torch_dtype", "dtype", "use_cache")


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The files that hold a model's weights, in the order in which they are loaded.

    By the rules of transformers: the file that config.json names (`transformers_weights`), else one safetensors file,
    else those that its index names, else the same of PyTorch's own format.

    Raises:
        MissingInput: The folder holds none of them, or lacks one that its index names.
        DamagedData: The index or config.json cannot be read.
        UsageError: A file that is named lies outside the folder.
    """
    return _found(folder)[1]


def check_weights(folder: Path) -> None:
    """Refuse a folder whose weight files do not open; reads their headers only.

    Raises:
        MissingInput: There are none, or one is missing.
        DamagedData: One does not open.
    """
    for file in weight_files(folder):
        if file.suffix == ".safetensors":
            try:
                with safe_open(file, "np"):
                    pass
            except SafetensorError as error:
                raise DamagedData(f"the weights of {folder} are damaged ({error}); {FETCH_AGAIN}") from error


def check_enough(folder: Path, parameters: int) -> None:
    """Refuse a model of far more parameters than the weight files can hold: transformers makes up what they lack.

    Raises:
        UsageError: It is.
    """
    held = sum(file.stat().st_size for file in weight_files(folder))
    if parameters > _NUMBERS_IN_A_BYTE * held + _MADE_UP:
        raise UsageError(
            f"the config.json of {folder} describes a model of {parameters:,} parameters, but the weights "
            f"there have {size_text(held)}, so they belong to another model; {FETCH_AGAIN}"
        )


def weights_digest(folder: Path) -> str:
    """SHA-256 of what determines a model's logits: the weight files that are loaded, and its configuration.

    Loads nothing. A process that asks again reads the files again only if they may have changed.

    Raises:
        MissingInput: The folder holds no weights.
    """
    stamps = _stamps(folder)
    newest = max(each.changed_ns for each in stamps)
    if time.time_ns() - newest < _SETTLED_NS:
        return _digest_of(folder)
    return _digest_at(folder, stamps)


@lru_cache(maxsize=16)
def _digest_at(folder: Path, _stamps: tuple[_Stamp, ...]) -> str:
    return _digest_of(folder)


def _digest_of(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in weight_files(folder):
        with open_regular(file) as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    kept = {key: value for key, value in read_table(folder / "config.json").items() if key not in VOLATILE}
    digest.update(json.dumps(kept, sort_keys=True).encode())
    return digest.hexdigest()


@contextmanager
def nothing_else(folder: Path) -> Iterator[Path]:
    """A folder with only a model's weight files and configurations, for the loader; removed after the block.

    Its files are links, so nothing is copied (where there are no symbolic links, hard links or copies). Without it the
    loader would add an adapter (`adapter_config.json`), or prefer a distributed checkpoint, and the digest would stand
    for other weights.
    """
    chosen, files = _found(folder)
    with tempfile.TemporaryDirectory(prefix="kdkit-model-") as name:
        shown = Path(name)
        own = [folder / each for each in CONFIGURATIONS if (folder / each).is_file()]
        for file in {chosen, *files, *own}:
            link = shown / file.relative_to(folder)
            make_folder(link.parent)
            _show(file, link)
        yield shown


@contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """Refuse a model that the block read if the files of its folder were replaced meanwhile.

    Raises:
        Mismatch: They were: what was loaded and the digest that stands for it may be of two models.
    """
    before = _stamps(folder)
    yield
    if _stamps(folder) != before:
        raise Mismatch(f"the model in {folder} changed while it was read; run again when no other program writes there")


def read_table(path: Path) -> dict[str, Any]:
    """A JSON file that holds a table: a configuration or an index.

    Raises:
        MissingInput: It is not there.
        DamagedData: It is something else.
    """
    try:
        table = parse_json(read_bytes(path))  # whose tokenizers have lengths beyond 64 bits
    except FileNotFoundError as error:
        raise MissingInput(f"{path.parent} is not a model folder: {path.name} is missing there") from error
    except ValueError as error:
        raise DamagedData(f"{path} is not JSON ({error}); {FETCH_AGAIN}") from error
    if not isinstance(table, dict):
        raise DamagedData(f"{path} does not hold a table; {FETCH_AGAIN}")
    return table


def _found(folder: Path) -> tuple[Path, tuple[Path, ...]]:
    """The file that the loader begins with, and those that hold the weights: itself, or those of the index."""
    named = read_table(folder / "config.json").get("transformers_weights")
    if named is not None:
        chosen = _inside(folder, named, of="config.json")
        if not chosen.is_file():
            raise MissingInput(f"{folder} lacks {named}, which its config.json names as its weights; {FETCH_AGAIN}")
    else:
        there = (folder / name for name in SINGLE_OR_INDEX)
        first = next((path for path in there if path.is_file()), None)
        if first is None:
            raise MissingInput(
                f"{folder} has no weights: neither {' nor '.join(SINGLE_OR_INDEX)} is there{_instead(folder)}"
            )
        chosen = first
    if chosen.suffix != ".json":
        return chosen, (chosen,)
    parts = read_table(chosen).get("weight_map")
    if not isinstance(parts, dict) or not parts or not all(isinstance(part, str) for part in parts.values()):
        raise DamagedData(f"{chosen} does not say which files hold the weights (weight_map); {FETCH_AGAIN}")
    files = tuple(_inside(folder, part, of=chosen.name) for part in sorted(set(parts.values())))
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise MissingInput(
            f"{folder} lacks {missing[0].relative_to(folder)}, which its {chosen.name} names; {FETCH_AGAIN}"
        )
    return chosen, files


class _Stamp(NamedTuple):
    """How a changed or replaced file is recognised."""

    path: str
    inode: int
    size: int
    written_ns: int
    changed_ns: int


def _stamps(folder: Path) -> tuple[_Stamp, ...]:
    files = [*weight_files(folder), *(folder / each for each in CONFIGURATIONS if (folder / each).is_file())]
    stats = [(file, file.stat()) for file in files]
    return tuple(
        _Stamp(str(file), stat.st_ino, stat.st_size, stat.st_mtime_ns, max(stat.st_mtime_ns, stat.st_ctime_ns))
        for file, stat in stats
    )


def _inside(folder: Path, name: object, *, of: str) -> Path:
    """A file that a model's folder names, as long as it lies in the folder."""
    if not isinstance(name, str) or not name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise UsageError(f"{folder / of} names {name!r} as a weight file, which is not in that folder")
    return folder / name


def _instead(folder: Path) -> str:
    """A hint about files in a folder that look like weights but are not."""
    other = sorted(file.name for pattern in ("*.safetensors", "*.bin") for file in folder.glob(pattern))
    if (folder / "adapter_config.json").is_file():
        return "; it holds an adapter: merge the adapter into its base model, save that, and give its folder"
    return f" (it holds {other[0]}, which transformers does not look for)" if other else ""


def _show(file: Path, link: Path) -> None:
    whole = file.resolve()
    try:
        link.symlink_to(whole)
    except OSError:  # Windows without the right to make symbolic links
        link_or_copy(whole, link)
