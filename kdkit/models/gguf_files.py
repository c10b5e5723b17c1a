"""Models in GGUF files: converted once to folders that transformers reads, and found again by the file's content.

A file of 90 MB takes a minute to read, its folder of safetensors two seconds. The folder holds the weights in float32
whatever their coding in the file, so that they are what the file says (see `kdkit.models.kept_folders`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdkit.errors import DamagedData, UsageError
from kdkit.models.auto import auto_of
from kdkit.models.kept_folders import content_of, kept
from kdkit.models.quiet import quiet
from kdkit.system.files import disk_full, sync_tree
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
    return kept([content_of(file), _FORMAT], lambda folder: _convert(file, folder))


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


def licence_of(file: Path) -> str:
    """The licence that a GGUF file names; empty where it names none.

    Raises:
        UsageError: The package gguf is not installed.
        DamagedData: It is not a GGUF file, or is cut.
    """
    return _said(file, "general.license")


def _architecture(file: Path) -> str:
    """What a GGUF file says of its model, once its header and the places of its tensors are found to be sound."""
    return _said(file, "general.architecture")


def _said(file: Path, key: str) -> str:
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise UsageError(
            f"{file} is a GGUF file, and reading one needs the package gguf, which is not installed: pip install gguf"
        ) from error
    try:
        found = GGUFReader(file).fields.get(key)
        return "" if found is None else str(found.contents())
    except Exception as error:
        raise DamagedData(f"{file} cannot be read as a GGUF file ({first_line(error)}); fetch it again") from error
