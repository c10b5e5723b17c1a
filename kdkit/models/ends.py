"""The tokens at which a model's texts end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdkit.models.layout import generation_of
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
    own = generation_of(Path(folder)).eos_token_id if folder else None
    for found in (own, getattr(config, "eos_token_id", None), end_id(tokenizer)):
        if found is not None:
            return frozenset(found if isinstance(found, list) else [found])
    return frozenset()


def stops_of(tokenizer: Tokenizer) -> frozenset[int]:
    """The ids at which the model stops in whose folder a tokenizer lies; none where it lies in no model's folder.

    Raises:
        UsageError: The generation configuration in the folder cannot be read.
    """
    name = getattr(tokenizer, "name_or_path", "")
    folder = Path(name)
    if not name or not any((folder / file).is_file() for file in ("generation_config.json", "config.json")):
        return frozenset()
    found = generation_of(folder).eos_token_id
    return frozenset() if found is None else frozenset(found if isinstance(found, list) else [found])
