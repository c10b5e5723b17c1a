"""Log-probabilities of another tool, opened by what lies there: a file or a folder of one of the known formats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.data.guests.distillkit import COLUMNS, DistillKitParquet
from kdkit.data.guests.distillkit_codec import CONFIG
from kdkit.data.guests.llama_cpp import MAGIC, LlamaCppBase
from kdkit.data.guests.megatron import MegatronTars
from kdkit.data.guests.parquet import OWN, PlainParquet
from kdkit.data.guests.tables import columns_of
from kdkit.errors import MissingInput, UsageError
from kdkit.system.files import naming
from kdkit.system.reading import open_regular

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kdkit.data.guests.guest import Guest

KNOWN = (
    "Parquet with ids and log-probabilities, DistillKit's Parquet, Megatron-LM's tars, and a --kl-divergence-base file "
    "of llama.cpp"
)
_PARQUET = b"PAR1"


def files_of(place: Path) -> list[Path]:
    """The files of log-probabilities at a place, in order: itself, or the Parquet files or tars of a folder.

    Raises:
        MissingInput: Nothing is there.
        UsageError: The folder holds none, or both kinds.
    """
    if not place.is_dir():
        if not place.exists():
            raise MissingInput(f"{place} does not exist; set teacher.logits to the file or folder of log-probabilities")
        return [place]
    tables, tars = (sorted(place.glob(f"*.{ending}"), key=_numbered) for ending in ("parquet", "tar"))
    if bool(tables) == bool(tars):
        what = "both Parquet files and tars" if tables else "neither Parquet files nor tars"
        raise UsageError(f"{place} holds {what}; kdkit reads {KNOWN}")
    return tables or tars


def open_guest(place: Path, *, about: str, ids: Path | None, begin: int | None) -> Guest:
    """Open log-probabilities; reads heads only.

    Args:
        place: A file or a folder.
        about: Which token a position of plain Parquet is about.
        ids: Where the sequences' ids are, for tars, which have none.
        begin: The tokenizer's beginning-of-text token, if it has one.

    Raises:
        MissingInput: Nothing is there, or something that is needed to read it.
        UsageError: It is of none of the known formats.
        DamagedData: It is cut or damaged.
    """
    files = files_of(place)
    if files[0].suffix == ".tar":
        _refuse_unread(place, "Megatron's tars", about=about, ids=None)
        return MegatronTars.of(files, ids)
    with naming(files[0]), open_regular(files[0]) as stream:
        beginning = stream.read(len(MAGIC))
    if beginning == MAGIC:
        _refuse_unread(place, "a --kl-divergence-base file of llama.cpp", about=about, ids=ids)
        return LlamaCppBase.of(files[0], begin=begin)
    if not beginning.startswith(_PARQUET):
        raise UsageError(f"{files[0]} is of no format that kdkit knows; it reads {KNOWN}")
    folder = place if place.is_dir() else place.parent
    if set(COLUMNS) <= set(columns_of(files[0])) or (folder / CONFIG).exists():
        _refuse_unread(place, "DistillKit's Parquet", about=about, ids=ids)
        return DistillKitParquet.of(folder, files)
    _refuse_unread(place, "Parquet with ids and log-probabilities", about=OWN, ids=ids)
    return PlainParquet.of(files, about)


def _refuse_unread(place: Path, what: str, *, about: str, ids: Path | None) -> None:
    """Refuse an option that has no effect on files of a format."""
    for name, has_effect in (("about", about == OWN), ("ids", ids is None)):
        if not has_effect:
            raise UsageError(f"teacher.{name} is set, but it has no effect on {what}, which {place} is; leave it out")


def digested(place: Path, ids: Path | None) -> Sequence[Path]:
    """The files whose bytes the log-probabilities depend on, in order."""
    files = files_of(place)
    folder = place if place.is_dir() else place.parent
    configuration = [folder / CONFIG] if (folder / CONFIG).exists() else []
    return [*files, *configuration, *([ids] if ids is not None else [])]


def _numbered(path: Path) -> tuple[int, str]:
    """`data_10.parquet` after `data_9.parquet`."""
    return len(path.name), path.name
