"""The tokens that begin and end texts, and documents: those that end texts of a chat model end turns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdkit.data.halves import plain_ids
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from kdkit.api.interfaces import Tokenizer

PROBE = "x = 1"
KNOWN = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>")
"""How tokenizers of widespread models call the token that ends documents."""


def beginning(tokenizer: Tokenizer) -> tuple[int, ...]:
    """What the tokenizer puts before each text: the token that begins texts, or nothing."""
    whole, bare = tokenizer([PROBE], verbose=False)["input_ids"][0], plain_ids(tokenizer, [PROBE])[0]
    places = range(len(whole) - len(bare) + 1)
    return next((tuple(whole[:place]) for place in places if whole[place : place + len(bare)] == bare), ())


def ending(tokenizer: Tokenizer) -> int:
    """The token that ends a text.

    Raises:
        UsageError: The tokenizer has none.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise UsageError(
            "the tokenizer has no token that ends a text (eos_token), so a model would never learn to stop; set one in "
            "its tokenizer_config.json"
        )
    return end


def document_end(tokenizer: Any, word: str) -> int:
    """The id of the token that a recipe names as the end of documents.

    Raises:
        UsageError: The tokenizer has no such token.
    """
    ids = {token.content: place for place, token in tokenizer.added_tokens_decoder.items() if token.special}
    if word not in ids:
        has = [each for each in KNOWN if each in ids] or sorted(ids)[:3]
        raise UsageError(
            f'tokens.document_end is "{word}", which is not a special token of the tokenizer; it has {", ".join(has)}'
        )
    return int(ids[word])


def better_end(tokenizer: Tokenizer) -> str | None:
    """Another token for the end of documents, where the one that ends texts is what a chat template ends turns with."""
    its: Any = tokenizer
    template, end = str(getattr(its, "chat_template", None) or ""), getattr(its, "eos_token", None)
    if not end or end not in template:
        return None
    special = {token.content for token in getattr(its, "added_tokens_decoder", {}).values() if token.special}
    return next((word for word in KNOWN if word in special and word != end), None)
