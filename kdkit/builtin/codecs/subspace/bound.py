"""Codec `subspace` with its state: what encodes and decodes records, from logits or from hidden states too.

Letters: B batch, T target tokens, V vocabulary, D hidden, R coordinates.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.builtin.codecs.parts.checks import finite_logits
from kdkit.builtin.codecs.subspace.coder import LARGEST
from kdkit.builtin.codecs.subspace.fit import allowed_length, chunks, longest_of, metric_length
from kdkit.errors import DamagedData, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt
    import torch

    from kdkit.api.values import FactoredTargets, FloatArray, StateBlock, TeacherBlock
    from kdkit.builtin.codecs.subspace.layout import IntArray
    from kdkit.builtin.codecs.subspace.shaping import Shaping
    from kdkit.builtin.codecs.subspace.state import Encoder, State

# There float32's rounding, and that of sums over logits, is still no more divergence than 1e-4.
LARGEST_LOGIT = 2.0**14
# A stamp, the coder's state, and a class of the rarest kind.
RECORD_BYTES = 16
# Records may be wider than the sample: one octave costs a bit a coordinate.
SPARE_BITS = 1.0


def checked_logits(block: TeacherBlock, *, step: float) -> FloatArray:
    """The block's logits `[T, V]`.

    Raises:
        UsageError: One is not finite, or beyond 16,384.
    """
    return finite_logits(
        block,
        limit=LARGEST_LOGIT,
        advice=f"subspace holds magnitudes up to {LARGEST_LOGIT:g}, since float32 rounds larger ones by more than "
        f'step = {step:g} allows; the codecs "u8-lz4", "float", "topk" and "sampled" keep masked logits',
        mask_advice='subspace cannot keep masked logits; use the codec "u8-lz4", "float", "topk" or "sampled"',
    )


@attrs.frozen(kw_only=True)
class BoundSubspace:
    """A `BatchCodec`: see `kdkit.builtin.codecs.subspace.Subspace` for what it stores and how well.

    Attributes:
        state: What its records share.
        shaping: Rounds the coordinates; None for each to its nearest whole number of steps.
    """

    state: State
    shaping: Shaping | None = None

    def encode(self, block: TeacherBlock) -> bytes:
        """The block's logits as bytes: of their nearest point in the state's space.

        Raises:
            UsageError: Logits are not finite, of another width, or further from the space than rounding takes them.
        """
        logits_TV = checked_logits(block, step=self.state.step)
        if logits_TV.shape[1] != self.state.vocab_size:
            raise UsageError(
                f"the logits of example {block.id!r} are {logits_TV.shape[1]} wide, but the codec learnt from "
                f"logits {self.state.vocab_size} wide; capture into another cache"
            )
        coordinates_TR = self._nearest(logits_TV)
        self._check_near(logits_TV, coordinates_TR, block.id)
        return self.state.coder.encode(self._whole(coordinates_TR, block.id))

    def decode(self, payload: bytes, *, tokens: int, vocab_size: int) -> FloatArray:
        """Float32 `[tokens, vocab_size]`, up to a constant of each row, which softmax does not see.

        Raises:
            DamagedData: The payload is not what `encode` writes for such logits.
        """
        import numpy as np

        coordinates_TR = self._coordinates(payload, tokens, vocab_size)
        with np.errstate(over="ignore", invalid="ignore"):
            logits_TV: FloatArray = coordinates_TR @ self._basis + self.state.offset_V
        if logits_TV.size and not (np.isfinite(logits_TV.min()) and np.isfinite(logits_TV.max())):
            raise DamagedData("the coordinates decode to logits that are not finite")
        return logits_TV

    def targets(self, records: Sequence[tuple[bytes, int]], *, vocab_size: int, device: str) -> FactoredTargets:
        """The coordinates of a batch; the basis is brought to each device once.

        Raises:
            DamagedData: A payload is not what `encode` writes for such logits.
        """
        import numpy as np
        import torch

        from kdkit.api.values import FactoredTargets
        from kdkit.builtin.codecs.parts.padding import padded

        lengths = [tokens for _, tokens in records]
        coordinates_BTR = padded(lengths, (self.state.rank,), np.float32)
        for index, (payload, tokens) in enumerate(records):
            coordinates_BTR[index, :tokens] = self._coordinates(payload, tokens, vocab_size)
        basis_RV, offset_V = self._on(device)
        return FactoredTargets(
            coordinates_BTR=torch.from_numpy(coordinates_BTR).to(device),
            basis_RV=basis_RV,
            offset_V=offset_V,
            lengths_B=torch.tensor(lengths, dtype=torch.int64),
        )

    def bytes_per_token(self, vocab_size: int) -> float:  # noqa: ARG002  # the state knows it
        """Upper estimate, from the entropy of logits like the sample's; of one token, its record's end included."""
        return (self.state.coder.bits_per_row() + SPARE_BITS * self.state.rank) / 8 + RECORD_BYTES

    def _whole(self, coordinates_TR: npt.NDArray[np.floating[Any]], example: str) -> IntArray:
        import numpy as np

        units_TR = coordinates_TR.astype(np.float64) / self.state.step
        largest = np.abs(units_TR).max(initial=0)
        if not largest <= LARGEST:
            raise UsageError(
                f"example {example!r} lies {largest:.3g} steps from the sample's mean, but subspace holds at "
                f'most {LARGEST}; set a larger step, or use the codec "float"'
            )
        return np.rint(units_TR).astype(np.int64) if self.shaping is None else self.shaping.whole(units_TR)

    def _coordinates(self, payload: bytes, tokens: int, vocab_size: int) -> FloatArray:
        import numpy as np

        if vocab_size != self.state.vocab_size:
            raise DamagedData(f"logits are {self.state.vocab_size} wide by the state, but {vocab_size} by the cache")
        return (self.state.coder.decode(payload, tokens) * self.state.step).astype(np.float32)

    def _nearest(self, logits_TV: FloatArray) -> npt.NDArray[np.float64]:
        """The coordinates whose logits are nearest, by least squares over the entries; constants of a row left out."""
        import numpy as np

        coordinates_TR = np.empty((len(logits_TV), self.state.rank))
        for part in chunks(*logits_TV.shape):
            coordinates_TR[part] = (self._centred(logits_TV[part]) @ self._flat_basis.T) @ self._inverse
        return coordinates_TR

    def _centred(self, logits_TV: FloatArray) -> FloatArray:
        import numpy as np

        mean_T1 = logits_TV.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
        offset_V = self.state.offset_V - self.state.offset_V.mean(dtype=np.float64).astype(np.float32)
        centred_TV: FloatArray = (logits_TV - mean_T1) - offset_V
        return centred_TV

    def _check_near(self, logits_TV: FloatArray, coordinates_TR: npt.NDArray[np.float64], example: str) -> None:
        import numpy as np

        for part in chunks(*logits_TV.shape):
            errors_TV = self._centred(logits_TV[part]) - coordinates_TR[part].astype(np.float32) @ self._flat_basis
            limit_T = allowed_length(self.state.rank, self.state.step, np.abs(logits_TV[part]).max(axis=1))
            # No length is greater than this, and so the softmax of most rows need not be taken.
            far_T = np.flatnonzero(~(longest_of(np.abs(errors_TV).max(axis=1)) <= limit_T))
            lengths_T = metric_length(errors_TV[far_T], logits_TV[part][far_T])
            far_T, lengths_T = far_T[~(lengths_T <= limit_T[far_T])], lengths_T[~(lengths_T <= limit_T[far_T])]
            if len(far_T):
                raise UsageError(
                    f"the logits of target token {part.start + far_T[0]} of example {example!r} lie "
                    f"{lengths_T[0]:.3g} outside the space that the codec learnt, but at most "
                    f"{limit_T[far_T[0]]:.3g} is allowed with step = {self.state.step:g} (they span "
                    f"{np.ptp(logits_TV[part][far_T[0]]):.3g}); raise sample_tokens or step, or use the codec "
                    '"u8-lz4"'
                )

    @cached_property
    def _basis(self) -> FloatArray:
        import numpy as np

        return self.state.basis_RV.astype(np.float32, copy=False)

    @cached_property
    def _flat_basis(self) -> FloatArray:
        """The basis without constants of a row, which its rounding leaves."""
        import numpy as np

        flat_RV: FloatArray = self._basis - self._basis.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
        return flat_RV

    @cached_property
    def _inverse(self) -> npt.NDArray[np.floating[Any]]:
        import numpy as np

        rank = self.state.rank
        gram_RR = np.zeros((rank, rank))
        for part in chunks(self.state.vocab_size, rank):
            flat_RV = self._flat_basis[:, part].astype(np.float64)
            gram_RR += flat_RV @ flat_RV.T
        inverse_RR: npt.NDArray[np.floating[Any]] = np.linalg.pinv(gram_RR, rcond=1e-13, hermitian=True)
        return inverse_RR

    @cached_property
    def _devices(self) -> dict[str, tuple[Any, Any]]:
        return {}

    def _on(self, device: str) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        if device not in self._devices:
            # Not by torch on a processor: this is done beside a training, in a thread for which torch would start
            # threads of its own, and with more of them than processors OpenMP lets all its waits sleep.
            basis_RV = self._basis if device == "cpu" else self.state.basis_RV
            self._devices[device] = (
                torch.from_numpy(basis_RV).to(device).float(),
                torch.from_numpy(self.state.offset_V).to(device),
            )
        basis_RV, offset_V = self._devices[device]
        return basis_RV, offset_V


@attrs.frozen(kw_only=True)
class HeadSubspace(BoundSubspace):
    """A `StateCodec` as well: its state was learnt from an output head.

    Attributes:
        encoder: From hidden states to coordinates.
    """

    encoder: Encoder

    def encode_states(self, block: StateBlock) -> bytes:
        """The block's hidden states as bytes.

        Raises:
            UsageError: They are not finite, or of another width.
        """
        import numpy as np

        states_TD = np.asarray(block.states_TD, np.float32)
        if states_TD.ndim != 2 or states_TD.shape[1] != len(self.encoder.center_D):
            raise UsageError(
                f"the hidden states of example {block.id!r} have shape {list(states_TD.shape)}; it must be "
                f"[tokens, {len(self.encoder.center_D)}]"
            )
        if not np.isfinite(states_TD).all():
            raise UsageError(
                f"example {block.id!r} has hidden states that are not finite: check what the teacher computes there"
            )
        return self.state.coder.encode(self._whole(self.encoder.coordinates(states_TD), block.id))
