"""Rounds coordinates so that the divergence of the decoded distribution is small, and not the error of each coordinate.

Rounding moves a token's coordinates by e steps. The divergence between its distributions before and after, at
temperature t, is about e' A e / 2, with A = B (diag p - p p') B' / t**2: p is the softmax at t, and B has the logits of
a step of each coordinate. Where p is peaked, A sees few directions. So coordinates are rounded one after the other, and
those that are still free are moved first to where they make up best for the errors made so far (Babai, "On Lovasz'
lattice reduction and the nearest lattice point problem", 1986). What the decoder does is the same for every rounding.

The metric of a token is

    M = c I + U U'        U = the leading directions of B sqrt(diag p) / t, over the likeliest entries and all t

Its first term is for what U does not see. With K = (I + U' U / c)^-1 over the coordinates that are still free, a block
of coordinates has the metric c (I + U K U'), of which one Cholesky factor says how its errors are fed on; so no matrix
of all coordinates is made, and the work is in products of small matrices.

Letters: T tokens, V vocabulary, R coordinates, L likely entries, D directions, N coordinates of a block.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt
    import torch

    from kdkit.api.values import FloatArray
    from kdkit.builtin.codecs.subspace.layout import IntArray

LIKELY = 64
DIRECTIONS = 48
# Of the mean square that U sees of a coordinate: what the metric counts beside it, the same for all.
EVEN_SHARE = 0.2
FURTHEST = 8.0
"""Steps by which a coordinate may be moved; a token of which one would be moved further is rounded to nearest."""
BLOCK = 16
MOST_TOKENS, MOST_LOGITS = 128, 2**24


@attrs.frozen(eq=False)
class Shaping:
    """Rounds for some temperatures.

    Attributes:
        temperatures: Those at which divergences count, the same each.
        basis_RV: The logits of a unit of each coordinate.
        offset_V: The logits where all coordinates are 0.
        step: What a whole number stands for.
    """

    temperatures: tuple[float, ...]
    basis_RV: npt.NDArray[np.floating[Any]]
    offset_V: torch.Tensor
    step: float

    @classmethod
    def of(
        cls,
        temperatures: tuple[float, ...],
        *,
        basis_RV: npt.NDArray[np.floating[Any]],
        offset_V: FloatArray,
        step: float,
    ) -> Shaping | None:
        """For such logits; None if no temperature counts.

        Args:
            temperatures: Those at which divergences count.
            basis_RV: The logits of a unit of each coordinate.
            offset_V: The logits where all coordinates are 0.
            step: What a whole number stands for.
        """
        import torch

        if not temperatures:
            return None
        return cls(temperatures, basis_RV, torch.from_numpy(offset_V), step)

    @cached_property
    def columns_VR(self) -> torch.Tensor:  # noqa: N802 - it has axes
        """The logits of a step of each coordinate; made when something is encoded, for decoding does not need them."""
        import numpy as np
        import torch

        return torch.from_numpy(np.multiply(self.basis_RV.T, np.float32(self.step), order="C", dtype=np.float32))

    def whole(self, units_TR: npt.NDArray[np.floating[Any]]) -> IntArray:
        """Whole numbers for coordinates that are given in steps.

        No token has more of e' A e / 2, summed over the temperatures and taken over its likeliest entries, than
        rounding to nearest gives it, and no coordinate is moved by more than `FURTHEST` steps.
        """
        import numpy as np
        import torch

        if not units_TR.shape[1]:  # of a head that tells nothing apart
            return np.zeros(units_TR.shape, np.int64)
        numbers_TR: IntArray = np.rint(units_TR).astype(np.int64)
        wanted_TR = torch.from_numpy(np.ascontiguousarray(units_TR, np.float32))
        # A whole number more or less changes no rounding, and float32 would not know the parts of large numbers.
        parts_TR = torch.from_numpy(np.ascontiguousarray(units_TR - numbers_TR, np.float32))
        with torch.inference_mode():
            for part in self._parts(len(wanted_TR)):
                logits_TV = torch.addmm(self.offset_V, wanted_TR[part], self.columns_VR.T)
                seen_TDR = directions(logits_TV, self.columns_VR, self.temperatures)
                numbers_TR[part] += shaped(parts_TR[part], seen_TDR).numpy().astype(np.int64)
        return numbers_TR

    def _parts(self, tokens: int) -> Iterator[slice]:
        height = max(1, min(MOST_TOKENS, MOST_LOGITS // max(len(self.offset_V), 1)))
        return (slice(start, start + height) for start in range(0, tokens, height))


def directions(logits_TV: torch.Tensor, columns_VR: torch.Tensor, temperatures: tuple[float, ...]) -> torch.Tensor:
    """What a divergence feels of each token's errors: `[T, D, R]`, whose products with e have e' A e as their square.

    Args:
        logits_TV: The tokens' logits.
        columns_VR: The logits of a step of each coordinate, a row an entry.
        temperatures: Those at which divergences count.
    """
    import torch

    values_TL, ids_TL = logits_TV.topk(min(LIKELY, logits_TV.shape[1]), dim=-1)
    likely_TLR = columns_VR[ids_TL]
    felt = []
    for temperature in temperatures:
        p_TL1 = torch.softmax(values_TL / temperature, dim=-1)[:, :, None]
        mean_T1R = (p_TL1 * likely_TLR).sum(dim=1, keepdim=True)
        felt.append((likely_TLR - mean_T1R) * (p_TL1.sqrt() / temperature))
    felt_TLR = torch.cat(felt, dim=1)
    if felt_TLR.shape[1] <= DIRECTIONS:
        return felt_TLR
    _, vectors_TLL = torch.linalg.eigh(felt_TLR @ felt_TLR.transpose(1, 2))
    leading_TDR: torch.Tensor = vectors_TLL[:, :, -DIRECTIONS:].transpose(1, 2) @ felt_TLR
    return leading_TDR


def shaped(units_TR: torch.Tensor, seen_TDR: torch.Tensor) -> torch.Tensor:
    """Whole numbers near `units_TR`, rounded for the directions of each token."""
    import torch

    nearest_TR = units_TR.round()
    even_T11 = EVEN_SHARE * seen_TDR.square().mean(dim=(1, 2), keepdim=True) * seen_TDR.shape[1]
    fed_TR = _fed_back(units_TR, seen_TDR / even_T11.clamp(min=torch.finfo(seen_TDR.dtype).tiny).sqrt())
    errors_TR, nearest_errors_TR = fed_TR - units_TR, nearest_TR - units_TR
    is_better_T = _square(seen_TDR, errors_TR) <= _square(seen_TDR, nearest_errors_TR)
    is_better_T &= errors_TR.abs().amax(dim=1) <= FURTHEST  # false where a number is not finite
    return torch.where(is_better_T[:, None], fed_TR, nearest_TR)


def _square(seen_TDR: torch.Tensor, errors_TR: torch.Tensor) -> torch.Tensor:
    return (seen_TDR @ errors_TR[:, :, None]).square().sum(dim=(1, 2))


def _fed_back(units_TR: torch.Tensor, scaled_TDR: torch.Tensor) -> torch.Tensor:
    """The numbers for the metric I + U U', rounded from the last coordinate to the first."""
    import torch

    seen_TRD = scaled_TDR.transpose(1, 2).contiguous()
    tokens, rank, width = seen_TRD.shape
    free_TDD = torch.eye(width, dtype=seen_TRD.dtype, device=seen_TRD.device).repeat(tokens, 1, 1)
    starts, factors = range(0, rank, BLOCK), []
    for start in starts:  # with the coordinates before it free
        own_TND = seen_TRD[:, start : start + BLOCK]
        felt_TND = own_TND @ free_TDD
        metric_TNN = felt_TND @ own_TND.transpose(1, 2)
        metric_TNN.diagonal(dim1=1, dim2=2).add_(1)
        factor_TNN, _ = torch.linalg.cholesky_ex(metric_TNN)
        felt_TND = torch.linalg.solve_triangular(factor_TNN, felt_TND, upper=False)
        free_TDD -= felt_TND.transpose(1, 2) @ felt_TND
        factors.append((factor_TNN, felt_TND))
    errors_TR = torch.empty_like(units_TR)
    moved_TD1 = torch.zeros_like(seen_TRD[:, 0, :, None])
    for start, (factor_TNN, felt_TND) in zip(reversed(starts), reversed(factors), strict=True):
        block = slice(start, start + BLOCK)
        owed_TN = (felt_TND @ moved_TD1)[:, :, 0]
        errors_TR[:, block] = _errors(units_TR[:, block], owed_TN, factor_TNN)
        moved_TD1 += seen_TRD[:, block].transpose(1, 2) @ errors_TR[:, block, None]
    return (units_TR + errors_TR).round_()


def _errors(units_TN: torch.Tensor, owed_TN: torch.Tensor, factor_TNN: torch.Tensor) -> torch.Tensor:
    """What rounding a block adds to it: whole numbers less the units, at which |factor' errors + owed| is small."""
    import torch

    # The places of a block lie apart, so that a step reads and writes whole columns.
    units_NT, owed_NT = units_TN.T.contiguous(), owed_TN.T.contiguous()
    rows_NNT = factor_TNN.permute(1, 2, 0).contiguous()
    errors_NT = torch.empty_like(units_NT)
    for place in range(len(units_NT) - 1, -1, -1):
        target_T = units_NT[place] - owed_NT[place] / rows_NNT[place, place]
        errors_NT[place] = target_T.round_() - units_NT[place]
        owed_NT[:place] += rows_NNT[place, :place] * errors_NT[place]
    return errors_NT.T
