"""`hf-seq2seq`: any Hugging Face encoder-decoder as the student."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.options import option
from kdkit.builtin.students.hf import HFStudent, some_layers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kdkit.api.interfaces import Tokenizer
    from kdkit.models import EncoderDecoder
    from kdkit.models.open_model import HFModel


@attrs.frozen(kw_only=True)
class FromTeacher:
    """Which of the teacher's layers the student starts from."""

    encoder_layers: tuple[int, ...] = option(
        "Encoder layers of the teacher to keep, counted from 0, in order.", check=some_layers
    )
    decoder_layers: tuple[int, ...] = option(
        "Decoder layers of the teacher to keep, counted from 0, in order.", check=some_layers
    )


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

    def _kept(self) -> dict[str, tuple[int, ...]] | None:
        return attrs.asdict(self.from_teacher) if self.from_teacher is not None else None

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
