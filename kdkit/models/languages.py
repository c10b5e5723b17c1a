"""The languages with which a translation model's tokenizer marks sources and targets, as those of NLLB and mBART do."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from kdkit.data.tokens import source_ids, target_ids
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kdkit.api.interfaces import Tokenizer


def marks_languages(tokenizer: Tokenizer) -> bool:
    """Whether it puts the code of a language into what it encodes (Marian's has languages, and marks none)."""
    return hasattr(tokenizer, "_switch_to_target_mode") and hasattr(tokenizer, "tgt_lang")


def set_languages(tokenizer: Tokenizer, *, src_lang: str, tgt_lang: str) -> None:
    """Say which languages a tokenizer marks texts with; where these are empty, it keeps its own.

    Raises:
        UsageError: It marks none, or does not know one of them; or nobody says which language targets are in.
    """
    if not marks_languages(tokenizer):
        for name, code in (("src_lang", src_lang), ("tgt_lang", tgt_lang)):
            if code:
                raise UsageError(
                    f'{name} is "{code}", but the tokenizer does not mark texts with a language; leave it out'
                )
        return
    for name, code, encode in (("src_lang", src_lang, source_ids), ("tgt_lang", tgt_lang, target_ids)):
        if code:
            _set(tokenizer, name, code, encode)
    if _language(tokenizer, "src_lang") is not None and _language(tokenizer, "tgt_lang") is None:
        # transformers would mark targets as texts of the source's language.
        raise UsageError(
            "the tokenizer marks texts with their language, sources with "
            f'"{_language(tokenizer, "src_lang")}", but its folder does not say which one targets have; set '
            "teacher.tgt_lang to the targets' language"
        )


def adopt_languages(tokenizer: Tokenizer, other: Tokenizer) -> None:
    """Have a tokenizer mark texts with the languages of another one, where both mark any."""
    if marks_languages(tokenizer) and marks_languages(other):
        for name in ("src_lang", "tgt_lang"):
            code = _language(other, name)
            if code is not None:
                setattr(tokenizer, name, code)


def _set(tokenizer: Any, name: str, code: str, encode: Callable[[Tokenizer, list[str]], list[list[int]]]) -> None:
    try:
        setattr(tokenizer, name, code)
        known = tokenizer.unk_token_id not in encode(tokenizer, [""])[0]
    except KeyError:  # some look their codes up, others take an unknown one for the unknown token
        known = False
    if not known:
        codes = list(getattr(tokenizer, "lang_code_to_id", {})) or list(tokenizer.extra_special_tokens)
        near = get_close_matches(code, codes, n=1) or codes[:1]
        hint = f'; write it as the tokenizer does, such as "{near[0]}"' if near else ""
        raise UsageError(f'{name} is "{code}", a language that the tokenizer does not know{hint}')


def _language(tokenizer: Tokenizer, name: str) -> str | None:
    code: str | None = getattr(tokenizer, name, None)
    return code
