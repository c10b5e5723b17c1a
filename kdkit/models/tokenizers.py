"""Tokenizers: trained on a corpus, compared, identified."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, cast

from kdkit.data.long_rows import LONGEST
from kdkit.data.tokens import source_ids, target_ids
from kdkit.errors import Mismatch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kdkit.api.interfaces import Tokenizer

PAD, EOS = "<pad>", "</s>"
PROBE = "def f(x):\n    return [1, 2.5, 'a b'] if x == None else \"Grüße\"  # ok\n\tassertEquals(3, f(0));"


def train_bpe(texts: Iterable[str], *, vocab_size: int, ends_texts: bool = True) -> Tokenizer:
    """A byte-level BPE tokenizer with `<pad>` (0) and `</s>` (1), which it puts at the end of each text if asked.

    Of a text of many thousand characters the first are read: one without spaces takes time for the square of them.
    Deterministic: the same texts in the same order give the same tokenizer. Every byte has a token, so none is unknown;
    other programs (CTranslate2) need the name of one all the same, which is that of the padding.
    """
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator((text[:LONGEST] for text in texts), trainer)
    if ends_texts:
        backend.post_processor = processors.TemplateProcessing(single=f"$A {EOS}", special_tokens=[(EOS, 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=PAD, eos_token=EOS, unk_token=PAD, clean_up_tokenization_spaces=False
    )
    return cast("Tokenizer", tokenizer)


def tokenizer_digest(tokenizer: Tokenizer) -> str:
    """SHA-256 of a tokenizer's vocabulary, special ids and its ids of a probe text.

    The same before saving and after loading, wherever the tokenizer lies. What it does otherwise with targets than with
    sources counts too; of most tokenizers that is nothing.
    """
    source, target = _probed(tokenizer)
    facts = {
        "vocabulary": sorted(cast(Any, tokenizer).get_vocab().items()),
        "special": [tokenizer.pad_token_id, tokenizer.eos_token_id],
        "probe": source,
    }
    if target != source:
        facts["target probe"] = target
    if has_target_vocabulary(tokenizer):
        facts["target vocabulary"] = sorted(_target_vocabulary(tokenizer).items())
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def decoding_digest(tokenizer: Tokenizer) -> str:
    """SHA-256 of how a tokenizer turns ids into text: its whole vocabulary, and which tokens texts leave out."""
    ids = sorted(set(_target_vocabulary(tokenizer).values()))
    whole: Any = tokenizer
    texts = whole.batch_decode([ids, ids[:1]], skip_special_tokens=True, clean_up_tokenization_spaces=False)
    added = {token_id: token.special for token_id, token in whole.added_tokens_decoder.items()}
    facts = {"texts": texts, "special": sorted({*whole.all_special_ids, *(each for each, on in added.items() if on)})}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def check_same_tokenizer(teacher: Tokenizer, student: Tokenizer) -> None:
    """Refuse a student whose ids mean other tokens than the teacher's.

    Raises:
        Mismatch: Names the first id whose tokens differ, or what else differs.
    """
    if tokenizer_digest(teacher) == tokenizer_digest(student):
        return
    for side, vocabulary in (("", _vocabulary), (" of targets", _target_vocabulary)):
        here, there = ({i: token for token, i in vocabulary(each).items()} for each in (teacher, student))
        for token_id in range(max(*here, *there) + 1):
            if here.get(token_id) != there.get(token_id):
                raise Mismatch(
                    f"teacher and student have different tokenizers: id {token_id}{side} is "
                    f"{here.get(token_id)!r} to the teacher ({len(here)} tokens) and {there.get(token_id)!r} "
                    f"to the student ({len(there)} tokens); use a student with the teacher's tokenizer, since "
                    "logits can be distilled only between models of one tokenizer"
                )
    probes = tuple(zip(("text", "target"), _probed(teacher), _probed(student), strict=True))
    other = next((probe for probe in probes if probe[1] != probe[2]), None)
    if other is None:
        end, pad = ([getattr(each, name) for each in (teacher, student)] for name in ("eos_token_id", "pad_token_id"))
        named, (ours, theirs) = ("end texts", end) if end[0] != end[1] else ("pad", pad)
        raise Mismatch(
            f"the tokenizers of teacher and student have the same tokens, but {named} with other ones (id {ours} and "
            f"id {theirs}); use a student with the teacher's tokenizer"
        )
    what, ours, theirs = other
    raise Mismatch(
        "the tokenizers of teacher and student have one vocabulary, but split, begin or end text differently "
        f"(a probe {what} gives {_ends(ours)} and {_ends(theirs)}); use a student with the teacher's tokenizer"
    )


def same_tokens(one: Tokenizer, other: Tokenizer) -> bool:
    """Whether the ids of two tokenizers mean the same tokens, and a text becomes the same ids, but for special tokens.

    So it is with a base model and the assistant that was made of it: only the token that ends texts differs.
    """
    bare = [each([PROBE], add_special_tokens=False, verbose=False)["input_ids"] for each in (one, other)]
    return bare[0] == bare[1] and _vocabulary(one) == _vocabulary(other)


def ends_texts(tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer puts the token that ends texts after each text by itself."""
    return _probed(tokenizer)[0][-1:] == [end_id(tokenizer)]


def has_target_vocabulary(tokenizer: Tokenizer) -> bool:
    """Whether the ids of targets mean other tokens than those of sources, as some of Marian's and FSMT's do."""
    return hasattr(tokenizer, "get_tgt_vocab") and _target_vocabulary(tokenizer) != _vocabulary(tokenizer)


def source_size(tokenizer: Tokenizer) -> int:
    """How many entries an encoder's vocabulary needs: one more than the largest id."""
    languages: dict[str, int | None] = getattr(tokenizer, "lang_code_to_id", {})  # M2M100's are beyond its own count
    ids = [*_vocabulary(tokenizer).values(), *(each for each in languages.values() if each is not None)]
    return max(len(tokenizer), max(ids) + 1)


def target_size(tokenizer: Tokenizer) -> int:
    """How many entries a decoder's vocabulary needs: at least the width of logits."""
    if has_target_vocabulary(tokenizer):
        return max(_target_vocabulary(tokenizer).values()) + 1
    return source_size(tokenizer)


def end_id(tokenizer: Tokenizer) -> int | None:
    """The token that ends a text; ProphetNet and FSMT call theirs a separator."""
    ends = (getattr(tokenizer, name, None) for name in ("eos_token_id", "sep_token_id"))
    return next((end for end in ends if end is not None), None)


def _probed(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """A probe text as source and as target."""
    return source_ids(tokenizer, [PROBE])[0], target_ids(tokenizer, [PROBE])[0]


def _ends(ids: list[int]) -> str:
    return f"[{', '.join(map(str, ids[:4]))}, ..., {', '.join(map(str, ids[-4:]))}]"


def _vocabulary(tokenizer: Tokenizer) -> dict[str, int]:
    vocabulary: dict[str, int] = cast(Any, tokenizer).get_vocab()
    return vocabulary


def _target_vocabulary(tokenizer: Tokenizer) -> dict[str, int]:
    """Ids by the tokens that targets and texts consist of.

    Where a tokenizer knows two vocabularies, transformers' own method of getting this one fails.
    """
    whole = cast(Any, tokenizer)
    if not hasattr(whole, "get_tgt_vocab"):
        return _vocabulary(tokenizer)
    return {**{token: token_id for token_id, token in whole.decoder.items()}, **whole.added_tokens_encoder}
