"""Models that are open, what kind they are, and their tokenizers.

Letters in shapes: B batch, T target, V vocabulary, D hidden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import torch

    from kdkit.api.options import Generation, TokenLimits, Training
    from kdkit.api.values import EncodedExample, Example, ModelSize, TokenBatch, WrittenText


class Tokenizer(Protocol):
    """The part of a Hugging Face tokenizer that kdkit uses."""

    pad_token_id: int
    eos_token_id: int

    def __call__(self, text: Any = None, **options: Any) -> Any:
        """Token ids of a text or of several: of sources, or with `text_target` of targets."""
        ...

    def batch_decode(self, ids: Any, **options: Any) -> list[str]:
        """Texts of token ids."""
        ...

    def __len__(self) -> int:
        """Number of ids, added tokens included."""
        ...


class ModelKind(Protocol):
    """Facts of a kind of model (such as encoder-decoder), known before any weights are loaded."""

    @property
    def name(self) -> str:
        """What such a model is called: "encoder-decoder"."""
        ...

    @property
    def pipeline_tag(self) -> str:
        """The Hugging Face hub's name for the task of such models."""
        ...

    @property
    def is_joined(self) -> bool:
        """Whether source and target are one sequence to such a model, padded and packed as one."""
        ...

    def code(self, folder: str, generation: Generation, form: str = "pair", *, ended: bool = False) -> str:
        """Python that opens a model of this kind with plain transformers, and writes a text as the recipe does.

        Args:
            folder: The model.
            generation: How it writes.
            form: What it was trained on (see `kdkit.api.Example`).
            ended: Whether its tokenizer puts the token that ends texts after each text.
        """
        ...

    def encode(
        self, examples: Sequence[Example], tokenizer: Tokenizer, limits: TokenLimits
    ) -> Sequence[EncodedExample]:
        """Token ids of every example, as such a model reads them, within the limits.

        Built-in kinds give a sequence that also knows how each row was read (`kdkit.data.reading.Reading`); there an
        example may be several rows, or none.
        """
        ...

    def target_ids(self, texts: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
        """The labels of whole targets, whatever the limits."""
        ...

    def prompts(
        self,
        encoded: Sequence[EncodedExample],
        examples: Sequence[Example],
        tokenizer: Tokenizer,
        limits: TokenLimits,
    ) -> Sequence[EncodedExample]:
        """What such a model reads to write a text for each example.

        Args:
            encoded: What `encode` made of the examples.
            examples: The rows.
            tokenizer: The tokenizer.
            limits: The limits.
        """
        ...

    def size_of(self, config: Any) -> ModelSize:
        """Parameters and vocabulary of a transformers configuration; nothing is allocated.

        Raises:
            UsageError: The numbers do not make a model.
        """
        ...

    def check_positions(self, config: Any, limits: TokenLimits, generation: Generation, form: str = "pair") -> None:
        """Refuse limits that exceed a model's positions, where the rows are of that form (see `kdkit.api.Example`).

        Raises:
            UsageError: Names the limit and the greatest value that the model takes.
        """
        ...


class TextModel(Protocol):
    """An open model that writes a target for a source: what a student is, and what a teacher may be."""

    @property
    def module(self) -> torch.nn.Module:
        """The torch module, for optimizers and devices."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer."""
        ...

    @property
    def vocab_size(self) -> int:
        """Width of its logits (at least the tokenizer's size)."""
        ...

    def logits(self, batch: TokenBatch) -> torch.Tensor:
        """Logits `[B, T, V]` under teacher forcing: row i of an example is the distribution of its label i."""
        ...

    def generate(self, batch: TokenBatch, options: Generation) -> list[str]:
        """The model's texts for the batch's sources, in order."""
        ...

    def adopt(self, options: Generation) -> None:
        """Make these options what the model does by default, also when plain transformers opens what `save` wrote."""
        ...

    def save(self, folder: Path, *, texts: Mapping[str, str]) -> None:
        """Write a plain transformers folder, whole or not at all: safetensors, tokenizer, configurations.

        Args:
            folder: Where; what was there is replaced.
            texts: Text files that go with it, by name: the model card and the recipe.
        """
        ...


@runtime_checkable
class EndingModel(TextModel, Protocol):
    """A model that tells whether it ended a text itself, or the limit on its length cut the text."""

    def write(self, batch: TokenBatch, options: Generation) -> list[WrittenText]:
        """The texts of `generate`, and whether each is cut."""
        ...


@runtime_checkable
class HeadModel(TextModel, Protocol):
    """A model that can give the hidden states before its output head, so that head and loss can go in chunks."""

    def states(self, batch: TokenBatch) -> torch.Tensor:
        """The input of the output head, `[B, T, D]`, under teacher forcing; gradients flow through it."""
        ...

    def head_function(self) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """The output head: `[N, D]` to logits `[N, V]`, the same as `logits` gives, gradients of its weights included.

        None where something else follows the head.
        """
        ...


@runtime_checkable
class LeanModel(TextModel, Protocol):
    """A model that can be trained with less memory or time: checkpointing, compilation, packing."""

    def lean(self, options: Training) -> AbstractContextManager[None]:
        """Apply `gradient_checkpointing`, `compile` and `packing` while the context lasts; a training runs within it.

        It holds for `logits` and `states` while `module` is in training mode. Generation, validation and saving, which
        may happen within too, are as without. Loss and gradients stay the same, but for the order of additions and,
        with `compile`, the noise that dropout draws.

        Raises:
            UsageError: The model cannot do it.
        """
        ...


@runtime_checkable
class RuledTexts(Protocol):
    """A model or teacher whose texts may depend on more than weights, tokenizer and `[generation]`."""

    @property
    def text_rules(self) -> str:
        """These rules in words, such as a token that is forced to come first; "" for none.

        Texts in the store are those of one set of rules.
        """
        ...
