"""Checkpoints of a training loop: safetensors and JSON, the JSON written last; the newest valid one is taken.

step-00000500/tensors.safetensors   parameters, buffers, optimizer state, random generator states
step-00000500/state.json            where the loop stands, and the digests of it and the tensors: the marker
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from kdkit.canonical import digest_of
from kdkit.files import disk_full, sync_folder, write_json

if TYPE_CHECKING:
    from pathlib import Path

KEPT = 2


def save(folder: Path, step: int, module: torch.nn.Module, optimizer: torch.optim.Optimizer, state: Any) -> None:
    """Write a checkpoint, then drop all but the newest two."""
    here = folder / f"step-{step:08}"
    shutil.rmtree(here, ignore_errors=True)
    tensors = here / "tensors.safetensors"
    collected = _collect(module, optimizer)
    with disk_full(folder, sum(tensor.nbytes for tensor in collected.values())):
        here.mkdir(parents=True)
        save_file(collected, tensors)
    content = {"step": step, "tensors_sha256": _sha256(tensors), **state}
    write_json(here / "state.json", content | {"sha256": digest_of(content)})
    sync_folder(folder)
    for old in sorted(folder.glob("step-*"))[:-KEPT]:
        shutil.rmtree(old)


def load_newest(folder: Path, module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
    """Restore the newest valid checkpoint and give its state; None where there is none.

    A damaged or unfinished one is passed over, the former with a warning.
    """
    for here in sorted(folder.glob("step-*"), reverse=True):
        if not (here / "state.json").exists():
            continue  # a kill came before the marker
        try:
            state: dict[str, Any] = json.loads((here / "state.json").read_text(encoding="utf-8"))
            if state.pop("sha256") != digest_of(state):
                raise ValueError("its state is not what was written")  # noqa: TRY301
            if _sha256(here / "tensors.safetensors") != state["tensors_sha256"]:
                raise ValueError("its tensors are not those that were written")  # noqa: TRY301
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            warnings.warn(f"checkpoint {here} is damaged ({error}); taking the one before it", stacklevel=2)
            continue
        _restore(load_file(here / "tensors.safetensors"), module, optimizer)
        return state
    return None


def _collect(module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    tensors, device = {"rng.cpu": torch.get_rng_state()}, _device_of(module)
    if device.type == "cuda":
        tensors["rng.cuda"] = torch.cuda.get_rng_state(device)
    names: dict[torch.Tensor, str] = {parameter: name for name, parameter in module.named_parameters()}
    tensors |= {f"model.{name}": parameter.detach() for parameter, name in names.items()}
    tensors |= {f"buffer.{name}": buffer for name, buffer in module.named_buffers()}
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            tensors[f"optimizer.{names[parameter]}.{key}"] = torch.as_tensor(value)
    return {name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()}


def _restore(tensors: dict[str, torch.Tensor], module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
        for name, buffer in module.named_buffers():
            buffer.copy_(tensors[f"buffer.{name}"])
    for name, parameter in module.named_parameters():
        prefix = f"optimizer.{name}."
        optimizer.state[parameter] = {
            key.removeprefix(prefix): value.to(parameter.device) if not key.endswith(".step") else value
            for key, value in tensors.items()
            if key.startswith(prefix)
        }
    torch.set_rng_state(tensors["rng.cpu"])
    device = _device_of(module)
    if "rng.cuda" in tensors and device.type == "cuda":
        torch.cuda.set_rng_state(tensors["rng.cuda"], device)


def _device_of(module: torch.nn.Module) -> torch.device:
    return next(module.parameters()).device


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
