"""The processes that do a run together, started by `accelerate launch` or `torchrun`; most runs have one.

All of them do the same stages in the same order. What is written is written by the lead, process 0. Work on rows is
dealt out by their order, so it never depends on which process is quick. What they tell each other about the run goes
through the CPU (gloo), and does not wait for a GPU; gradients go where the model is.
"""

from __future__ import annotations

import itertools
import json
import pickle
import re
from contextlib import contextmanager, nullcontext, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from kdkit.errors import Elsewhere, Interrupted, KdkitError, Lost
from kdkit.system.heartbeat import SLICE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch

    from kdkit.system.heartbeat import Heartbeat

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
    # A group of torch's for what they tell each other, and the store where they met.
    _talk: Any = None
    _store: Any = None
    # Whether the others live; None where that is not known: in a script that has connected its processes itself.
    _heartbeat: Heartbeat | None = None
    _watches: Iterator[int] = attrs.field(factory=itertools.count, init=False)

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes files and shows progress."""
        return self.rank == 0

    def own(self, items: Sequence[T]) -> Sequence[T]:
        """This process's share of some items: every `size`-th, from the `rank`-th on."""
        return items[self.rank :: self.size]

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.gather(None)

    def lead_does(self, work: Callable[[], T]) -> T:
        """The lead does something while the others wait; all get its result.

        Raises:
            Elsewhere: In the others, where it failed in the lead.
        """
        if self.size == 1:
            return work()
        if not self.leads:
            failed, result = self._from_lead(None)
            if failed is not None:
                raise Elsewhere("the lead process stopped", exit_code_there=failed)
            done: T = result
            return done
        try:
            result = work()
        except BaseException as error:
            with suppress(Lost):  # what went wrong here counts
                self._from_lead((exit_code_of(error), None))
            raise
        self._from_lead((None, result))
        return result

    def all_do(self, work: Callable[[], T]) -> T:
        """All do what goes alike in each, such as reading a recipe; each has its own result.

        Raises:
            Elsewhere: It failed, and another process raises the error itself: it is said once.
        """
        if self.size == 1:
            return work()
        failure: Exception | None = None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - raised again below, by the first that has one
            failure = error
        codes = self.gather(exit_code_of(failure) if failure is not None else None)
        first = next((rank for rank, code in enumerate(codes) if code is not None), None)
        if first is None:
            return result
        if failure is not None and first == self.rank:
            raise failure
        raise Elsewhere(f"process {first} stopped", exit_code_there=codes[first] or 0) from failure

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within the block an error is passed to the others: one process reports it, and all end with its code.

        Raises:
            Elsewhere: Another process has failed before, and this one's error comes of that, or is the same.
        """
        if self.size == 1:
            yield
            return
        number = next(self._watches)
        try:
            with nullcontext() if self._heartbeat is None else self._heartbeat.ending_waits():
                yield
        except Elsewhere:
            raise
        except BaseException as error:
            first = self._first_failure(error, number)
            stopped = isinstance(error, (Interrupted, KeyboardInterrupt))
            if first["rank"] == self.rank:
                if self.leads or not stopped:
                    raise
            elif stopped or isinstance(error, Lost):
                if self.leads and not first["said"]:
                    if stopped:  # the signal came to all
                        raise
                    raise Interrupted(
                        f"process {first['rank']} of {self.size}: {first['sentence']}", signal_exit_code=first["code"]
                    ) from error
            elif first["sentence"] != str(error):
                raise
            raise Elsewhere(f"process {first['rank']} stopped", exit_code_there=first["code"]) from error

    def _first_failure(self, error: BaseException, number: int) -> dict[str, Any]:
        """The first failure that a process has told of where all met: perhaps this one.

        What stopped a process that does not lead it leaves to the lead to say, which is told to stop as well.
        """
        said = self.leads or not isinstance(error, (Interrupted, KeyboardInterrupt))
        own = {"rank": self.rank, "code": exit_code_of(error), "sentence": str(error) or "interrupted", "said": said}
        with suppress(RuntimeError):  # the lead may keep that place, and be gone
            if self._store is not None and not (self._heartbeat is not None and self._heartbeat.store_is_silent):
                found: dict[str, Any] = json.loads(
                    self._store.compare_set(f"kdkit/{number}/first failure", "", json.dumps(own))
                )
                return found
        return own

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in their order."""
        if self.size == 1:
            return [value]
        import torch
        import torch.distributed as dist

        own = _as_bytes(value)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        with self.talking():
            self._until_done(dist.all_gather(sizes, torch.tensor([len(own)]), group=self._talk, async_op=True))
            most = int(max(sizes))
            padded = torch.nn.functional.pad(own, (0, most - len(own)))
            parts = [torch.empty(most, dtype=torch.uint8) for _ in range(self.size)]
            self._until_done(dist.all_gather(parts, padded, group=self._talk, async_op=True))
        return [_from_bytes(part[: int(size)]) for part, size in zip(parts, sizes, strict=True)]

    def greatest(self, values: torch.Tensor) -> None:
        """Make each number of a tensor on the CPU the greatest that any process holds, in place."""
        if self.size == 1:
            return
        import torch.distributed as dist

        with self.talking():
            self._until_done(dist.all_reduce(values, op=dist.ReduceOp.MAX, group=self._talk, async_op=True))

    def copy_from_lead(self, tensors: Sequence[torch.Tensor]) -> None:
        """Make tensors, on the device where they are, what they are in the lead, in place."""
        if self.size == 1:
            return
        import torch.distributed as dist

        with self.talking():
            for tensor in tensors:
                self._until_done(dist.broadcast(tensor, src=0, async_op=True), on=tensor)

    def add_up_there(self, tensors: Sequence[torch.Tensor]) -> None:
        """Make tensors, on the device where they are, the sum of what all processes hold, in place: gradients."""
        if self.size == 1 or not tensors:
            return
        import torch
        import torch.distributed as dist

        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            with self.talking():
                self._until_done(dist.all_reduce(flat, async_op=True), on=flat)
            summed = torch.split(flat, [tensor.numel() for tensor in bucket])
            for tensor, values in zip(bucket, summed, strict=True):
                tensor.copy_(values.view_as(tensor))

    def _from_lead(self, value: Any) -> Any:
        import torch
        import torch.distributed as dist

        content = _as_bytes(value)
        size = torch.tensor([len(content)])
        with self.talking():
            self._until_done(dist.broadcast(size, src=0, group=self._talk, async_op=True))
            if not self.leads:
                content = torch.empty(int(size), dtype=torch.uint8)
            self._until_done(dist.broadcast(content, src=0, group=self._talk, async_op=True))
        return value if self.leads else _from_bytes(content)

    def _until_done(self, work: Any, *, on: torch.Tensor | None = None) -> None:
        """Wait for the other processes, for as long as they show signs of life; signals are heard meanwhile.

        Args:
            work: What torch does meanwhile.
            on: The tensor that it is done to, if that may be on a GPU, where nothing waits here.

        Raises:
            Lost: One of them hangs.
        """
        if self._heartbeat is None or (on is not None and on.is_cuda):
            work.wait()
            return
        while not work.is_completed():
            try:
                work.wait(SLICE)
            except RuntimeError:  # after that time, or in earnest
                if not work.is_completed():
                    self._heartbeat.check()
        work.wait()

    @contextmanager
    def talking(self) -> Iterator[None]:
        """Turn the loss of another process into a sentence."""
        try:
            yield
        except RuntimeError as error:
            why = re.sub(r"^\[[^]]*\] ", "", str(error).strip()).splitlines()[0].split(". ")[0]
            raise Lost(
                f"another process of this run has ended ({why[:160]}); run the same command to resume "
                "from the last saved state"
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


def _as_bytes(value: Any) -> torch.Tensor:
    import torch

    return torch.frombuffer(bytearray(pickle.dumps(value)), dtype=torch.uint8)


def _from_bytes(content: torch.Tensor) -> Any:
    return pickle.loads(content.numpy().tobytes())  # noqa: S301 - another process of this run has made it


def exit_code_of(error: BaseException) -> int:
    """The code that a process ends with."""
    if isinstance(error, KeyboardInterrupt):
        return Interrupted.exit_code
    return getattr(error, "signal_exit_code", getattr(error, "exit_code", KdkitError.exit_code))
