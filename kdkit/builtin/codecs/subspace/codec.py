"""Codec `subspace`: the logits' coordinates in the space that the output head can reach, quantised with one step.

Logits `h W' + b` have only as many degrees of freedom as the hidden state h has numbers. So no logit is stored, only
where h is, in coordinates in which an error of a given size costs the same divergence in every direction
(`subspace.fit`), rounded to multiples of one step and entropy-coded (`subspace.coder`). Every entry of the vocabulary
comes back, at every temperature. Where there is no head, one is estimated from a sample (`subspace.estimate`).

Letters: N sample tokens, V vocabulary, D hidden, R coordinates (at most D).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from attrs import validators

from kdkit.api.options import at_least_one, option
from kdkit.builtin.codecs.parts.checks import each_temperature
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from kdkit.api.interfaces.codecs import CodecState
    from kdkit.api.values import FloatArray, OutputHead, StateBlock, TeacherBlock
    from kdkit.builtin.codecs.subspace.bound import BoundSubspace
    from kdkit.builtin.codecs.subspace.fit import Axes
    from kdkit.builtin.codecs.subspace.shaping import Shaping

# A plan does not know how many coordinates the teacher's logits have: hidden sizes of small teachers are about this.
USUAL_RANK = 1024
# At that step a coordinate takes less than so many bits.
USUAL_STEP, USUAL_BITS = 0.005, 8.0
# Below so many numbers a basis in half precision saves nothing worth having.
SMALL_BASIS = 2**18
# By how much, of the error that the step makes, half precision of the basis may err.
HALF_SHARE = 0.125
HALF_TOKENS = 64


@attrs.frozen(kw_only=True)
class Subspace:
    """The whole vocabulary at every temperature, in the bytes of a few hundred numbers.

    decode gives the logits up to a constant of each row. A coordinate is off by at most step / 2, so that logit v, less
    that constant, is off by at most step / 2 times the sum of |basis| over column v. To that comes float32's rounding
    and, for hidden states, the rounding of a basis in half precision: on the sample at most an eighth of the step's
    error. In the metric of `subspace.fit` the root mean square error is step * sqrt(R / 12) or less, and the mean
    divergence at temperature 1 about half its square, and mostly below: step**2 * R / 24.

    With `shaping` coordinates are rounded all together, each within 8 steps, so that a token's divergence at those
    temperatures, to second order and over its 64 likeliest entries, is at most what rounding to nearest gives it; the
    bound of each logit is then 16 times as wide. With `[1.0]`, on 495 tokens of SmolLM2 at a step of 0.015, the mean
    divergence at temperature 1 is 8.4e-4 where rounding to nearest has 2.3e-3, at 2 it is 1.4e-3 (1.5e-3), and at 4
    4.9e-4 (4.5e-4), at equal bytes; `benchmarks/codecs.py` measures it. Records are the same bytes whatever is encoded
    beside them; with another number of threads, sums of another order may round a few numbers otherwise.
    """

    # For real logits (V = 49,152, R = 576; docs/codecs.md) 0.005 has mean divergence of 2.7e-4 at T = 1, three quarters
    # of that of eight bits a logit, and less than it at 0.5, 2 and 4 too. 0.012 has 1.5e-3, in a fifth less room.
    step: float = option(
        "Quantisation step: the mean divergence at temperature 1 is about step^2 / 24 for each coordinate; "
        "doubling the step saves one bit a coordinate.",
        default=0.005,
        check=validators.and_(validators.ge(1e-6), validators.le(1e3)),
    )
    sample_tokens: int = option(
        "Target tokens to learn the space and its statistics from; use several times the teacher's hidden size.",
        default=4096,
        check=at_least_one,
    )
    shaping: tuple[float, ...] = option(
        "Temperatures for which coordinates are rounded: not each to its nearest step, but all together so that the "
        "divergence at these temperatures is small. Empty for nearest. Encoding is slower, decoding the same.",
        default=(),
        check=each_temperature,
        neutral=(),
    )

    def __attrs_post_init__(self) -> None:
        """Write 1 as 1.0: both are the same temperature, and the same cache."""
        object.__setattr__(self, "shaping", tuple(map(float, self.shaping)))

    def fit_head(self, head: OutputHead, sample: Sequence[StateBlock]) -> CodecState:
        """The state, learnt from the output head and a sample of the hidden states that go into it.

        Raises:
            UsageError: The sample is empty, or head or sample are not finite or do not fit together.
        """
        import numpy as np

        from kdkit.builtin.codecs.subspace.fit import learn_axes

        weight_VD = np.asarray(head.weight_VD, np.float32)
        bias_V = None if head.bias_V is None else np.asarray(head.bias_V, np.float32)
        states_ND = _joined([np.asarray(block.states_TD, np.float32) for block in sample], weight_VD.shape[1])
        for what, array in (("the output head's weights", weight_VD), ("its bias", bias_V), ("the sample", states_ND)):
            if array is not None and not np.isfinite(array).all():
                raise UsageError(
                    f"{what} hold a number that is not finite; check the teacher's weights, and if they mask "
                    'entries use the codec "u8-lz4", "float", "topk" or "sampled"'
                )
        return self._state(learn_axes(weight_VD, bias_V, states_ND), states_ND, with_encoder=True)

    def fit(self, sample: Sequence[TeacherBlock]) -> CodecState:
        """The state, learnt from a sample of logits, a quarter of which is held out to judge the space by.

        Raises:
            UsageError: The held-out logits do not lie in the space of the others: see `estimate_head`.
        """
        from kdkit.builtin.codecs.subspace.bound import checked_logits
        from kdkit.builtin.codecs.subspace.estimate import estimate_head
        from kdkit.builtin.codecs.subspace.fit import learn_axes

        blocks = [checked_logits(block, step=self.step) for block in sample]
        head = estimate_head(_joined(blocks, blocks[0].shape[1] if blocks else 1), step=self.step)
        return self._state(learn_axes(head.weight_VR, None, head.states_NR), head.states_NR, with_encoder=False)

    def bind(self, state: CodecState) -> BoundSubspace:
        """The codec with that state; one that takes hidden states where `fit_head` made it.

        Raises:
            DamagedData: It is not a state of this codec with this step.
        """
        from kdkit.builtin.codecs.subspace.bound import BoundSubspace, HeadSubspace
        from kdkit.builtin.codecs.subspace.state import read_state
        from kdkit.errors import DamagedData

        read = read_state(state)
        if read.step != self.step:
            raise DamagedData(f"the state was learnt with step = {read.step:g}, but the codec has step = {self.step:g}")
        shaping = self._shaping(read.basis_RV, read.offset_V)
        if read.encoder is None:
            return BoundSubspace(state=read, shaping=shaping)
        return HeadSubspace(state=read, shaping=shaping, encoder=read.encoder)

    def bytes_per_token(self, vocab_size: int) -> float:
        """Upper estimate for a teacher of up to 1,024 hidden dimensions."""
        import math

        bits = max(USUAL_BITS - math.log2(self.step / USUAL_STEP), 1)
        return min(vocab_size, USUAL_RANK) * bits / 8 + 16

    def _state(self, axes: Axes, states_ND: FloatArray, *, with_encoder: bool) -> CodecState:
        import numpy as np

        from kdkit.builtin.codecs.subspace.fit import learn_coder
        from kdkit.builtin.codecs.subspace.state import State

        coordinates_NR = axes.encoder.coordinates(states_ND)
        basis_RV = self._stored_basis(axes, coordinates_NR)
        shaping = self._shaping(basis_RV, axes.offset_V)
        numbers_NR = None if shaping is None else shaping.whole(coordinates_NR / np.float32(self.step))
        return State(
            basis_RV=basis_RV,
            offset_V=axes.offset_V,
            step=self.step,
            coder=learn_coder(coordinates_NR, self.step, numbers_NR),
            encoder=axes.encoder if with_encoder else None,
        ).arrays()

    def _shaping(self, basis_RV: npt.NDArray[np.floating], offset_V: FloatArray) -> Shaping | None:
        from kdkit.builtin.codecs.subspace.shaping import Shaping

        return Shaping.of(self.shaping, basis_RV=basis_RV, offset_V=offset_V, step=self.step)

    def _stored_basis(self, axes: Axes, coordinates_NR: FloatArray) -> npt.NDArray[np.floating]:
        """The basis in half precision where that loses next to nothing."""
        import numpy as np

        from kdkit.builtin.codecs.subspace.fit import metric_length

        if axes.basis_RV.size < SMALL_BASIS or np.abs(axes.basis_RV).max() > np.finfo(np.float16).max:
            return axes.basis_RV
        half_RV = axes.basis_RV.astype(np.float16)
        some_NR = coordinates_NR[:: max(1, len(coordinates_NR) // HALF_TOKENS)]
        logits_NV = some_NR @ axes.basis_RV + axes.offset_V
        errors_NV = some_NR @ half_RV.astype(np.float32) + axes.offset_V - logits_NV
        error = np.sqrt((metric_length(errors_NV, logits_NV) ** 2).mean())
        return half_RV if error <= HALF_SHARE * self.step * np.sqrt(len(half_RV) / 12) else axes.basis_RV


def _joined(rows: Sequence[FloatArray], width: int) -> FloatArray:
    import numpy as np

    for array in rows:
        if array.ndim != 2 or array.shape[1] != width:
            raise UsageError(f"a block of the sample has shape {list(array.shape)}; it must be [tokens, {width}]")
    joined_NX: FloatArray = np.concatenate(rows) if rows else np.zeros((0, width), np.float32)
    if not len(joined_NX):
        raise UsageError("subspace learns its coordinates from a sample, but the sample has no target token")
    return joined_NX
