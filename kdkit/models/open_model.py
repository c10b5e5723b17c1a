"""An open Hugging Face model, of whatever kind: its head, its folder, its texts' rules."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.values import EncodedExample, OutputHead, WrittenText
from kdkit.errors import UsageError
from kdkit.models.adapters import add_adapters, merged_weights, save_adapters
from kdkit.models.decoding import text_rules
from kdkit.models.heads import evaluating, factor_after_head, head_layer, logit_width, logits_after, with_bias
from kdkit.models.linear_head import LinearHead
from kdkit.models.quiet import quiet
from kdkit.system.files import disk_full, make_folder, publish, sync_tree, write_json
from kdkit.system.folders import delete
from kdkit.system.reading import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Self

    import torch

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.lora import Lora
    from kdkit.api.options import Generation, Training
    from kdkit.api.values import TokenBatch


@attrs.frozen(kw_only=True, eq=False)
class HFModel(ABC):
    """A model and its tokenizer; a class of each kind says how a batch goes through it.

    Attributes:
        module: A transformers model with a language-model head.
        tokenizer: Its tokenizer.
        saved_dtype: The type of the weights that `save` writes, "float32".
        lora: The adapters that are trained beside its weights; None if these are trained themselves.
        base: The folder, or the hub's name, of the model that the adapters belong to, where they are saved alone.
    """

    module: Any
    tokenizer: Tokenizer
    saved_dtype: str = "float32"
    lora: Lora | None = None
    base: str = ""

    @abstractmethod
    def logits(self, batch: TokenBatch) -> torch.Tensor:
        """Logits `[B, T, V]` under teacher forcing, straight from the model's own forward pass."""

    @abstractmethod
    def states(self, batch: TokenBatch) -> torch.Tensor:
        """What goes into the output head, `[B, T, D]`, under teacher forcing: the forward pass ends there."""

    @abstractmethod
    def write(self, batch: TokenBatch, options: Generation) -> list[WrittenText]:
        """A text for each source, and whether the limit on its length cut it."""

    def generate(self, batch: TokenBatch, options: Generation) -> list[str]:
        """A text for each source, without special tokens."""
        return [written.text for written in self.write(batch, options)]

    def _texts_of(self, written_BT: torch.Tensor) -> list[WrittenText]:
        """The texts that ids spell, what begins them left out; a text without an end is cut."""
        import torch

        ends = self.module.generation_config.eos_token_id
        ids = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
        ended_B = torch.isin(written_BT, torch.tensor(ids, device=written_BT.device)).any(1).tolist()
        texts = self.tokenizer.batch_decode(written_BT, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return [WrittenText(text=text, is_cut=not ended) for text, ended in zip(texts, ended_B, strict=True)]

    @contextmanager
    def _writing(self, options: Generation, ids: Sequence[str]) -> Iterator[Any]:
        """The generation configuration of these options within the block; gives what draws the rows' texts, if any."""
        from kdkit.models.drawing import drawing

        drawn = drawing(options, ids)
        if drawn is None:
            self.adopt(options)
            yield None
            return
        self.adopt(attrs.evolve(options, temperature=0.0, top_p=1.0, top_k=0, seed=0))  # whose scores are drawn from
        try:
            yield drawn
        finally:
            self.adopt(options)

    @abstractmethod
    def adopt(self, options: Generation) -> None:
        """Make these options the module's own generation configuration: what it does by default, and what is saved.

        Passing them to transformers is not enough: it fills what they leave open from the module's configuration.
        """

    @property
    def vocab_size(self) -> int:
        """Width of the logits."""
        return logit_width(self.module)

    @property
    def text_rules(self) -> str:
        """What the model's texts begin with by its own rules (see `kdkit.api.interfaces.RuledTexts`)."""
        return text_rules(self.module)

    def head_function(self) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """The output head as a function of `states`; None if something else follows it (see `factor_after_head`)."""
        layer, factor = self._linear_head()
        if layer is None or factor is None:
            return None
        return LinearHead(module=self.module, layer=layer, factor=factor)

    def collated(self, rows: Sequence[EncodedExample]) -> TokenBatch:
        """Rows as a batch on the model's device."""
        from kdkit.data.tokens import collate

        return collate(rows, pad_id=self.tokenizer.pad_token_id, device=device_of(self.module))

    def logits_of_states(self) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """Makes of `states`, `[N, D]`, the logits that `logits` gives, to the bit: some tokens at a time.

        Unlike `head_function` it also has what follows the head, and no gradients. None where the model has no states,
        or a probe comes out otherwise.
        """
        import torch

        layer, factor = self._linear_head()
        if layer is None:
            return None
        rows = [EncodedExample(id="", source_ids=(0, 1)[:size], target_ids=(0, 1)[:size]) for size in (1, 2, 2)]
        any_row, probe = self.collated(rows[:1]), self.collated(rows[1:])

        def made(states_ND: torch.Tensor) -> torch.Tensor:
            if factor == 1:
                return LinearHead(module=self.module, layer=layer)(states_ND)
            return logits_after(layer, states_ND, lambda: self.logits(any_row))

        with evaluating(self.module):
            own_BTV = self.logits(probe)
            found_NV = made(self.states(probe).flatten(0, 1))
        return made if torch.equal(found_NV, own_BTV.flatten(0, 1)) else None

    def _linear_head(self) -> tuple[torch.nn.Linear | None, float | None]:
        """The head's layer, and the number that its output is multiplied with; None where logits are not linear."""
        layer = head_layer(self.module)
        if layer is None:
            return None, None
        row = EncodedExample(id="", source_ids=(0, 1), target_ids=(0, 1, 2))
        batch = self.collated([row, row])
        with evaluating(self.module):
            return layer, factor_after_head(self.module, layer, lambda: self.logits(batch))

    def head(self) -> OutputHead | None:
        """The output head in float32; None if something else follows it (see `head_function`)."""
        import torch

        layer, factor = self._linear_head()
        if layer is None or factor is None:
            return None
        from accelerate.utils import align_module_device

        with align_module_device(layer):  # of a model over several devices, weights that wait elsewhere
            weight_VD = layer.weight.detach().float()
            bias_V = torch.zeros_like(weight_VD[:, 0]) if layer.bias is None else layer.bias.detach().float()
        bias_V = with_bias(self.module, bias_V).reshape(-1)
        if factor != 1:
            weight_VD, bias_V = factor * weight_VD, factor * bias_V
        return OutputHead(
            weight_VD=weight_VD.cpu().numpy(),
            bias_V=bias_V.cpu().numpy() if bool(bias_V.any()) else None,
        )

    def with_adapters(self, lora: Lora, *, seed: int, base: str = "") -> Self:
        """The same module, with adapters that are trained instead of its weights.

        Args:
            lora: Which.
            seed: Seed of their first numbers.
            base: Where others find the model, for adapters that are saved alone.
        """
        add_adapters(self.module, lora, seed=seed)
        return attrs.evolve(self, lora=lora, base=base)

    @contextmanager
    def lean(self, options: Training) -> Iterator[None]:
        """Gradient checkpointing, compilation and packing during a training (see `kdkit.api.interfaces.LeanModel`)."""
        from kdkit.models.checkpoint_compile import compiled, recomputed

        with ExitStack() as stack:
            if options.gradient_checkpointing:
                stack.enter_context(recomputed(self.module))
            if options.compile:
                stack.enter_context(compiled(self.module))
            if options.packing:
                stack.enter_context(self.packing())
            yield

    @contextmanager
    def packing(self) -> Iterator[None]:
        """Several rows in one sequence, which this kind of model cannot read.

        Raises:
            UsageError: Always.
        """
        raise UsageError(
            f"packing = true, but a {type(self).__name__} reads source and target apart, and only decoder-only models "
            "have their rows packed; set it to false"
        )
        yield

    def save(self, folder: Path, *, texts: Mapping[str, str]) -> None:
        """Write the model whole or not at all: into a temporary folder, which is then renamed."""
        for left in (*folder.parent.glob(f".{folder.name}.*.partial"), *folder.parent.glob(f".{folder.name}.*.old")):
            delete([left])  # of a process that was killed here
        partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
        with disk_full(folder, self._saved_bytes(), discards=partial):
            make_folder(partial)
            if self.lora is not None and not self.lora.merge:
                save_adapters(self.module, self.lora, partial, base=self.base, dtype=self.saved_dtype)
            else:
                self._save_weights(partial)
            self.tokenizer.save_pretrained(str(partial))  # type: ignore[attr-defined]
            for name, text in texts.items():
                (partial / name).write_text(text, encoding="utf-8")
            sync_tree(partial)
        if folder.exists():
            old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
            publish(folder, old)
            publish(partial, folder)
            delete([old])
        else:
            publish(partial, folder)

    def _save_weights(self, folder: Path) -> None:
        weights = self.module.state_dict() if self.lora is None else merged_weights(self.module)
        if self.saved_dtype != "float32":
            weights = _of_type(weights, self.saved_dtype)
        with quiet():
            self.module.save_pretrained(str(folder), state_dict=weights)
        if self.saved_dtype != "float32":
            _state_type(folder / "config.json", self.saved_dtype)

    def _saved_bytes(self) -> int:
        is_part = self.lora is not None and not self.lora.merge
        saved = (each for each in self.module.parameters() if each.requires_grad or not is_part)
        count: int = sum(each.numel() for each in saved)
        return count * (4 if self.saved_dtype == "float32" else 2)


def _of_type(weights: Mapping[str, torch.Tensor], dtype: str) -> dict[str, torch.Tensor]:
    """Weights in another type; those that share their memory still do, so that they are written once."""
    import torch

    wanted = getattr(torch, dtype)
    made: dict[tuple[int, torch.Size], torch.Tensor] = {}
    return {
        name: made.setdefault((tensor.data_ptr(), tensor.shape), tensor.to(wanted))
        if tensor.is_floating_point()
        else tensor
        for name, tensor in weights.items()
    }


def _state_type(config: Path, dtype: str) -> None:
    """Have a configuration that was saved state the type of the weights beside it, in which transformers opens them."""
    write_json(config, {**read_json(config), "dtype": dtype})


def device_of(module: Any) -> str:
    """The device on which a model takes its inputs; of one over several devices, that of its first weights."""
    return str(next((each.device for each in module.parameters() if not each.is_meta), "cpu"))


def dtype_of(module: Any) -> str:
    """The name of the type that a model's weights have, "float32"; of several types, the first weight's."""
    return str(module.dtype).removeprefix("torch.")


def count_parameters(module: torch.nn.Module) -> int:
    """Number of trainable parameters; a shared tensor counts once."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
