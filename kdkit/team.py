"""The processes that do a run together, started by `accelerate launch` or `torchrun`; most runs have one.

All of them do the same stages in the same order. What is written is written by the lead, process 0. Work on rows is
dealt out by their order, so it never depends on which process is quick. What they tell each other about the run goes
through the CPU (gloo), and does not wait for a GPU; gradients go where the model is.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from kdkit.errors import Elsewhere, KdkitError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch

    T = TypeVar("T")

FOREVER = timedelta(days=365)
"""How long a process waits for another that is at work: that one is dead is seen by its connection, at once."""


@attrs.frozen(kw_only=True, eq=False)
class Team:
    """The processes of a run, seen from one of them.

    Attributes:
        rank: Which one this is, from 0.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1
    _talk: Any = None

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes files and shows progress."""
        return self.rank == 0

    def own(self, items: Sequence[T]) -> Sequence[T]:
        """This process's share of some items: every `size`-th, from the `rank`-th on."""
        return items[self.rank :: self.size]

    def wait(self) -> None:
        """Until all are here."""
        self.gather(None)

    def lead_does(self, work: Callable[[], T]) -> T:
        """The lead does something while the others wait; all get what it gives.

        Raises:
            Elsewhere: In the others, where it failed in the lead.
        """
        if self.size == 1:
            return work()
        if not self.leads:
            failed, result = self._from_lead(None)
            if failed is not None:
                raise Elsewhere("the lead process stopped", exit_code_of_lead=failed)
            done: T = result
            return done
        try:
            result = work()
        except BaseException as error:
            self._from_lead((exit_code_of(error), None))
            raise
        self._from_lead((None, result))
        return result

    def gather(self, value: T) -> list[T]:
        """What each process gives, in their order."""
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        with self._talking():
            dist.all_gather_object(values, value, group=self._talk)
        return values

    def add_up(self, values: torch.Tensor) -> None:
        """Make a tensor of the CPU the sum of what all processes hold, in place."""
        if self.size == 1:
            return
        import torch.distributed as dist

        with self._talking():
            dist.all_reduce(values, group=self._talk)

    def add_up_there(self, tensors: Sequence[torch.Tensor]) -> None:
        """The same for many tensors, on the device where they are: gradients."""
        if self.size == 1 or not tensors:
            return
        import torch
        import torch.distributed as dist

        with self._talking():
            for bucket in _buckets(tensors):
                flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
                dist.all_reduce(flat)
                summed = torch.split(flat, [tensor.numel() for tensor in bucket])
                for tensor, values in zip(bucket, summed, strict=True):
                    tensor.copy_(values.view_as(tensor))

    def _from_lead(self, value: Any) -> Any:
        import torch.distributed as dist

        held = [value]
        with self._talking():
            dist.broadcast_object_list(held, src=0, group=self._talk)
        return held[0]

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """Say in a sentence that another process is gone."""
        try:
            yield
        except RuntimeError as error:
            raise KdkitError(
                f"process {self.rank} of {self.size} has lost another process of this run "
                f"({str(error).strip().splitlines()[0][:160]}); the same command goes on from the last checkpoint"
            ) from error


ALONE = Team()

BUCKET = 25_000_000
"""Numbers that are sent at a time: 100 MB in float32."""


def _buckets(tensors: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Tensors of one type and device, in their order, so many at a time."""
    bucket: list[torch.Tensor] = []
    for tensor in tensors:
        if bucket and (
            sum(each.numel() for each in bucket) + tensor.numel() > BUCKET
            or (tensor.dtype, tensor.device) != (bucket[0].dtype, bucket[0].device)
        ):
            yield bucket
            bucket = []
        bucket.append(tensor)
    yield bucket


def exit_code_of(error: BaseException) -> int:
    """The code that a process ends with."""
    return getattr(error, "signal_exit_code", getattr(error, "exit_code", KdkitError.exit_code))


@contextmanager
def joined(*, on_cpu: bool) -> Iterator[Team]:
    """The team that a launcher has started this process in; `ALONE` where none has.

    Args:
        on_cpu: Whether the run is on the CPU.

    Raises:
        UsageError: The launcher asks for DeepSpeed, which kdkit does not drive.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true":
        raise UsageError("kdkit does not run on DeepSpeed; take an accelerate config for several GPUs, or for FSDP")
    import torch.distributed as dist
    from accelerate import PartialState

    PartialState(cpu=on_cpu)
    talk = dist.new_group(backend="gloo", timeout=FOREVER)
    try:
        yield Team(rank=dist.get_rank(), size=dist.get_world_size(), talk=talk)
    finally:
        dist.destroy_process_group()
