"""Reads what a launcher started: one process, or several that do a run together.

`torchrun` and `accelerate launch` tell each process in its environment how many there are and which it is.
"""

from __future__ import annotations

import functools
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.errors import KdkitError, UsageError
from kdkit.system.heartbeat import Heartbeat, patience
from kdkit.system.team import ALONE, FOREVER, Team

if TYPE_CHECKING:
    from collections.abc import Mapping

PATIENCE = timedelta(minutes=10)
"""How long is waited for all processes to come: some nodes are quicker than others."""


@attrs.frozen(kw_only=True)
class Started:
    """A process as its launcher has started it.

    Attributes:
        rank: Which one it is, from 0; that one leads.
        size: How many there are.
        local_rank: Which one on its machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def leads(self) -> bool:
        """Whether it speaks for all."""
        return self.rank == 0

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"process {self.rank} of {self.size}"


def started(environment: Mapping[str, str] = os.environ) -> Started:
    """This process.

    Raises:
        UsageError: The environment says half of it, or nonsense.
    """
    if environment.get("WORLD_SIZE", "1") == "1":
        return Started()
    numbers = {}
    for name, default in (("WORLD_SIZE", None), ("RANK", None), ("LOCAL_RANK", environment.get("RANK"))):
        text = environment.get(name, default)
        if text is None or not text.isdecimal():
            raise UsageError(
                f"WORLD_SIZE is {environment['WORLD_SIZE']}, as set by a launcher of several processes, but "
                f"{name} is {text if text is not None else 'missing'}; use torchrun or accelerate launch, or "
                "unset WORLD_SIZE"
            )
        numbers[name] = int(text)
    return Started(rank=numbers["RANK"], size=numbers["WORLD_SIZE"], local_rank=numbers["LOCAL_RANK"])


def hint(environment: Mapping[str, str] = os.environ) -> str | None:
    """A hint if accelerate was asked for several processes but started one."""
    if "WORLD_SIZE" not in environment and {"ACCELERATE_USE_CPU", "MASTER_ADDR"} <= environment.keys():
        return "accelerate launch started one process; without a GPU, it starts several only with --multi_gpu"
    return None


def join() -> Team:
    """The team that this process was started in; `ALONE` where no launcher has started several.

    Once joined, it stays for the process's life: a script may do several runs.

    Raises:
        UsageError: The launcher asks for DeepSpeed, which kdkit does not drive, or does not say where the others are.
        KdkitError: The others do not come.
    """
    return ALONE if started().size == 1 else _joined()


@functools.cache
def _joined() -> Team:
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true":
        raise UsageError("kdkit does not run on DeepSpeed; use an accelerate config for several GPUs, or for FSDP")
    import torch.distributed as dist

    if dist.is_initialized():  # by a script
        talk = dist.new_group(backend="gloo", timeout=FOREVER)
        return Team(rank=dist.get_rank(), size=dist.get_world_size(), talk=talk)
    store, heartbeat = _met(started())
    with heartbeat.ending_waits():
        talk = dist.new_group(backend="gloo", timeout=FOREVER)
    return Team(rank=dist.get_rank(), size=dist.get_world_size(), talk=talk, store=store, heartbeat=heartbeat)


def _met(own: Started) -> tuple[Any, Heartbeat]:
    """Connect the processes with torch; returns the store where they met, and the heartbeat started there."""
    import atexit

    seconds = patience()
    import torch
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    try:
        store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
        # Each kind of tensor over the way that is made for it; nothing of NCCL is opened before a GPU's is sent.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size)
        place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        second = dist.TCPStore(*place, is_master=False, wait_for_workers=False)  # type: ignore[attr-defined]
    except ValueError as error:
        raise UsageError(
            f"the addresses of the other {own.size - 1} processes are missing ({error}); start all processes "
            "with torchrun or accelerate launch"
        ) from error
    except RuntimeError as error:
        raise KdkitError(
            f"the {own.size} processes could not meet at "
            f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')} "
            f"({str(error).strip().splitlines()[0][:160]}); check that all are started and that the port is "
            "free"
        ) from error
    atexit.register(dist.destroy_process_group)
    heartbeat = Heartbeat(second, rank, size, seconds)
    heartbeat.start()
    return store, heartbeat
