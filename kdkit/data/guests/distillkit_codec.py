"""How DistillKit codes the log-probabilities of a position, which its `compression_config.yaml` says.

Of a position's k largest log-probabilities in falling order (their differences, with `delta_encoding`), the first
`exact_k` are floats of `exact_dtype`. The others are a polynomial of their place (`polynomial_terms`: powers, or the
functions `sqrt` and `exp`, with coefficients of `term_dtype`), plus for each of `residual_bins` a scale of
`scale_dtype` and numbers of `element_bits`. Ids are numbers of ceil(log2 `d`) bits. All sums are made in the kinds of
float that DistillKit makes them in, since their rounding is in what was stored.

Source: arcee-ai/DistillKit, `distillkit/compression/` (`config.py`, `monotonic_logprobs.py`, `bitpack.py`,
`compressor.py`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from kdkit.data.guests.bits import bytes_of, packed, unpacked
from kdkit.errors import DamagedData, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import torch

    from kdkit.data.guests.guest import IdArray, LogpArray

CONFIG = "compression_config.yaml"
_WIDTHS = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}


@attrs.frozen(kw_only=True)
class Bin:
    """Residuals that share a scale: how many, of how many bits, and the scale's kind."""

    num_elements: int
    element_bits: int
    scale_dtype: str


@attrs.frozen(kw_only=True)
class Coding:
    """The fields of a `compression_config.yaml` that decoding needs, by their own names."""

    d: int
    k: int
    exact_k: int
    exact_dtype: str = "float32"
    polynomial_terms: tuple[int | str, ...] = ()
    term_dtype: str = "float32"
    residual_bins: tuple[Bin, ...] = ()
    delta_encoding: bool = True
    normalize_t: bool = False

    @classmethod
    def of(cls, file: Path, table: Any) -> Coding:
        """The fields of a configuration.

        Raises:
            UsageError: A field is missing, or not what DistillKit writes.
        """
        try:
            bins = tuple(
                Bin(**{name: each[name] for name in ("num_elements", "element_bits", "scale_dtype")})
                for each in table.get("residual_bins") or ()
            )
            fields = {each.name: table[each.name] for each in attrs.fields(cls) if each.name in table}
            coding = cls(
                **{
                    **fields,
                    "residual_bins": bins,
                    "polynomial_terms": tuple(table.get("polynomial_terms") or ()),
                }
            )
            coding.check()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(
                f"{file} is not a configuration of DistillKit's compression ({type(error).__name__}: {error}); put the "
                "file there that was written with the logits"
            ) from error
        return coding

    def check(self) -> None:
        """Refuse numbers that no configuration has.

        Raises:
            ValueError: Says which.
        """
        whole = {"d": self.d, "k": self.k, "exact_k": self.exact_k}
        for each in self.residual_bins:
            whole |= {"num_elements": each.num_elements, "element_bits": each.element_bits}
            if not 1 <= each.element_bits <= 32 or each.num_elements < 1:
                raise ValueError(f"a bin of {each.num_elements} elements of {each.element_bits} bits")
        wrong = [f"{name} = {value!r}" for name, value in whole.items() if type(value) is not int]
        kinds = {self.exact_dtype, self.term_dtype, *(each.scale_dtype for each in self.residual_bins)}
        wrong += [f"{kind!r}" for kind in kinds if kind not in _WIDTHS]
        wrong += [
            f"{term!r}" for term in self.polynomial_terms if term not in ("sqrt", "exp") and type(term) is not int
        ]
        if wrong:
            raise ValueError(f"{wrong[0]} is not possible")
        if not 0 <= self.exact_k <= self.k <= self.d or self.k < 1 or self._in_bins > self.k - self.exact_k:
            raise ValueError("d, k, exact_k and the bins do not fit each other")

    @property
    def id_bits(self) -> int:
        """Bits of an id."""
        return math.ceil(math.log2(self.d))

    @property
    def id_bytes(self) -> int:
        """Bytes of a position's ids."""
        return bytes_of(self.k, self.id_bits)

    @property
    def value_bytes(self) -> int:
        """Bytes of a position's log-probabilities."""
        of_bins = sum(
            _WIDTHS[each.scale_dtype] + bytes_of(each.num_elements, each.element_bits) for each in self.residual_bins
        )
        terms = len(self.polynomial_terms) * _WIDTHS[self.term_dtype]
        return self.exact_k * _WIDTHS[self.exact_dtype] + terms + of_bins

    def ids(self, bytes_PM: npt.NDArray[np.uint8]) -> IdArray:
        """The ids of some positions, `[P, k]`."""
        return unpacked(bytes_PM, self.k, self.id_bits)

    def packed_ids(self, ids_PK: IdArray) -> npt.NDArray[np.uint8]:
        """The bytes of the ids of some positions."""
        return packed(ids_PK, self.id_bits)

    def values(self, bytes_PM: npt.NDArray[np.uint8]) -> LogpArray:
        """The log-probabilities of some positions, `[P, k]`."""
        import torch

        exact = getattr(torch, self.exact_dtype)
        left = _Left(torch.from_numpy(np.ascontiguousarray(bytes_PM)))
        exact_PE = left.floats(self.exact_k, self.exact_dtype)
        coefficients_PC = left.floats(len(self.polynomial_terms), self.term_dtype)
        residual_PR = torch.zeros(len(bytes_PM), self.k - self.exact_k)
        start = 0
        for each in self.residual_bins:
            scale_P1 = left.floats(1, each.scale_dtype)
            numbers = unpacked(
                left.bytes(bytes_of(each.num_elements, each.element_bits)), each.num_elements, each.element_bits
            )
            residual_PR[:, start : start + each.num_elements] = _centred(numbers, each.element_bits) * scale_P1
            start += each.num_elements
        rest_PR = residual_PR.to(exact)
        if self.polynomial_terms:
            rest_PR = self._polynomial(coefficients_PC) + rest_PR
        logp_PK = torch.cat([exact_PE, rest_PR.to(exact)], dim=-1)
        if self.delta_encoding:
            logp_PK = torch.cumsum(logp_PK.float(), dim=-1).to(exact)
        return logp_PK.double().numpy()

    def _polynomial(self, coefficients_PC: torch.Tensor) -> torch.Tensor:
        import torch

        count, kind = self.k - self.exact_k, coefficients_PC.dtype
        points = torch.linspace(0, 1, steps=count, dtype=kind) if self.normalize_t else torch.arange(count, dtype=kind)
        columns = [
            points**term if isinstance(term, int) else getattr(torch, term)(points) for term in self.polynomial_terms
        ]
        return (torch.stack(columns, dim=-1) * coefficients_PC[:, None]).sum(dim=-1)

    @property
    def _in_bins(self) -> int:
        return sum(each.num_elements for each in self.residual_bins)


class _Left:
    """Rows of bytes, of which parts are taken from the left."""

    def __init__(self, bytes_PM: torch.Tensor) -> None:
        self._bytes_PM = bytes_PM

    def bytes(self, count: int) -> npt.NDArray[np.uint8]:
        taken, self._bytes_PM = self._bytes_PM[:, :count], self._bytes_PM[:, count:]
        array: npt.NDArray[np.uint8] = taken.numpy()
        return array

    def floats(self, count: int, kind: str) -> torch.Tensor:
        import torch

        raw = torch.from_numpy(np.ascontiguousarray(self.bytes(count * _WIDTHS[kind])))
        if not count:
            return torch.empty(len(raw), 0, dtype=getattr(torch, kind))
        return raw.view(getattr(torch, kind))


def _centred(numbers: IdArray, bits: int) -> torch.Tensor:
    """Numbers around 0 that unsigned ones of so many bits stand for."""
    import torch

    found = torch.from_numpy(numbers)
    return (found * 2 - 1).float() if bits == 1 else (found - 2 ** (bits - 1)).float()


def rows_of_bytes(lists: list[npt.NDArray[np.uint8]], size: int, place: str, name: str) -> npt.NDArray[np.uint8]:
    """The bytes of some positions, as many in each.

    Raises:
        DamagedData: A position has another number of bytes.
    """
    wrong = [position for position, each in enumerate(lists) if len(each) != size]
    if wrong:
        raise DamagedData(
            f"{place}: {name} has {len(lists[wrong[0]])} bytes at its position {wrong[0]}, but {CONFIG} asks for "
            f"{size}; put the configuration beside the file that it was written with"
        )
    return np.stack(lists).astype(np.uint8) if lists else np.empty((0, size), np.uint8)
