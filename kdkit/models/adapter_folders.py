"""Folders that hold LoRA adapters alone, in peft's format: opened as the model that they and their base are together.

The sum is made once, in float32, and kept by the content of base and adapters both (see `kdkit.models.kept_folders`):
whatever depends on the model's weights depends on both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdkit.errors import MissingInput, UsageError
from kdkit.models.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS, adapters_in
from kdkit.models.auto import auto_of
from kdkit.models.kept_folders import content_of, kept
from kdkit.models.own_code import refuse_kernels
from kdkit.models.quiet import quiet
from kdkit.models.weights import (
    CONFIGURATIONS,
    SINGLE_OR_INDEX,
    check_weights,
    nothing_else,
    read_table,
    weights_digest,
)
from kdkit.system.files import copy_synced, disk_full, sync_tree
from kdkit.system.wording import first_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_, RULES = CONFIGURATIONS
_FORMAT = 1
"""Of the folders: to be raised when the same adapters would give others."""
VOCABULARIES = ("tokenizer*.json", "vocab*.json", "vocab.txt", "*.model", "*.spm", "*.tokenizer")
"""What a folder with a tokenizer has one of."""


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds adapters, and no whole model."""
    return (folder / ADAPTER_CONFIG).is_file() and not any((folder / name).is_file() for name in SINGLE_OR_INDEX)


def added_to_base(folder: Path, find: Callable[[str], Path], tokenizer_files: list[str]) -> Path:
    """The folder of the model that adapters and their base are together; made if it is not there.

    Args:
        folder: That of the adapters.
        find: Finds the folder of the base, which has weights, by the name in the adapters' configuration.
        tokenizer_files: Patterns of a tokenizer's files, which are the adapters' own, else the base's.

    Raises:
        UsageError: They are not of LoRA, do not fit the base, or do not name it; or peft is not installed.
        MissingInput: Their weights or the base are not there.
    """
    base = find(base_of(folder))
    has_tokenizer = any(any(folder.glob(pattern)) for pattern in VOCABULARIES)
    others = {*CONFIGURATIONS, ADAPTER_CONFIG}
    files = sorted({file for pattern in tokenizer_files for file in (folder if has_tokenizer else base).glob(pattern)})
    files = [file for file in files if file.name not in others and not file.name.endswith(".index.json")]
    own = [folder / name for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)]
    rules = next((each / RULES for each in (folder, base) if (each / RULES).is_file()), None)
    read = [*own, *files, *([rules] if rules is not None else [])]
    key = ["adapter", _FORMAT, weights_digest(base), [[file.name, content_of(file)] for file in read]]
    return kept(key, lambda made: _add(folder, base, made, files))


def base_of(folder: Path) -> str:
    """The model that the adapters in a folder belong to, by the name in their configuration.

    Raises:
        UsageError: They are not of LoRA, or do not name it.
        MissingInput: Their weights are not there.
    """
    table = read_table(folder / ADAPTER_CONFIG)
    kind, base = table.get("peft_type"), table.get("base_model_name_or_path")
    if kind != "LORA":
        raise UsageError(
            f"{folder} holds an adapter of the type {kind}, and kdkit opens those of LoRA; merge it into its base "
            "model, save that, and give its folder"
        )
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise MissingInput(f"{folder} has no {ADAPTER_WEIGHTS} beside its {ADAPTER_CONFIG}; save the adapter again")
    if not isinstance(base, str) or not base:
        raise UsageError(
            f"{folder / ADAPTER_CONFIG} does not name the model that the adapter belongs to; set "
            "base_model_name_or_path to its folder or its name on the hub"
        )
    return base


def _add(folder: Path, base: Path, made: Path, files: list[Path]) -> None:
    from transformers import GenerationConfig

    model = _opened(folder, base)
    if (folder / RULES).is_file():
        with quiet():
            model.generation_config = GenerationConfig.from_pretrained(str(folder))
    size = sum(weight.nbytes for weight in model.parameters())
    with quiet(), disk_full(made, size, discards=made):
        model.save_pretrained(str(made))
        for file in files:
            copy_synced(file, made / file.name)
        sync_tree(made)


def _opened(folder: Path, base: Path) -> Any:
    import torch
    from transformers import AutoConfig

    refuse_kernels(base)
    check_weights(base)
    try:
        with quiet(), nothing_else(base) as shown:
            config = AutoConfig.from_pretrained(str(base), trust_remote_code=False)
            loader = auto_of(config).loader
            model = loader.from_pretrained(str(shown), dtype=torch.float32, trust_remote_code=False)
        return adapters_in(folder, model)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"the adapter in {folder} cannot be added to its base model {base} ({type(error).__name__}: "
            f"{first_line(error)[:200]}); give the model that it was trained on in base_model_name_or_path of its "
            f"{ADAPTER_CONFIG}"
        ) from error
