"""`hf-seq2seq`: any Hugging Face encoder-decoder as the student."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.options import option
from kdkit.builtin.students.from_teacher import Layers, by_option, count_option, layers_option, tokens_option
from kdkit.builtin.students.hf import HFStudent
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kdkit.api.interfaces import Tokenizer
    from kdkit.models import EncoderDecoder
    from kdkit.models.open_model import HFModel


@attrs.frozen(kw_only=True)
class Keep:
    """How many layers of each stack to keep."""

    encoder: int | None = count_option("Encoder layers to keep; by default all.")
    decoder: int | None = count_option("Decoder layers to keep; by default all.")

    def __attrs_post_init__(self) -> None:
        if self.encoder is None and self.decoder is None:
            raise UsageError("give how many layers of the encoder, of the decoder, or of both to keep")


def _at_least_one_layer(_instance: object, _field: object, value: int | Keep | None) -> None:
    if isinstance(value, int) and value < 1:
        raise ValueError(f"must be at least 1, is {value}")


@attrs.frozen(kw_only=True)
class FromTeacher(Layers):
    """Which of the teacher's layers the student starts from."""

    stacks = ("encoder_layers", "decoder_layers")

    encoder_layers: tuple[int, ...] | None = layers_option("Encoder layers of the teacher")
    decoder_layers: tuple[int, ...] | None = layers_option("Decoder layers of the teacher")
    keep: int | Keep | None = option(
        "How many layers to keep, chosen by `by`: a number for encoder and decoder alike, or a table with a number for "
        "one or both.",
        default=None,
        check=_at_least_one_layer,
    )
    by: str = by_option()
    tokens: int = tokens_option()

    def _wanted(self, stack: str) -> int | None:
        if not isinstance(self.keep, Keep):
            return self.keep
        return self.keep.encoder if stack == "encoder_layers" else self.keep.decoder

    @property
    def _keep_in_words(self) -> str:
        """How many layers are kept."""
        wanted = {stack: self._wanted(stack) for stack in self.stacks}
        encoder, decoder = ("all" if count is None else str(count) for count in wanted.values())
        return f"{encoder} encoder and {decoder} decoder layers"


@attrs.frozen(kw_only=True)
class HFSeq2SeqStudent(HFStudent):
    """An encoder-decoder by name or path, new from a configuration, or made of the teacher's own layers."""

    from_teacher: FromTeacher | None = option(
        "Some of the teacher's layers instead, with their weights and the teacher's tokenizer.", default=None
    )

    @property
    def model_kind(self) -> EncoderDecoder:
        """An encoder-decoder."""
        from kdkit import models

        return models.EncoderDecoder()

    def load_tokenizer(self, teacher_tokenizer: Tokenizer) -> Tokenizer:
        """The named model's own, which marks texts with the teacher's languages; else the teacher's."""
        from kdkit import models

        if not self.model:
            return teacher_tokenizer
        tokenizer = self.model_kind.load_tokenizer(self.model)
        models.adopt_languages(tokenizer, teacher_tokenizer)
        return tokenizer

    def _named_config(self, tokenizer: Tokenizer) -> Any:
        from kdkit import models

        config, folder = models.load_config(self.model), models.find_folder(self.model, weights=False)
        models.check_beginning(config, tokenizer, folder=folder, ours=True)
        return config

    def _new_config(self, table: Mapping[str, Any], tokenizer: Tokenizer) -> Any:
        from kdkit import models

        return models.new_config(table, tokenizer)

    def _ready(self, module: Any, tokenizer: Tokenizer) -> HFModel:
        from kdkit import models

        models.begin_alike(module, tokenizer, ours=True)
        return models.Seq2SeqModel(module=module, tokenizer=tokenizer)
