"""Codecs: teacher logits to bytes and back.

Letters in names of tensors: T target tokens, V vocabulary, D hidden.

The least a codec can be is a `Codec`. Whoever has more to offer adds a method, and kdkit finds it:

    Codec         encode, decode, bytes_per_token: a record stands alone
    BatchCodec    + targets: a batch straight to what a loss wants, on its device
    SparseCodec   + exact_temperatures: it keeps some entries, and knows the others' mass at these temperatures only
    EntriesCodec  + entries, encode_entries: it encodes what is known of some entries, without the others
    SampledCodec  + is_sample: of these entries it drew some at random, and takes the others to have no mass
    FittedCodec   fit, bind: its records share a state that is learnt once for a cache; `bind` gives a Codec
    HeadCodec     + fit_head: it can learn its state from the teacher's output head; `bind` then gives a StateCodec
    StateCodec    + encode_states: it encodes hidden states, so that full logits are never computed
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.arrays import CodecState as CodecState  # noqa: PLC0414 - a codec's interface has it too
    from kdkit.api.arrays import FloatArray
    from kdkit.api.values import EntriesBlock, OutputHead, StateBlock, Targets, TeacherBlock


@runtime_checkable
class Codec(Protocol):
    """A logit codec (`[codec]`): teacher logits to bytes and back.

    Its options are its identity: equal options (and equal state, of a codec that `FittedCodec.bind` gave), equal bytes.
    Encoding is deterministic.
    """

    def encode(self, block: TeacherBlock) -> bytes:
        """The block's logits as bytes. `block.logits_TV` is float32 and C-contiguous.

        Raises:
            UsageError: The codec cannot hold such logits, those of -inf (masked) among them: what is masked is kept or
                refused, and never lost in silence.
        """
        ...

    def decode(self, payload: bytes, *, tokens: int, vocab_size: int) -> FloatArray:
        """The logits, float32 `[tokens, vocab_size]`, within the codec's stated bound; -inf where masked.

        `tokens` and `vocab_size` come from the cache's own index: a payload that does not fit them is refused before
        anything of its claimed size is allocated.

        Raises:
            DamagedData: The payload is not what `encode` writes for such logits.
        """
        ...

    def bytes_per_token(self, vocab_size: int) -> float:
        """Upper estimate of the bytes a target token takes, for `kdkit plan`."""
        ...


@runtime_checkable
class BatchCodec(Codec, Protocol):
    """A codec that decodes a batch straight to the targets of a loss."""

    def targets(self, records: Sequence[tuple[bytes, int]], *, vocab_size: int, device: str) -> Targets:
        """The targets of a batch.

        As little as can be travels to the device, and the rest is computed there. The targets agree with `decode`: at
        each temperature that the codec knows, the same log-probabilities within the rounding of float32.

        Args:
            records: Payload and number of target tokens of each example.
            vocab_size: Width of the logits.
            device: Where they go.

        Raises:
            DamagedData: A payload is not what `encode` writes for such logits.
        """
        ...


@runtime_checkable
class SparseCodec(Codec, Protocol):
    """A codec that keeps some entries of each row.

    What its `decode` gives for the others is a guess that has their mass; `targets` (see `SparseTargets`) makes none.
    """

    @property
    def exact_temperatures(self) -> tuple[float, ...]:
        """The temperatures at which the kept entries' probabilities are known; a loss at any other is refused."""
        ...


@runtime_checkable
class EntriesCodec(SparseCodec, Protocol):
    """A sparse codec that encodes logits of which only some entries are known, such as another tool kept."""

    def entries(self, vocab_size: int) -> int:
        """How many entries of each token it keeps: the largest."""
        ...

    def encode_entries(self, block: EntriesBlock) -> bytes:
        """The block as bytes: the same as `encode` of any logits of which these entries and masses are true.

        Raises:
            UsageError: The block has fewer entries of a token than the codec keeps, or is of another temperature.
        """
        ...


@runtime_checkable
class SampledCodec(SparseCodec, Protocol):
    """A sparse codec whose entries are drawn: their probabilities are right on average, and all others have none.

    Only a loss whose gradient is linear in the teacher's probabilities may read it (see `SampledLoss`).
    """

    @property
    def is_sample(self) -> bool:
        """Always true."""
        ...


@runtime_checkable
class StateCodec(Codec, Protocol):
    """A codec that encodes hidden states as well as logits; both decode to the same logits, within its bound."""

    def encode_states(self, block: StateBlock) -> bytes:
        """The block's hidden states as bytes: the same as `encode` of their logits, without computing those."""
        ...


@runtime_checkable
class FittedCodec(Protocol):
    """A codec (`[codec]`) whose records share a state: arrays that are learnt once for a cache, and kept in it.

    Learning is deterministic: equal samples, equal states, bit for bit on one machine with as many threads.
    """

    @property
    def sample_tokens(self) -> int:
        """How many target tokens `fit` wants to learn from; it accepts fewer where there are no more."""
        ...

    def fit(self, sample: Sequence[TeacherBlock]) -> CodecState:
        """The state, learnt from a sample of logits.

        Raises:
            UsageError: Logits such as these cannot be coded within the codec's bound; the message says why.
        """
        ...

    def bind(self, state: CodecState) -> Codec:
        """The codec with that state, ready to encode and decode.

        Raises:
            DamagedData: It is not a state that `fit` gives.
        """
        ...

    def bytes_per_token(self, vocab_size: int) -> float:
        """Upper estimate of the bytes a target token takes, for `kdkit plan`; the state is not counted."""
        ...


@runtime_checkable
class HeadCodec(FittedCodec, Protocol):
    """A codec that learns from the teacher's output head.

    With a state that `fit_head` gave, `bind` gives a `StateCodec`; with one that `fit` gave, it does not.
    """

    def fit_head(self, head: OutputHead, sample: Sequence[StateBlock]) -> CodecState:
        """The state, learnt from the output head and a sample of the hidden states that go into it.

        Raises:
            UsageError: As `fit`.
        """
        ...


AnyCodec: TypeAlias = Codec | FittedCodec
