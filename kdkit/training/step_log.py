"""Losses and gradient norms of the steps: read from the device when ready, summed for the next log line."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import TYPE_CHECKING

import attrs
import torch

from kdkit.errors import KdkitError
from kdkit.training.state import Sums

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from kdkit.api.values import EncodedExample, TokenCounts
    from kdkit.training.batching import Lengths

    Window = Sequence[Sequence[int]]

PARTS = ("total", "hard", "soft", "feature")
"""The parts of a loss that are kept (see `kdkit.api.values.LossParts`), the first being the one that is trained on."""


@attrs.frozen(eq=False)
class Readback:
    """A tensor's numbers, copied to the CPU while the device continues: reading them waits for the copy alone."""

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
        """The numbers of the tensor."""
        if self._copied is not None:
            self._copied.synchronize()
        numbers: list[float] = self._values.tolist()
        return numbers


def lag_of(device: str) -> int:
    """How many steps later a step's numbers are read.

    A CUDA GPU is given the next step before the losses of this one are read; on the CPU they are there already, and any
    other device is waited for.
    """
    return 1 if device.startswith("cuda") else 0


@attrs.frozen(kw_only=True, eq=False)
class _Step:
    """A step that was taken and is not in the sums yet.

    Attributes:
        number: Its number, from 1.
        window: The rows of its micro-batches.
        counts: The denominators of its losses.
        numbers: The parts of the loss, micro-batch by micro-batch, and the norm of the gradient.
    """

    number: int
    window: Window
    counts: TokenCounts
    numbers: Readback


@attrs.define(kw_only=True)
class StepLog:
    """The numbers of one training's steps since the last log line.

    Attributes:
        name: What is trained, for messages.
        rows: Its rows.
        lengths: How long they are.
        lag: How many steps' numbers are left with the device.
        sums: What the steps since the last log line came to, but for those.
        compares_states: Whether the loss has a `feature` part.
        is_bf16: Whether the model computes in bfloat16.
    """

    name: str
    rows: Sequence[EncodedExample]
    lengths: Lengths
    lag: int
    sums: Sums
    compares_states: bool
    is_bf16: bool
    _waiting: deque[_Step] = attrs.field(factory=deque, init=False)
    _clock: float = attrs.field(default=0.0, init=False)

    def start_clock(self) -> None:
        """Count the time from now on as training."""
        self._clock = time.perf_counter()

    def add(self, number: int, window: Window, counts: TokenCounts, parts: torch.Tensor, norm: torch.Tensor) -> None:
        """Add a step that is about to be taken.

        Args:
            number: Its number, from 1.
            window: The rows of its micro-batches.
            counts: The denominators of its losses.
            parts: `[micro-batches, PARTS]`.
            norm: The gradient's, one number.

        Raises:
            KdkitError: Its loss or gradient, or that of a step before, is not finite.
        """
        numbers = Readback.of(torch.cat([parts.reshape(-1), norm.reshape(1).to(parts.device)]))
        self._waiting.append(_Step(number=number, window=window, counts=counts, numbers=numbers))
        self.settle(self.lag)

    def settle(self, left: int = 0) -> None:
        """Add the steps that wait to the sums, but for so many of the last.

        Raises:
            KdkitError: One of them has a loss or a gradient that is not finite.
        """
        sums = self.sums
        while len(self._waiting) > left:
            step = self._waiting.popleft()
            *flat, norm = step.numbers.numbers()
            by_batch = [flat[start : start + len(PARTS)] for start in range(0, len(flat), len(PARTS))]
            total, hard, soft, feature = (sum(column) for column in zip(*by_batch, strict=True))
            if not math.isfinite(total) or not math.isfinite(norm):
                raise self._refusal(step, by_batch, norm)
            sums.steps += 1
            sums.loss += total
            sums.hard += hard
            sums.soft += soft
            sums.feature += feature
            sums.grad_norm += norm
            sums.tokens += self.lengths.tokens(step.window)
            sums.places += self.lengths.positions(step.window)
        now = time.perf_counter()
        sums.seconds += now - self._clock
        self._clock = now

    def check_weights(self, number: int, broken: Sequence[str]) -> None:
        """Refuse a step that left weights which are not finite.

        Args:
            number: The step's number.
            broken: Names of parameters that hold such numbers.

        Raises:
            KdkitError: There are some.
        """
        if broken:
            raise KdkitError(
                f"step {number} of the {self.name}'s training left weights that are not finite ({', '.join(broken[:3])}"
                f"{f' and {len(broken) - 3} more' if len(broken) > 3 else ''}); {self._advice}"
            )

    def shown(self) -> dict[str, str]:
        """The numbers beside the progress bar."""
        sums = self.sums
        if not sums.steps:
            return {}
        facts = {"loss": f"{sums.loss / sums.steps:.3f}", "hard": f"{sums.hard / sums.steps:.3f}"}
        if math.isfinite(sums.soft):
            facts["soft"] = f"{sums.soft / sums.steps:.3f}"
        return facts | {"tok/s": f"{sums.tokens / sums.seconds:.0f}"}

    def close(self) -> dict[str, float]:
        """The means of all steps since the last log line, for the next; the sums start from 0 again."""
        self.settle()
        sums, self.sums = self.sums, Sums()
        return {
            "loss": sums.loss / sums.steps,
            "hard": sums.hard / sums.steps,
            "soft": sums.soft / sums.steps,
            **({"feature": sums.feature / sums.steps} if self.compares_states else {}),
            "grad_norm": sums.grad_norm / sums.steps,
            "tokens_per_second": sums.tokens / sums.seconds,
            "padding": 1 - sums.tokens / sums.places,
        }

    def _refusal(self, step: _Step, by_batch: list[list[float]], norm: float) -> KdkitError:
        bad = next((i for i, parts in enumerate(by_batch) if not math.isfinite(parts[0])), None)
        names, indices = ["gradient"], [index for batch in step.window for index in batch]
        if bad is not None:
            _, hard, soft, feature = by_batch[bad]
            # Without teacher rows the soft loss is NaN by definition, and not what went wrong.
            counted = [("hard", hard, step.counts.hard), ("soft", soft, step.counts.soft)]
            if self.compares_states:
                counted.append(("feature", feature, step.counts.soft))
            names = [f"{name} loss" for name, value, count in counted if count and not math.isfinite(value)]
            indices = list(step.window[bad])
        ids = [self.rows[index].id for index in indices]
        return KdkitError(
            f"step {step.number} of the {self.name}'s training: the {' and the '.join(names or ['loss'])} is not "
            f"finite (loss {sum(parts[0] for parts in by_batch)}, gradient norm {norm}) on rows "
            f"{', '.join(ids[:8])}{f' and {len(ids) - 8} more' if len(ids) > 8 else ''}; {self._advice}"
        )

    @property
    def _advice(self) -> str:
        return (
            "the last checkpoint is kept; lower the learning rate of this training"
            f"{', or use fp32' if self.is_bf16 else ''}"
        )
