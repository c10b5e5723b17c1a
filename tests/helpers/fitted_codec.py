"""A codec with a state, as small as one can be, for tests of what carries states."""

from __future__ import annotations

import attrs
import numpy as np

from kdkit.api.options import option
from kdkit.errors import DamagedData


@attrs.frozen(kw_only=True, eq=False)
class Bound:
    mean_V: np.ndarray

    def encode(self, block):
        return (block.logits_TV - self.mean_V).astype("<f4").tobytes()

    def decode(self, payload, *, tokens, vocab_size):
        if len(payload) != 4 * tokens * vocab_size:
            raise DamagedData(f"{len(payload)} bytes stand where {4 * tokens * vocab_size} are expected")
        stored_TV = np.frombuffer(payload, "<f4").reshape(tokens, vocab_size)
        if not (np.abs(stored_TV) < 1e38).all():
            raise DamagedData("a float is infinite or none, which no logit is")
        return stored_TV + self.mean_V

    def bytes_per_token(self, vocab_size):
        return 4.0 * vocab_size


@attrs.frozen(kw_only=True, eq=False)
class BoundToHead(Bound):
    weight_VD: np.ndarray

    def encode_states(self, block):
        return (block.states_TD @ self.weight_VD.T - self.mean_V).astype("<f4").tobytes()


@attrs.frozen(kw_only=True)
class MeanCodec:
    """Stores logits less their mean over a sample."""

    sample_tokens: int = option("Target tokens to learn from.", default=20)

    def fit(self, sample):
        return {"mean": np.concatenate([block.logits_TV for block in sample]).mean(0)}

    def fit_head(self, head, sample):
        states_ND = np.concatenate([block.states_TD for block in sample])
        return {"mean": states_ND.mean(0) @ head.weight_VD.T, "weight": head.weight_VD}

    def bind(self, state):
        if "mean" not in state:
            raise DamagedData(f"a state of {sorted(state)} has no mean")
        if "weight" in state:
            return BoundToHead(mean_V=state["mean"], weight_VD=state["weight"])
        return Bound(mean_V=state["mean"])

    def bytes_per_token(self, vocab_size):
        return 4.0 * vocab_size
