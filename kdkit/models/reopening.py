"""Whether the folder of a saved model is opened with the tokenizer that was saved in it."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

from kdkit.errors import UsageError
from kdkit.models.loading import load_tokenizer
from kdkit.models.quiet import quiet
from kdkit.models.tokenizers import tokenizer_digest

if TYPE_CHECKING:
    from kdkit.api.interfaces import Tokenizer


def check_reopens(config: Any, tokenizer: Tokenizer) -> None:
    """Refuse a tokenizer that a folder of a model of this type would be opened without.

    Of some types, such as qwen2, transformers takes the type's own class of tokenizers whatever the folder names, since
    folders on the hub name a wrong one. The ids would be others than those that the model was trained on.

    Args:
        config: The configuration that goes into the folder.
        tokenizer: The tokenizer that goes into it.

    Raises:
        UsageError: It would write other ids.
    """
    own, given = _class_of(config.model_type), type(tokenizer).__name__.removesuffix("Fast")
    if own in {None, given}:
        return
    with tempfile.TemporaryDirectory(prefix="kdkit-tokenizer-") as folder:
        with quiet():
            config.save_pretrained(folder)
            tokenizer.save_pretrained(folder)  # type: ignore[attr-defined]
        found = load_tokenizer(folder, pads_with_end=True)
    if type(found) is type(tokenizer):
        return
    if tokenizer_digest(found) != tokenizer_digest(tokenizer) or _splits(found) != _splits(tokenizer):
        raise UsageError(
            f"the folder of a {config.model_type} model is always opened with the class {own} of transformers, which "
            f"makes other ids of a text than this tokenizer ({given}), so the model that is saved would read other "
            f"tokens; use a tokenizer that was made for {config.model_type}, or a model of another type"
        )


def _splits(tokenizer: Tokenizer) -> list[list[int]]:
    """The ids of the text of every token: where tokenizers of one vocabulary cut texts differently, one of them shows.

    A short probe text would not do: two may differ in numbers alone.
    """
    texts = tokenizer.batch_decode(
        [[each] for each in range(len(tokenizer))], skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def _class_of(model_type: str) -> str | None:
    """The class of tokenizers that transformers has for a type of models; None if it has none of the type's own."""
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    name = TOKENIZER_MAPPING_NAMES.get(model_type)
    return None if name is None else name.removesuffix("Fast")
