"""An open Hugging Face decoder-only model: how a row goes through it, and how it writes.

A row is one sequence: the prompt's tokens, then the completion's, which are the labels. The row of logits at a position
is about the next one, so the first label is judged by the state of the last prompt token:

    tokens     p0   p1   p2   y0   y1  (y2 is not read)
    position    0    1    2    3    4
    logits of   -    -   y0   y1   y2

Letters: B batch, S prompt tokens, T labels, W tokens of the longest sequence that is read, D hidden, V vocabulary.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.errors import UsageError
from kdkit.models.decoding import causal_generation_config, has_cache, model_token
from kdkit.models.heads import evaluating, head_layer, states_before
from kdkit.models.joined import Sequences
from kdkit.models.open_model import HFModel, device_of
from kdkit.models.packed import PackedSequences, check_packs, packs_in_one, probe_batch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.options import Generation
    from kdkit.api.values import TokenBatch, WrittenText


RTOL, ATOL = 1e-3, 1e-4
"""How far apart logits may be that are the same but for the order of additions."""


@attrs.define
class _Packing:
    """Whether a model packs."""

    is_on: bool = False


@attrs.frozen(kw_only=True, eq=False)
class CausalModel(HFModel):
    """A decoder-only model with a language-model head, and its tokenizer."""

    _packing: _Packing = attrs.field(factory=_Packing, init=False, repr=False)

    def logits(self, batch: TokenBatch) -> torch.Tensor:
        """Logits `[B, T, V]` of the labels under teacher forcing, straight from the model's own forward pass.

        Only the states that judge labels go into the head, so logits of prompts are never made. What a model does after
        its head (scales, caps) it does to these.
        """
        return self._logits(self._sequences(batch))

    def _logits(self, sequences: Sequences | PackedSequences) -> torch.Tensor:
        layer = head_layer(self.module)
        if layer is None:
            return sequences.judging(self._forward(sequences))
        with _picking(layer, sequences):
            return self._forward(sequences)

    def states(self, batch: TokenBatch) -> torch.Tensor:
        """What goes into the output head for the labels, `[B, T, D]`, under teacher forcing."""
        layer = head_layer(self.module)
        assert layer is not None, "head_function says whether there are states"
        sequences = self._sequences(batch)
        return sequences.judging(states_before(layer, lambda: self._forward(sequences)))

    def _sequences(self, batch: TokenBatch) -> Sequences | PackedSequences:
        apart = Sequences.of(batch, pad_id=self.tokenizer.pad_token_id)
        return self._packed(apart) if self._packing.is_on and self.module.training else apart

    def _packed(self, apart: Sequences) -> PackedSequences:
        return PackedSequences.of(apart, pad_id=self.tokenizer.pad_token_id, in_one=packs_in_one(self.module))

    @contextmanager
    def packing(self) -> Iterator[None]:
        """Within the block rows are packed while the module is in training mode (see `kdkit.models.packed`).

        Raises:
            UsageError: The model does not keep rows of one sequence apart.
        """
        batch = probe_batch(self.tokenizer, str(device_of(self.module)))
        apart, pick = Sequences.of(batch, pad_id=self.tokenizer.pad_token_id), batch.places.pick
        with evaluating(self.module):
            check_packs(self.module, lambda: pick(self._logits(apart)), lambda: pick(self._logits(self._packed(apart))))
        self._packing.is_on = True
        try:
            yield
        finally:
            self._packing.is_on = False

    def _forward(self, sequences: Sequences | PackedSequences) -> torch.Tensor:
        output = self.module(**sequences.inputs, use_cache=False)
        logits_BXV: torch.Tensor = output.logits
        return logits_BXV

    def write(self, batch: TokenBatch, options: Generation) -> list[WrittenText]:
        """What the model writes after each prompt; the prompts are padded on the left.

        A model that would see the padding (RWKV) writes a text at a time.
        """
        if not self._sees_padding:
            left = padded_left(batch.source_ids_BS, batch.source_mask_BS)
            return self._texts(*left, options, batch.ids)
        counts = batch.source_counts.tolist()
        rows = zip(batch.source_ids_BS, batch.source_mask_BS, counts, batch.ids, strict=True)
        return [
            written
            for ids_S, mask_S, size, id_ in rows
            for written in self._texts(ids_S[None, :size], mask_S[None, :size], options, [id_])
        ]

    @cached_property
    def _sees_padding(self) -> bool:
        return sees_padding(self.module)

    def _texts(
        self, ids_BS: torch.Tensor, mask_BS: torch.Tensor, options: Generation, ids: Sequence[str]
    ) -> list[WrittenText]:
        import torch

        with torch.inference_mode(), self._writing(options, ids) as drawn:
            ids_BX = self.module.generate(
                input_ids=ids_BS, attention_mask=mask_BS, logits_processor=drawn, synced_gpus=False
            )
        return self._texts_of(ids_BX[:, ids_BS.shape[1] :])

    def adopt(self, options: Generation) -> None:
        """Make these options the module's own generation configuration: what it does by default, and what is saved."""
        self.module.generation_config = causal_generation_config(self.module, self.tokenizer, options)


def causal_model(module: Any, tokenizer: Tokenizer) -> CausalModel:
    """A module as a model, if it is one that sees no token before its turn.

    Raises:
        UsageError: It is not.
    """
    check_causal(module)
    end_like(module, tokenizer)
    return CausalModel(module=module, tokenizer=tokenizer)


def end_like(module: Any, tokenizer: Tokenizer) -> None:
    """Have a model end its texts at the token that ends its tokenizer's too, where it would end them at others."""
    told = model_token(module, "eos_token_id")
    ends = told if isinstance(told, list) else [] if told is None else [told]
    if tokenizer.eos_token_id not in ends:
        # Not in its configuration: what differs from that is told apart in the keys of its texts.
        module.generation_config.eos_token_id = [*ends, tokenizer.eos_token_id] if ends else tokenizer.eos_token_id


def padded_left(ids_BS: torch.Tensor, mask_BS: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows that are padded on the right, with their padding on the left instead."""
    import torch

    width = ids_BS.shape[1]
    place_BS = (torch.arange(width, device=ids_BS.device)[None] + mask_BS.sum(1, keepdim=True)) % width
    return ids_BS.gather(1, place_BS), mask_BS.gather(1, place_BS)


def sees_padding(module: Any) -> bool:
    """Whether a model writes otherwise after a prompt with padding before it: recurrent ones such as RWKV do."""
    import torch

    device = device_of(module)
    rows = ([0, 1, 0], [1, 1, 1]), ([1, 1, 0, 1, 0], [0, 0, 1, 1, 1])
    with evaluating(module):
        alone_V, padded_V = (
            module.generate(
                input_ids=torch.tensor([ids], device=device),
                attention_mask=torch.tensor([mask], device=device),
                generation_config=_one_token(module),
            ).logits[0][0]
            for ids, mask in rows
        )
    return not _same(alone_V, padded_V)


def _one_token(module: Any) -> Any:
    """A generation of one token that tells its logits."""
    from transformers import GenerationConfig

    own = module.generation_config
    return GenerationConfig(
        max_new_tokens=1,
        min_new_tokens=0,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
        pad_token_id=own.pad_token_id,
        bos_token_id=own.bos_token_id,
        eos_token_id=own.eos_token_id,
        use_cache=has_cache(module),
    )


def check_causal(module: Any) -> None:
    """Refuse a model in which a token sees those after it: its logits would know the label that they are about.

    Raises:
        UsageError: It is such a model, like BERT unless `is_decoder` is set; or its head reads something else than a
            state a token, as ProphetNet's does; or its logits are not numbers.
    """
    import torch

    ids_BW = torch.tensor([[0, 1, 0, 1], [0, 1, 0, 0]], device=device_of(module))
    layer = head_layer(module)
    read: list[torch.Size] = []
    with evaluating(module), ExitStack() as stack:
        if layer is not None:
            hook = layer.register_forward_pre_hook(lambda _, arguments: read.append(arguments[0].shape[:-1]))
            stack.callback(hook.remove)
        one_WV, other_WV = module(input_ids=ids_BW, use_cache=False).logits
    if layer is not None and read != [ids_BW.shape]:
        raise UsageError(
            f"the head of this {module.config.model_type} model does not read one state for each token, so kdkit "
            "cannot tell which logits belong to which label; use another model"
        )
    if bool(one_WV.isnan().any()):
        raise UsageError(
            f"the logits of this {module.config.model_type} model are not numbers (NaN), so its weights are damaged or "
            "too large; use another copy of it"
        )
    if not _same(one_WV[:-1], other_WV[:-1]):
        raise UsageError(
            f"this {module.config.model_type} model reads the tokens after the one that it is asked about, so it is "
            "not decoder-only; set is_decoder = true in its configuration if it has that, or use another model"
        )


def _same(one_V: torch.Tensor, other_V: torch.Tensor) -> bool:
    """Whether logits differ by no more than another order of additions makes them, in their type."""
    import torch

    rounding = 4 * torch.finfo(one_V.dtype).eps
    one_V, other_V = one_V.float(), other_V.float()
    atol = max(ATOL, rounding * float(one_V.abs().max()))
    return torch.allclose(one_V, other_V, rtol=max(RTOL, rounding), atol=atol)


@contextmanager
def _picking(layer: torch.nn.Module, sequences: Sequences | PackedSequences) -> Iterator[None]:
    """Within the block only the states that judge labels go into the output head."""

    def pick(_: object, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (sequences.judging(arguments[0]), *arguments[1:])

    hook = layer.register_forward_pre_hook(pick)
    try:
        yield
    finally:
        hook.remove()
