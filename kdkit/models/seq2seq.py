"""An open Hugging Face encoder-decoder: the `TextModel` of the built-in teacher and student."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.values import EncodedExample, OutputHead
from kdkit.models.decoding import decoder_inputs, generation_config
from kdkit.models.loading import quiet
from kdkit.system.files import disk_full, make_folder, publish, sync_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import torch

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.options import Generation, Training
    from kdkit.api.values import TokenBatch


# Of the largest logit: what half precision and another order of sums may do.
HEAD_ERROR = 0.01


class _AtHeadError(Exception):
    """Ends a forward pass before its output head."""

    def __init__(self, states_BTD: torch.Tensor) -> None:
        super().__init__()
        self.states_BTD = states_BTD


@attrs.frozen(kw_only=True, eq=False)
class Seq2SeqModel:
    """A model and its tokenizer.

    Attributes:
        module: A transformers encoder-decoder with a language-model head.
        tokenizer: Its tokenizer.
    """

    module: Any
    tokenizer: Tokenizer

    @property
    def vocab_size(self) -> int:
        """Width of the logits."""
        return int(self.module.config.vocab_size)

    def logits(self, batch: TokenBatch) -> torch.Tensor:
        """Logits `[B, T, V]` under teacher forcing, straight from the model's own forward pass.

        That pass knows what its head needs (T5 with tied embeddings scales decoder states by d_model^-0.5 first).
        """
        output = self.module(
            input_ids=batch.source_ids_BS,
            attention_mask=batch.source_mask_BS,
            decoder_input_ids=decoder_inputs(self.module, batch.labels_BT),
            use_cache=False,
        )
        logits_BTV: torch.Tensor = output.logits
        return logits_BTV

    def states(self, batch: TokenBatch) -> torch.Tensor:
        """What goes into the output head, `[B, T, D]`, under teacher forcing: the forward pass ends there."""

        def stop(_: object, arguments: tuple[torch.Tensor, ...]) -> None:
            raise _AtHeadError(arguments[0])

        hook = self.module.get_output_embeddings().register_forward_pre_hook(stop)
        try:
            self.logits(batch)
        except _AtHeadError as reached:
            return reached.states_BTD
        finally:
            hook.remove()
        raise AssertionError("the model's forward pass does not use its output head")

    def head_function(self) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """The output head as a function of `states`; None if something else follows it.

        That is tried on a few tokens: some models cap their logits, or scale them, after the head.
        """
        import torch

        from kdkit.data.tokens import collate

        layer = self.module.get_output_embeddings()
        if not isinstance(layer, torch.nn.Linear):
            return None
        bias_1V = getattr(self.module, "final_logits_bias", None)

        def head(states_ND: torch.Tensor) -> torch.Tensor:
            logits_NV: torch.Tensor = layer(states_ND)
            return logits_NV if bias_1V is None else logits_NV + bias_1V

        ids = tuple(range(min(8, self.vocab_size)))
        row = EncodedExample(id="", source_ids=ids, target_ids=ids)
        batch = collate([row], pad_id=self.tokenizer.pad_token_id, device=str(layer.weight.device))
        training = self.module.training
        self.module.eval()  # dropout would make two logits of one token
        try:
            with torch.inference_mode():
                own_BTV, made_BTV = self.logits(batch).float(), head(self.states(batch)).float()
        finally:
            self.module.train(training)
        if own_BTV.shape != made_BTV.shape or (own_BTV - made_BTV).abs().max() > HEAD_ERROR * own_BTV.abs().max():
            return None
        return head

    def head(self) -> OutputHead | None:
        """The output head in float32; None if something else follows it (see `head_function`)."""
        import torch

        if self.head_function() is None:
            return None
        layer = self.module.get_output_embeddings()
        weight_VD = layer.weight.detach().float()
        added = (layer.bias, getattr(self.module, "final_logits_bias", None))
        biases = [bias.detach().float().reshape(-1) for bias in added if bias is not None]
        bias_V = torch.stack([torch.zeros_like(weight_VD[:, 0]), *biases]).sum(0)
        return OutputHead(
            weight_VD=weight_VD.cpu().numpy(),
            bias_V=bias_V.cpu().numpy() if bool(bias_V.any()) else None,
        )

    @contextmanager
    def lean(self, options: Training) -> Iterator[None]:
        """Gradient checkpointing and compilation, for the time of a training (see `kdkit.api.interfaces.LeanModel`)."""
        from kdkit.models.checkpoint_compile import compiled, recomputed

        with ExitStack() as stack:
            if options.gradient_checkpointing:
                stack.enter_context(recomputed(self.module))
            if options.compile:
                stack.enter_context(compiled(self.module))
            yield

    def generate(self, batch: TokenBatch, options: Generation) -> list[str]:
        """Beam search; special tokens are left out of the texts."""
        import torch

        self.adopt(options)
        with torch.inference_mode():
            ids_BT = self.module.generate(
                input_ids=batch.source_ids_BS,
                attention_mask=batch.source_mask_BS,
                synced_gpus=False,  # a model under FSDP is whole by now, and other processes write other texts
            )
        return self.tokenizer.batch_decode(ids_BT, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def adopt(self, options: Generation) -> None:
        """Make these options the module's own generation configuration: what it does by default, and what is saved.

        Passing them to transformers is not enough: it fills what they leave open from the module's configuration.
        """
        self.module.generation_config = generation_config(self.module, self.tokenizer, options)

    def save(self, folder: Path, *, texts: Mapping[str, str]) -> None:
        """Write the model whole or not at all: into a folder beside it, then renamed."""
        for left in (*folder.parent.glob(f".{folder.name}.*.partial"), *folder.parent.glob(f".{folder.name}.*.old")):
            shutil.rmtree(left)  # of a process that was killed here
        partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
        with disk_full(folder.parent, sum(tensor.nbytes for tensor in self.module.state_dict().values())):
            make_folder(folder.parent)
            with quiet():
                self.module.save_pretrained(str(partial))
            self.tokenizer.save_pretrained(str(partial))  # type: ignore[attr-defined]
            for name, text in texts.items():
                (partial / name).write_text(text, encoding="utf-8")
            sync_tree(partial)
        if folder.exists():
            old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
            publish(folder, old)
            publish(partial, folder)
            shutil.rmtree(old)
        else:
            publish(partial, folder)


def count_parameters(module: torch.nn.Module) -> int:
    """Trainable parameters; a tensor that is shared counts once."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
