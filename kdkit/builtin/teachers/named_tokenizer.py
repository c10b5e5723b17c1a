"""A tokenizer that a teacher names, and the languages that it marks texts with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdkit.api.options import option

if TYPE_CHECKING:
    from kdkit.api.interfaces import Tokenizer


def src_lang() -> Any:
    """The option `src_lang`."""
    return option(
        "Language code of the sources, for a tokenizer that marks texts with their language (NLLB, mBART, "
        "M2M100); by default the one in its folder.",
        default="",
        neutral="",
    )


def tgt_lang() -> Any:
    """The option `tgt_lang`."""
    return option("Language code of the targets, as for src_lang.", default="", neutral="")


def load(name: str, *, src_lang: str, tgt_lang: str) -> Tokenizer:
    """The tokenizer of a folder or a hub model, set to these languages.

    Raises:
        MissingInput: It is not there.
        UsageError: What is there is not a tokenizer that kdkit can use, or it does not know the languages.
    """
    from kdkit import models

    tokenizer = models.load_tokenizer(name)
    models.set_languages(tokenizer, src_lang=src_lang, tgt_lang=tgt_lang)
    return tokenizer
