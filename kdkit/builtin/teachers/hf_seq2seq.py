"""`hf-seq2seq`: any Hugging Face encoder-decoder as the teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from kdkit.builtin.teachers import named_tokenizer
from kdkit.builtin.teachers.open_hf import HFTeacher
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from kdkit.api.interfaces import Tokenizer
    from kdkit.models import EncoderDecoder
    from kdkit.models.open_model import HFModel


@attrs.frozen(kw_only=True)
class HFSeq2SeqTeacher(HFTeacher):
    """An encoder-decoder by name or path, or new from a configuration; fine-tuned first if asked."""

    ends_texts: ClassVar[bool] = True

    src_lang: str = named_tokenizer.src_lang()
    tgt_lang: str = named_tokenizer.tgt_lang()

    def __attrs_post_init__(self) -> None:
        HFTeacher.__attrs_post_init__(self)
        if (self.src_lang or self.tgt_lang) and not (self.tokenizer or self.model):
            raise UsageError("src_lang and tgt_lang need a tokenizer that marks languages; give one in `tokenizer`")

    @property
    def model_kind(self) -> EncoderDecoder:
        """An encoder-decoder."""
        from kdkit import models

        return models.EncoderDecoder()

    def _named_tokenizer(self) -> Tokenizer:
        name = self.tokenizer or self.model
        return named_tokenizer.load(name, src_lang=self.src_lang, tgt_lang=self.tgt_lang)

    def model_config(self, tokenizer: Tokenizer) -> Any:
        """The transformers configuration."""
        from kdkit import models

        if self.config is not None:
            config = models.new_config(self.config, tokenizer)
        else:
            config, folder = models.load_config(self.model), models.find_folder(self.model, weights=False)
            models.check_beginning(config, tokenizer, folder=folder, ours=bool(self.tgt_lang))
        if self.is_made_here:
            models.check_reopens(config, tokenizer)
        self._check_lora(config)
        return config

    def _ready(self, module: Any, tokenizer: Tokenizer, *, new: bool) -> HFModel:
        from kdkit import models

        models.begin_alike(module, tokenizer, ours=new or bool(self.tgt_lang))
        return models.Seq2SeqModel(module=module, tokenizer=tokenizer)
