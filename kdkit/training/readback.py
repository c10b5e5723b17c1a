"""Numbers on their way from a device to the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import torch

if TYPE_CHECKING:
    from typing import Self


@attrs.frozen(eq=False)
class Readback:
    """A tensor's numbers, copied while the device goes on: to read them waits for the copy, and not for later work."""

    _values: torch.Tensor
    _copied: torch.cuda.Event | None

    @classmethod
    def of(cls, values: torch.Tensor) -> Self:
        """Begin to copy."""
        on_cpu = values.detach().to("cpu", non_blocking=values.is_cuda)
        copied = None
        if values.is_cuda:
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch's own
            copied.record()
        return cls(on_cpu, copied)

    def numbers(self) -> list[float]:
        """What was in the tensor."""
        if self._copied is not None:
            self._copied.synchronize()
        numbers: list[float] = self._values.tolist()
        return numbers


def lag_of(device: str) -> int:
    """How many steps later a step's numbers are read.

    A CUDA GPU is given the next step before it is asked for the last one's losses; the CPU has them already, and of
    others they are waited for.
    """
    return 1 if device.startswith("cuda") else 0
