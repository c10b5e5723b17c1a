"""The tokens at which a model's texts end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdkit.errors import UsageError
from kdkit.models.tokenizers import end_id

if TYPE_CHECKING:
    from kdkit.api.interfaces import Tokenizer


def end_ids(config: Any, tokenizer: Tokenizer) -> frozenset[int]:
    """The ids that end a text of a model: those of its generation configuration, else of its own, else the tokenizer's.

    Args:
        config: The transformers configuration, read from the model's folder or new.
        tokenizer: Its tokenizer.

    Raises:
        UsageError: The generation configuration in the model's folder cannot be read.
    """
    folder = getattr(config, "_name_or_path", "")
    own = _of_folder(Path(folder)) if folder else None
    for found in (own, getattr(config, "eos_token_id", None), end_id(tokenizer)):
        if found is not None:
            return frozenset(found if isinstance(found, list) else [found])
    return frozenset()


def _of_folder(folder: Path) -> Any:
    """What the generation configuration in a model's folder says; None where there is none."""
    from transformers import GenerationConfig

    if not (folder / "generation_config.json").is_file():
        return None
    try:
        return GenerationConfig.from_pretrained(str(folder)).eos_token_id
    except Exception as error:
        raise UsageError(
            f"{folder / 'generation_config.json'} cannot be read ({str(error).strip().splitlines()[0]}); "
            "correct it, or fetch that folder again"
        ) from error
