"""Models in GGUF files: converted once to folders that transformers reads, and found again by the file's content.

A file of 90 MB takes a minute to read, its folder of safetensors two seconds. The folder holds the weights in float32
whatever their coding in the file, so that they are what the file says. It lies in `models/` of the store that
`KDKIT_STORE` names, else in the assets of the hub's own cache: it is the same for every project.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from kdkit.api.options import STORE_VARIABLE
from kdkit.errors import DamagedData, UsageError
from kdkit.models.auto import auto_of
from kdkit.models.quiet import quiet
from kdkit.system.digests import digest_of
from kdkit.system.files import disk_full, make_folder, publish, sync_tree, user_path
from kdkit.system.folders import discard_folder
from kdkit.system.locks import Lock
from kdkit.system.reading import open_regular
from kdkit.system.url import is_url
from kdkit.system.wording import first_line, plural

if TYPE_CHECKING:
    from pathlib import Path

SUFFIX = ".gguf"
_FORMAT = 1
"""Of the folders: to be raised when a conversion would give others."""


def converted(file: Path) -> Path:
    """The folder of a GGUF file's model; made if it is not there.

    Raises:
        UsageError: The package gguf is not installed, or transformers cannot convert a model of that architecture.
        DamagedData: It is not a GGUF file, or is cut.
    """
    entry = _place() / digest_of([_content(file), _FORMAT])[:32]
    if entry.is_dir():
        return entry
    make_folder(entry.parent)
    lock = Lock(entry.with_name(f".{entry.name}.lock"))
    lock.acquire()  # a large model takes longer than work under a lock should
    try:
        if not entry.is_dir():
            partial = entry.with_name(f".{entry.name}.partial")
            discard_folder(partial)  # of a process that was killed here
            _convert(file, partial)
            publish(partial, entry)
    finally:
        lock.release()
    return entry


def _place() -> Path:
    named = os.environ.get(STORE_VARIABLE, "")
    if named and not is_url(named):
        return user_path(named) / "models"
    from huggingface_hub import cached_assets_path

    return cached_assets_path("kdkit", "models")


def _content(file: Path) -> str:
    """SHA-256 of a file, which is read again only if it may have changed."""
    stat = file.stat()
    return _content_at(file, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@lru_cache(maxsize=16)
def _content_at(file: Path, *_stamp: int) -> str:
    with open_regular(file) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _convert(file: Path, folder: Path) -> None:
    architecture = _architecture(file)
    try:
        with quiet():
            model, missing = _read(file)
            tokenizer = _tokenizer(file)
    except Exception as error:
        raise UsageError(
            f"transformers cannot convert the {architecture} model in {file} ({type(error).__name__}: "
            f"{first_line(error)[:200]}); give a folder or a hub name of that model instead"
        ) from error
    if missing:
        raise UsageError(
            f"{file} lacks {plural(len(missing), 'weight')} of a {architecture} model, such as {min(missing)}; use "
            "a file with the whole model"
        )
    size = sum(weight.nbytes for weight in model.parameters())
    with quiet(), disk_full(folder, size, discards=folder):
        model.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))
        sync_tree(folder)


def _tokenizer(file: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)


def _read(file: Path) -> tuple[Any, set[str]]:
    """The model in a GGUF file, and the names of weights that the file lacks."""
    import torch
    from transformers import AutoConfig, GgufConfig

    place, name = str(file.parent), file.name
    config = AutoConfig.from_pretrained(place, gguf_file=name)
    model, found = auto_of(config).loader.from_pretrained(
        place,
        config=config,
        gguf_file=name,
        quantization_config=GgufConfig(gguf_file=name, dequantize=True),
        dtype=torch.float32,
        output_loading_info=True,
    )
    return model, set(found["missing_keys"])


def _architecture(file: Path) -> str:
    """What a GGUF file says of its model, once its header and the places of its tensors are found to be sound."""
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise UsageError(
            f"{file} is a GGUF file, and reading one needs the package gguf, which is not installed: pip install gguf"
        ) from error
    try:
        return str(GGUFReader(file).fields["general.architecture"].contents())
    except Exception as error:
        raise DamagedData(f"{file} cannot be read as a GGUF file ({first_line(error)}); fetch it again") from error
