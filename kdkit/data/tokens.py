"""Examples -> token ids -> padded batches."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Literal, cast

import attrs
import numpy as np

from kdkit.api.values import IGNORED, TokenBatch
from kdkit.data.cuts import moved
from kdkit.data.encoded_rows import EncodedRows
from kdkit.data.long_rows import shortened
from kdkit.data.reading import GrowingReading, Mark
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.options import TokenLimits
    from kdkit.api.values import Cut, EncodedExample, Example
    from kdkit.data.columns import Places, Ragged
    from kdkit.data.encoded_rows import Batches
    from kdkit.data.reading import Reading

CHUNK = 1000
_CHUNK_CHARACTERS = 1 << 22
# Of a tokenizer: what begins, ends and fills texts, and stands for what it does not know.
_CONTROL = ("bos_token", "eos_token", "pad_token", "unk_token")


def read(examples: Iterable[Example], tokenizer: Tokenizer, limits: TokenLimits) -> Reading:
    """Token ids of every example, within the limits.

    A source that is too long is shortened by its `cuts`, in their order, then at its end; a target at its end.

    Raises:
        UsageError: An example is not a source with its target.
    """
    growing, ends = GrowingReading(), Ends.of(tokenizer)
    for chunk in chunks(examples, limits):
        for example in chunk:
            _check_form(example)
        sources = source_ids(tokenizer, [example.source for example in chunk])
        targets = target_ids(tokenizer, [example.target for example in chunk], limits.max_target)
        marks = bytearray(len(chunk))
        for place, (source, target) in enumerate(zip(sources, targets, strict=True)):
            if len(source) > limits.max_source:
                sources[place] = fit_source(chunk[place], tokenizer, limits)
                marks[place] |= Mark.SHORTENED
            if len(target) >= limits.max_target and (
                len(target_ids(tokenizer, [chunk[place].target])[0]) > limits.max_target
            ):
                marks[place] |= Mark.CUT
            if ends.end(target):
                marks[place] |= Mark.STOPS
        growing.add([example.id for example in chunk], sources, targets, bytes(marks))
    return growing.done()


def encode(examples: Iterable[Example], tokenizer: Tokenizer, limits: TokenLimits) -> EncodedRows:
    """The rows of `read` alone."""
    return read(examples, tokenizer, limits).rows


def _check_form(example: Example) -> None:
    if example.form != "pair":
        what, option = ("a text without a source", "text") if example.form == "text" else ("a chat", "messages")
        raise UsageError(
            f"row {example.id} is {what} (data.{option}), which an encoder-decoder cannot read: it needs a source and "
            'a target; use teacher and student "hf-causal", or set data.source and data.target'
        )


@attrs.frozen
class Ends:
    """Which tokens end a text, and which may follow the one that does: mBART puts the language after it.

    Attributes:
        ends: Those that end it.
        special: Those that may follow.
    """

    ends: frozenset[int]
    special: frozenset[int]

    @classmethod
    def of(cls, tokenizer: Tokenizer, ends: frozenset[int] | None = None) -> Ends:
        """Of a tokenizer: its own end, or that of a model."""
        found = (getattr(tokenizer, name, None) for name in ("eos_token_id", "sep_token_id"))
        own = frozenset([next((each for each in found if each is not None), -1)])
        return cls(own if ends is None else ends, frozenset(getattr(tokenizer, "all_special_ids", ())))

    def end(self, ids: Sequence[int]) -> bool:
        """Whether these ids do: the last of them that is not special, or one after it."""
        for each in reversed(ids):
            if each in self.ends:
                return True
            if each not in self.special:
                return False
        return False


def chunks(
    examples: Iterable[Example], limits: TokenLimits, *, keep: Literal["head", "tail"] = "head"
) -> Iterator[list[Example]]:
    """Rows that are tokenized together, their texts shortened if they are far too long; of a source one end is kept."""
    chunk: list[Example] = []
    characters = 0
    for example in examples:
        row = shortened(example, limits, keep=keep) if example.form == "pair" else example
        chunk.append(row)
        characters += len(row.source) + len(row.target)
        if len(chunk) == CHUNK or characters >= _CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def source_ids(tokenizer: Tokenizer, texts: Sequence[str], limit: int | None = None) -> list[list[int]]:
    """The ids that an encoder reads for texts."""
    ids: list[list[int]] = tokenizer(list(texts), **_cutting(limit))["input_ids"]
    return ids


def target_ids(tokenizer: Tokenizer, texts: Sequence[str], limit: int | None = None) -> list[list[int]]:
    """The ids that a decoder has to write for texts: a text that spells `</s>` does not end there."""
    ids = raw_target_ids(tokenizer, texts, limit)
    words = control_words(tokenizer)
    for index, text in enumerate(texts):
        if any(word in text for word in words):
            (ids[index],) = raw_target_ids(tokenizer, [text], limit, split_special_tokens=True)
    return ids


def raw_target_ids(
    tokenizer: Tokenizer, texts: Sequence[str], limit: int | None = None, **options: Any
) -> list[list[int]]:
    """The tokenizer's own ids for targets: words that spell its special tokens become those tokens.

    A translation model's tokenizer marks and splits targets otherwise than sources. Blenderbot-small's leaves the end
    of a text to whoever trains the model.
    """
    if _leaves_out_the_end(tokenizer):
        kept = None if limit is None else limit - 1
        cut = tokenizer(text_target=list(texts), **{**options, **_cutting(kept)})["input_ids"]
        return [[*ids[:kept], tokenizer.eos_token_id] for ids in cut]
    options |= _cutting(limit)
    if hasattr(tokenizer, "tgt_vocab_size") and not hasattr(tokenizer, "_switch_to_target_mode"):
        ids: list[list[int]] = _turned_round(tokenizer)(list(texts), **options)["input_ids"]
    else:
        ids = tokenizer(text_target=list(texts), **options)["input_ids"]
    return ids


def _leaves_out_the_end(tokenizer: Any) -> bool:
    """Whether a slow tokenizer adds nothing to a text; a fast one that adds nothing is refused later."""
    return not getattr(tokenizer, "is_fast", True) and tokenizer.num_special_tokens_to_add() == 0


def control_words(tokenizer: Tokenizer) -> tuple[str, ...]:
    """How the tokenizer spells what begins, ends and fills texts, and what it does not know."""
    words = {name: getattr(tokenizer, name, None) for name in _CONTROL}
    if words["eos_token"] is None:
        words["sep_token"] = getattr(tokenizer, "sep_token", None)  # ProphetNet's and FSMT's texts end with that
    return tuple(dict.fromkeys(word for word in words.values() if isinstance(word, str) and word))


def _turned_round(tokenizer: Any) -> Tokenizer:
    """FSMT's tokenizer for the other direction: its own takes even targets for texts of the source's language."""
    other = copy.copy(tokenizer)
    other.encoder, other.decoder = ({name: i for i, name in each.items()} for each in (other.decoder, other.encoder))
    other.src_lang, other.tgt_lang = other.tgt_lang, other.src_lang
    return cast("Tokenizer", other)


def _cutting(limit: int | None) -> dict[str, Any]:
    cut: dict[str, Any] = {"truncation": False} if limit is None else {"truncation": True, "max_length": limit}
    return {"verbose": False, "return_attention_mask": False, **cut}


def fit_source(example: Example, tokenizer: Tokenizer, limits: TokenLimits) -> list[int]:
    """The ids of a source that is too long, shortened.

    Raises:
        UsageError: It has cuts, and the tokenizer cannot say where in a text a token lies.
    """

    def ids_of(text: str) -> list[int]:
        return source_ids(tokenizer, [text])[0]

    text = shorten_by_cuts(example, ids_of, tokenizer, limits.max_source)
    return source_ids(tokenizer, [text], limits.max_source)[0]


def shorten_by_cuts(example: Example, ids_of: Callable[[str], list[int]], tokenizer: Tokenizer, limit: int) -> str:
    """A source that is too long, shortened by its cuts, in their order, as far as these go.

    Args:
        example: The row.
        ids_of: What a model reads of a text, which is what counts.
        tokenizer: The tokenizer.
        limit: Tokens of the source at most.

    Raises:
        UsageError: It has cuts, and the tokenizer cannot say where in a text a token lies.
    """
    if example.cuts and not getattr(tokenizer, "is_fast", True):
        raise UsageError(
            f"the source of row {example.id} has more tokens than tokens.max_source allows ({limit}), "
            f"and the data set says which part to shorten, but a slow tokenizer ({type(tokenizer).__name__}) "
            "does not give the positions of its tokens in the text; raise tokens.max_source, or leave such "
            "rows out"
        )
    text = example.source
    shifts: list[tuple[int, int]] = []  # (position, characters taken out there)
    for cut in example.cuts:
        here = moved(cut, shifts)
        shorter, position = _shorten(text, here, ids_of, tokenizer, limit)
        shifts.append((position, len(text) - len(shorter)))
        text = shorter
        if len(ids_of(text)) <= limit:
            break
    return text


def _shorten(
    text: str, cut: Cut, ids_of: Callable[[str], list[int]], tokenizer: Tokenizer, limit: int
) -> tuple[str, int]:
    """The text with the cut's stretch shortened or dropped, and where characters were taken out."""
    stretch = text[cut.start : cut.end]
    budget = limit - len(ids_of(text[: cut.start] + text[cut.end :]))
    offsets = tokenizer(stretch, return_offsets_mapping=True, add_special_tokens=False, verbose=False)["offset_mapping"]
    while offsets and budget >= max(cut.drop_below, 1):
        if cut.keep == "head":
            end = cut.start + offsets[min(budget, len(offsets)) - 1][1]
            shorter, position = text[:end] + text[cut.end :], end
        else:
            start = cut.start + offsets[max(len(offsets) - budget, 0)][0]
            shorter, position = text[: cut.start] + text[start:], cut.start
        excess = len(ids_of(shorter)) - limit
        if excess <= 0:
            return shorter, position
        budget -= excess  # tokens at the seam may come out otherwise than when counted apart
    return text[: cut.drop_start] + text[cut.drop_end :], cut.drop_start


def collate(rows: Sequence[EncodedExample], *, pad_id: int, device: str = "cpu") -> TokenBatch:
    """Rows padded to the longest of them.

    Args:
        rows: At least one.
        pad_id: Fills sources; labels are filled with -100.
        device: Where the tensors go.
    """
    import torch

    rows = EncodedRows.of(rows)

    def padded(column: Ragged, lengths_B: Places, filler: int) -> torch.Tensor:
        array_BX = np.full((len(rows), int(lengths_B.max())), filler, dtype=np.int64)
        for row_X, place, length in zip(array_BX, rows.places_R, lengths_B, strict=True):
            row_X[:length] = column[place]
        return torch.from_numpy(array_BX).to(device)

    lengths_B = rows.source_lengths
    mask_BS = (np.arange(int(lengths_B.max())) < lengths_B[:, None]).astype(np.int64)
    return TokenBatch(
        ids=tuple(rows.each_id()),
        source_ids_BS=padded(rows.sources, lengths_B, pad_id),
        source_mask_BS=torch.from_numpy(mask_BS).to(device),
        labels_BT=padded(rows.targets, rows.target_lengths, IGNORED),
    )


def length_sorted(rows: Sequence[EncodedExample], batch_size: int) -> Batches:
    """Batches of rows of like source length, longest first, so that memory runs out early or not at all.

    Rows of one length of source come by the length of their target, longest first, and then by their ids.
    """
    return EncodedRows.of(rows).by_length(batch_size)
