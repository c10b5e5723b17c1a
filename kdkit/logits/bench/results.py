"""The measures of a codec, summed up token by token."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch


@attrs.frozen(kw_only=True)
class Result:
    """One codec's figures; None where the codec cannot give one, or it is infinite.

    Attributes:
        codec: Its registered name.
        options: All its options.
        label: Its name and the options that were given.
        bytes_per_token: Bytes of the records over their tokens.
        state_bytes: Bytes of what it learnt, kept once in a cache.
        encode_tokens_per_s: Tokens over wall time, from hidden states where it takes them, else from logits.
        decode_tokens_per_s: The same, in batches, to what a loss is given.
        kl: By temperature, the mean over tokens of KL(exact || decoded) over the whole vocabulary, in nats.
        kl_max: The largest of a token at temperature 1.
        top1_agreement: Share of tokens whose likeliest entry is the same.
        tail_mass_error: Mean absolute error of the mass outside the 128 entries that are likeliest in truth.
        gradient_temperature: The temperature of the next: 1, or the first that the codec knows.
        gradient_cosine: Mean over batches of the cosine between the gradients of the output head.
    """

    codec: str
    options: Mapping[str, Any]
    label: str
    bytes_per_token: float
    state_bytes: int
    encode_tokens_per_s: float
    decode_tokens_per_s: float
    kl: Mapping[float, float | None]
    kl_max: float | None
    top1_agreement: float
    tail_mass_error: float | None
    gradient_temperature: float
    gradient_cosine: float | None

    def to_json(self) -> dict[str, Any]:
        """As a JSON table."""
        table = attrs.asdict(self)
        return {**table, "kl": {f"{temperature:g}": value for temperature, value in self.kl.items()}}


@attrs.define(kw_only=True, eq=False)
class Tally:
    """The sums behind a `Result`, while it is measured."""

    temperatures: Sequence[float]
    tokens: int = 0
    bytes: int = 0
    encode_seconds: float = 0.0
    decode_seconds: float = 0.0
    kl: dict[float, float | None] = attrs.field(factory=dict)
    kl_max: float | None = 0.0
    same_top1: int = 0
    tail_error: float | None = 0.0
    cosines: list[float] = attrs.field(factory=list)

    def add_kl(self, temperature: float, kl_N: torch.Tensor | None) -> None:
        """The divergences of some tokens; None where the codec cannot give them. One such makes the mean None."""
        before = self.kl.get(temperature, 0.0)
        total = math.nan if kl_N is None else float(kl_N.double().sum())
        self.kl[temperature] = before + total if before is not None and math.isfinite(total) else None

    def add_kl_max(self, kl_N: torch.Tensor | None) -> None:
        """The same, for the largest."""
        if kl_N is not None and not len(kl_N):
            return
        highest = math.nan if kl_N is None else float(kl_N.max())
        finite = self.kl_max is not None and math.isfinite(highest)
        self.kl_max = max(self.kl_max or 0.0, highest) if finite else None

    def add_tail_error(self, error_N: torch.Tensor | None) -> None:
        """Errors of the tails' mass; None where they are not known."""
        known = self.tail_error is not None and error_N is not None
        self.tail_error = (self.tail_error or 0.0) + float(error_N.sum()) if known and error_N is not None else None

    def result(self, *, codec: str, options: Mapping[str, Any], label: str, state_bytes: int, at: float) -> Result:
        """The means."""
        tokens = max(self.tokens, 1)
        means = {t: None if (total := self.kl.get(t)) is None else total / tokens for t in self.temperatures}
        return Result(
            codec=codec,
            options=options,
            label=label,
            bytes_per_token=self.bytes / tokens,
            state_bytes=state_bytes,
            encode_tokens_per_s=self.tokens / max(self.encode_seconds, 1e-9),
            decode_tokens_per_s=self.tokens / max(self.decode_seconds, 1e-9),
            # Rounding can leave the divergence of two all but equal distributions just below nothing.
            kl={temperature: None if mean is None else max(mean, 0.0) for temperature, mean in means.items()},
            kl_max=self.kl_max,
            top1_agreement=self.same_top1 / tokens,
            tail_mass_error=None if self.tail_error is None else self.tail_error / tokens,
            gradient_temperature=at,
            gradient_cosine=sum(self.cosines) / len(self.cosines) if self.cosines else None,
        )
