"""An open Hugging Face encoder-decoder: the `TextModel` of the built-in teacher and student."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.models.decoding import attend_as_configured, decoder_inputs, generation_config, own_cache
from kdkit.models.heads import head_layer, states_before
from kdkit.models.open_model import HFModel

if TYPE_CHECKING:
    import torch

    from kdkit.api.options import Generation
    from kdkit.api.values import TokenBatch, WrittenText


@attrs.frozen(kw_only=True, eq=False)
class Seq2SeqModel(HFModel):
    """An encoder-decoder with a language-model head, and its tokenizer."""

    def logits(self, batch: TokenBatch) -> torch.Tensor:
        """Logits `[B, T, V]` under teacher forcing, straight from the model's own forward pass.

        That pass knows what its head needs (T5 with tied embeddings scales decoder states by d_model^-0.5 first).
        """
        attend_as_configured(self.module)
        output = self.module(
            input_ids=batch.source_ids_BS,
            attention_mask=batch.source_mask_BS,
            decoder_input_ids=decoder_inputs(self.module, batch.labels_BT),
            use_cache=False,
        )
        logits_BTV: torch.Tensor = output.logits
        return logits_BTV

    def states(self, batch: TokenBatch) -> torch.Tensor:
        """The input of the output head, `[B, T, D]`, under teacher forcing: the forward pass ends there."""
        layer = head_layer(self.module)
        assert layer is not None, "head_function tells whether the model has states"
        return states_before(layer, lambda: self.logits(batch))

    def write(self, batch: TokenBatch, options: Generation) -> list[WrittenText]:
        """Beam search, or drawn; special tokens are left out of the texts."""
        import torch

        attend_as_configured(self.module)
        with torch.inference_mode(), self._writing(options, batch.ids) as drawn:
            ids_BT = self.module.generate(
                input_ids=batch.source_ids_BS,
                attention_mask=batch.source_mask_BS,
                **own_cache(self.module),
                logits_processor=drawn,
                synced_gpus=False,  # a model under FSDP is whole by now, and other processes write other texts
            )
        return self._texts_of(ids_BT[:, 1:])  # the first begins the text, and BART's is its end as well

    def adopt(self, options: Generation) -> None:
        """Make these options the module's own generation configuration, used by default and saved with it.

        Passing them to transformers is not enough: it fills what they leave open from the module's configuration.
        """
        self.module.generation_config = generation_config(self.module, self.tokenizer, options)
