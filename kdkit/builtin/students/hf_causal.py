"""`hf-causal`: any Hugging Face decoder-only model as the student."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.options import option
from kdkit.builtin.students.hf import HFStudent, some_layers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kdkit.api.interfaces import TextModel, Tokenizer
    from kdkit.models import DecoderOnly


@attrs.frozen(kw_only=True)
class FromTeacher:
    """Which of the teacher's layers the student starts from."""

    layers: tuple[int, ...] = option("The teacher's layers to keep, from 0, in order.", check=some_layers)


@attrs.frozen(kw_only=True)
class HFCausalStudent(HFStudent):
    """A decoder-only model by name or path, new from a configuration, or made of the teacher's own layers."""

    from_teacher: FromTeacher | None = option(
        "Some of the teacher's layers instead, with their weights; it uses the teacher's tokenizer.", default=None
    )

    @property
    def model_kind(self) -> DecoderOnly:
        """A decoder-only model."""
        from kdkit import models

        return models.DecoderOnly()

    def _kept(self) -> dict[str, tuple[int, ...]] | None:
        return attrs.asdict(self.from_teacher) if self.from_teacher is not None else None

    def load_tokenizer(self, teacher_tokenizer: Tokenizer) -> Tokenizer:
        """The named model's own, else the teacher's."""
        return self.model_kind.load_tokenizer(self.model) if self.model else teacher_tokenizer

    def _named_config(self, tokenizer: Tokenizer) -> Any:  # noqa: ARG002 - the tokenizer decides nothing here
        from kdkit import models

        return models.load_config(self.model, self.model_kind.auto)

    def _new_config(self, table: Mapping[str, Any], tokenizer: Tokenizer) -> Any:
        from kdkit import models

        return models.config_from(table, tokenizer, self.model_kind.auto)

    def _ready(self, module: Any, tokenizer: Tokenizer, *, device: str) -> TextModel:
        from kdkit import models

        return models.causal_model(module.to(device), tokenizer)
