"""Chooses the device of a run."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from kdkit.errors import KdkitError, UsageError
from kdkit.system.launcher import started
from kdkit.system.team import ALONE, Team

if TYPE_CHECKING:
    from collections.abc import Iterator


def pick(device: str, team: Team = ALONE) -> str:
    """The device for a recipe's `device`: "auto" is a CUDA GPU, else Apple's GPU, else the CPU.

    A GPU that is named by its number ("cuda:1") also becomes torch's current one: libraries use that unasked. Each of
    several processes has a GPU of its own, by its number on its machine.

    Raises:
        UsageError: The recipe names a device that is not here, or that several processes cannot have.
    """
    import torch

    if team.size > 1:
        return _own(device, team, started().local_rank)
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    kind, _, index = device.partition(":")
    if not here[kind]:
        raise UsageError(f'device = "{device}", but torch finds no such device here; use device = "auto" or "cpu"')
    if index and int(index) >= torch.cuda.device_count():
        raise UsageError(
            f'device = "{device}", but torch finds {torch.cuda.device_count()} here, counted from 0; choose one of them'
        )
    if index:
        torch.cuda.set_device(int(index))
    return device


def _own(device: str, team: Team, place: int) -> str:
    """The device of one of several processes."""
    import torch

    if device not in {"auto", "cpu", "cuda"}:
        raise UsageError(
            f'device = "{device}", but {team.size} processes cannot share it; use device = "cuda", which '
            'gives each its own GPU, or "cpu"'
        )
    here = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "cpu" or (device == "auto" and not here):
        return "cpu"
    if place >= here:
        raise UsageError(
            f'device = "{device}", but this process, number {place} (from 0) on its machine, finds {here} '
            'GPUs there; start as many processes as there are GPUs, or use device = "cpu"'
        )
    torch.cuda.set_device(place)
    return f"cuda:{place}"


def is_slow_in(dtype: str, device: str) -> bool:
    """Whether a recipe's `device` is a processor that has to convert every number of a half-precision type first."""
    import torch

    if device not in {"cpu", "auto"} or dtype not in {"bfloat16", "float16"}:
        return False
    if device == "auto" and (torch.cuda.is_available() or torch.backends.mps.is_available()):
        return False
    flags = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    wanted = ("avx512_bf16", "amx_bf16") if dtype == "bfloat16" else ("avx512_fp16", "amx_fp16")
    return not any(flags.get(flag) for flag in wanted)


def threads() -> int:
    """How many threads compute on the CPU: sums of another number of threads differ in their last bits."""
    import torch

    return torch.get_num_threads()


@contextmanager
def enough_memory(work: str) -> Iterator[None]:
    """Turn an error of a full memory into one sentence.

    Args:
        work: What is done within the block, for the sentence.

    Raises:
        KdkitError: It ran out, the GPU's or the machine's.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        raise KdkitError(
            f"memory ran out in {work} ({(str(error).strip() or type(error).__name__).splitlines()[0][:200]}); "
            "lower training.batch_size or training.batch_tokens (training.accumulation can make up for it) or "
            "generation.batch_size, or set training.gradient_checkpointing = true, and run again"
        ) from error


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "DefaultCPUAllocator" in str(error)


@contextmanager
def flushing_denormals() -> Iterator[None]:
    """Within the block, let numbers below 1e-38 be 0 on the CPU.

    Gradients hold many of them once a model has learnt something, and processors are slow with them. Threads that torch
    has started before are not reached, so this goes around all of its work: the command line does so, and a script that
    wants the same speed, and the same last bits, does too.
    """
    import torch

    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
