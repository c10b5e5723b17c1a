"""`hf-causal`: any Hugging Face decoder-only model as the teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from kdkit.builtin.teachers.open_hf import HFTeacher

if TYPE_CHECKING:
    from kdkit.api.interfaces import Tokenizer
    from kdkit.models import DecoderOnly
    from kdkit.models.open_model import HFModel


@attrs.frozen(kw_only=True)
class HFCausalTeacher(HFTeacher):
    """A decoder-only model by name or path, or new from a configuration; fine-tuned first if asked."""

    ends_texts: ClassVar[bool] = False  # a prompt does not end where the completion begins

    @property
    def model_kind(self) -> DecoderOnly:
        """A decoder-only model."""
        from kdkit import models

        return models.DecoderOnly()

    def _named_tokenizer(self) -> Tokenizer:
        return self.model_kind.load_tokenizer(self.tokenizer or self.model)

    def model_config(self, tokenizer: Tokenizer) -> Any:
        """The transformers configuration."""
        from kdkit import models

        auto = self.model_kind.auto
        if self.config is None:
            config = models.load_config(self.model, auto)
        else:
            config = models.config_from(self.config, tokenizer, auto)
        if self.is_made_here:
            models.check_reopens(config, tokenizer)
        self._check_lora(config)
        return config

    def _ready(self, module: Any, tokenizer: Tokenizer, *, new: bool) -> HFModel:  # noqa: ARG002
        from kdkit import models

        return models.causal_model(module, tokenizer)
