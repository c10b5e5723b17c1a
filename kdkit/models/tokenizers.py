"""Tokenizers: trained on a corpus, compared, identified."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, cast

from kdkit.errors import Mismatch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kdkit.api.interfaces import Tokenizer

PAD, EOS = "<pad>", "</s>"
PROBE = "def f(x):\n    return [1, 2.5, 'a b'] if x == None else \"Grüße\"  # ok\n\tassertEquals(3, f(0));"


def train_bpe(texts: Iterable[str], *, vocab_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer with `<pad>` (0) and `</s>` (1), which it puts at the end of each text.

    Deterministic: the same texts in the same order give the same tokenizer.
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
    backend.train_from_iterator(texts, trainer)
    backend.post_processor = processors.TemplateProcessing(single=f"$A {EOS}", special_tokens=[(EOS, 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=PAD, eos_token=EOS, clean_up_tokenization_spaces=False
    )
    return cast("Tokenizer", tokenizer)


def tokenizer_digest(tokenizer: Tokenizer) -> str:
    """SHA-256 of a tokenizer's vocabulary, special ids and what it makes of a probe text.

    The same before saving and after loading, wherever the tokenizer lies.
    """
    facts = {
        "vocabulary": sorted(cast(Any, tokenizer).get_vocab().items()),
        "special": [tokenizer.pad_token_id, tokenizer.eos_token_id],
        "probe": tokenizer(PROBE, verbose=False)["input_ids"],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def check_same_tokenizer(teacher: Tokenizer, student: Tokenizer) -> None:
    """Refuse a student whose ids mean other tokens than the teacher's.

    Raises:
        Mismatch: Names the first id whose tokens differ, or what else differs.
    """
    if tokenizer_digest(teacher) == tokenizer_digest(student):
        return
    teacher_tokens, student_tokens = _by_id(teacher), _by_id(student)
    for token_id in range(max(len(teacher_tokens), len(student_tokens))):
        ours, theirs = teacher_tokens.get(token_id), student_tokens.get(token_id)
        if ours != theirs:
            raise Mismatch(
                f"teacher and student have different tokenizers: id {token_id} is {ours!r} to the teacher "
                f"({len(teacher)} tokens) and {theirs!r} to the student ({len(student)} tokens); "
                "logits can be distilled only between models of one tokenizer"
            )
    raise Mismatch(
        "teacher and student have tokenizers of one vocabulary that split text differently or end it otherwise "
        f"(a probe text gives {teacher(PROBE)['input_ids'][:8]}... and {student(PROBE)['input_ids'][:8]}...)"
    )


def _by_id(tokenizer: Tokenizer) -> dict[int, str]:
    return {token_id: token for token, token_id in cast(Any, tokenizer).get_vocab().items()}
