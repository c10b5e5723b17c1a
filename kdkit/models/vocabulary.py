"""Byte-level BPE vocabularies cut down to some of their tokens: which stay, and the tokenizer with only these.

A token stays with all that merges make on the way to it, in the order in which BPE does them. So wherever the whole
tokenizer splits a text into tokens that stay, the trimmed one does the same: each merge that was done is still there,
in its place among the others. Elsewhere the trimmed one takes smaller tokens, at the least bytes. These all stay, so
every text comes back from its tokens as before.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from kdkit.errors import UsageError
from kdkit.system.parsing import parse_json

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from kdkit.api.interfaces import Tokenizer


def check_trimmable(tokenizer: Tokenizer, name: str) -> None:
    """Refuse a tokenizer that is not a byte-level BPE of the library tokenizers.

    Args:
        tokenizer: The tokenizer.
        name: Whose it is, for the message.

    Raises:
        UsageError: It is another one; says which.
    """
    what = _other_kind(tokenizer)
    if what is not None:
        raise UsageError(
            f"the tokenizer of {name} is {what}, and only vocabularies of byte-level BPE (GPT-2, Llama 3, Qwen, "
            "SmolLM2) can be trimmed, where smaller tokens can write what the others wrote; leave vocabulary out"
        )


def kept_ids(tokenizer: Tokenizer, counts_V: npt.NDArray[np.int64], keep: int, also: Collection[int]) -> list[int]:
    """The ids that stay, in order: bytes and added tokens, and those that are used most, with what these are made of.

    Args:
        tokenizer: A byte-level BPE.
        counts_V: How often each id is used.
        keep: How many stay at most. A token that would need more with its parts is passed over for the next.
        also: Ids that stay in any case; those without a token do not count.

    Raises:
        UsageError: There are more than `keep` that stay in any case.
    """
    table = pipeline_table(tokenizer)
    vocabulary, ranks = table["model"]["vocab"], _ranks(table["model"]["merges"])
    ids = {**vocabulary, **{each["content"]: each["id"] for each in table["added_tokens"]}}
    tokens = {token_id: token for token, token_id in ids.items()}
    kept = {*(ids[token] for token in _alphabet() if token in ids), *(each["id"] for each in table["added_tokens"])}
    kept |= {each for each in also if each in tokens}
    unknown = table["model"].get("unk_token")
    kept |= {ids[unknown]} if unknown in ids else set()
    if len(kept) > keep:
        raise UsageError(
            f"vocabulary.keep is {keep:,}, but the bytes and the special and added tokens of the tokenizer, which all "
            f"stay, are {len(kept):,}; raise it"
        )
    for token_id in np.argsort(-counts_V, kind="stable").tolist():
        if len(kept) == keep or not counts_V[token_id]:
            break
        if token_id in kept or token_id not in tokens:
            continue
        parts = {token_id, *(vocabulary[part] for part in _made_on_the_way(tokens[token_id], ranks))} - kept
        if len(kept) + len(parts) <= keep:
            kept |= parts
    return sorted(kept)


def trimmed_table(tokenizer: Tokenizer, kept: Sequence[int]) -> dict[str, Any]:
    """What `tokenizer.json` says of the tokenizer with only these ids, which are numbered from 0 in their order."""
    table, new = pipeline_table(tokenizer), renumbering(kept)
    model = table["model"]
    vocabulary = {token: new[token_id] for token, token_id in model["vocab"].items() if token_id in new}
    merges = [pair for pair in map(_pair, model["merges"]) if {*pair, "".join(pair)} <= vocabulary.keys()]
    model |= {"vocab": dict(sorted(vocabulary.items(), key=lambda each: each[1])), "merges": merges}
    for each in table["added_tokens"]:
        each["id"] = new[each["id"]]
    if table.get("padding"):
        table["padding"]["pad_id"] = new[table["padding"]["pad_id"]]
    _renumber_processor(table.get("post_processor"), new)
    return table


def renumbering(kept: Sequence[int]) -> dict[int, int]:
    """The new id of each one that stays."""
    return {old: number for number, old in enumerate(kept)}


def pipeline_table(tokenizer: Tokenizer) -> dict[str, Any]:
    """What `tokenizer.json` says of a fast tokenizer; a copy."""
    backend: Any = tokenizer
    table: dict[str, Any] = parse_json(backend.backend_tokenizer.to_str())
    return table


def _other_kind(tokenizer: Tokenizer) -> str | None:
    """What a tokenizer is that is not a byte-level BPE."""
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        return f"one written in Python ({type(tokenizer).__name__})"
    table = pipeline_table(tokenizer)
    model = table["model"]
    if model["type"] != "BPE":
        return f"of the type {model['type']}"
    if model.get("byte_fallback"):
        return "a BPE of characters that falls back to bytes (SentencePiece)"
    if "ByteLevel" not in _types(table.get("pre_tokenizer")):
        return "a BPE of characters"
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        return "a BPE whose tokens mark where words begin or end (CLIP)"
    return None


def _types(part: Any) -> set[str]:
    """The types of a step of a tokenizer and of those within it."""
    if not isinstance(part, dict):
        return set()
    within = (each for value in part.values() if isinstance(value, list) for each in value)
    return {part.get("type", ""), *(kind for each in within for kind in _types(each))}


def _alphabet() -> list[str]:
    """The characters that stand for the 256 bytes."""
    from tokenizers.pre_tokenizers import ByteLevel

    found: list[str] = ByteLevel.alphabet()
    return found


def _pair(merge: Any) -> list[str]:
    """A merge as its two tokens, which old files have in one text."""
    return merge.split(" ") if isinstance(merge, str) else list(merge)


def _ranks(merges: Sequence[Any]) -> dict[tuple[str, str], int]:
    ranks: dict[tuple[str, str], int] = {}
    for rank, merge in enumerate(merges):
        left, right = _pair(merge)
        ranks[left, right] = rank
    return ranks


def _made_on_the_way(token: str, ranks: Mapping[tuple[str, str], int]) -> Iterator[str]:
    """What merges make of the characters of a token, one after the other; none where they do not lead to it.

    Such a token is written only where a whole word is looked up first (`ignore_merges`), and so needs no parts.
    """
    parts, made = list(token), []
    while len(parts) > 1:
        found = [(ranks[pair], place) for place, pair in enumerate(pairwise(parts)) if pair in ranks]
        if not found:
            return
        place = min(found)[1]
        parts[place : place + 2] = ["".join(parts[place : place + 2])]
        made.append(parts[place])
    yield from made


def _renumber_processor(part: Any, new: Mapping[int, int]) -> None:
    """Give the tokens that are put around a text their new ids, in place."""
    if not part:
        return
    for each in part.get("processors", ()):
        _renumber_processor(each, new)
    for name in ("sep", "cls"):
        if name in part:
            part[name] = [part[name][0], new[part[name][1]]]
    if part["type"] == "TemplateProcessing":
        for each in part["special_tokens"].values():
            each["ids"] = [new[token_id] for token_id in each["ids"]]
