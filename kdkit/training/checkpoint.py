"""Checkpoints of a training loop: safetensors and JSON, the JSON written last; the newest valid one is taken.

step-00000500/tensors.safetensors   parameters that are trained, buffers, optimizer state
step-00000500/state.json            where the loop stands, and the digests of it and the tensors: the marker
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor, distribute_tensor

from kdkit.errors import DamagedData
from kdkit.system.digests import digest_of
from kdkit.system.files import disk_full, make_folder, sync_file, write_json
from kdkit.system.folders import delete, discard_folder
from kdkit.system.reading import file_digest, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    Modules = Mapping[str, torch.nn.Module]

KEPT = 2


def save(folder: Path, step: int, collected: Mapping[str, torch.Tensor], state: Any) -> None:
    """Write a checkpoint, then drop all but the newest two.

    Args:
        folder: That of all checkpoints.
        step: Steps that are done.
        collected: See `collect`.
        state: Where the loop stands; JSON.
    """
    here = folder / f"step-{step:08}"
    discard_folder(here)
    tensors = here / "tensors.safetensors"
    with disk_full(tensors, sum(tensor.nbytes for tensor in collected.values()), discards=here):
        make_folder(here)
        save_file(dict(collected), tensors)
        sync_file(tensors)
        content = {"step": step, "tensors_sha256": file_digest(tensors), **state}
        write_json(here / "state.json", content | {"sha256": digest_of(content)})
    for old in sorted(folder.glob("step-*"))[:-KEPT]:
        delete([old])


def newest(folder: Path) -> Path | None:
    """The newest valid checkpoint; None where there is none.

    A damaged or unfinished one is deleted, the former with a warning: it must not take the place of one that is whole.
    """
    for here in sorted(folder.glob("step-*"), reverse=True):
        if not (here / "state.json").exists():  # a kill came before the marker
            delete([here])
            continue
        try:
            state = _read(here)
            if file_digest(here / "tensors.safetensors") != state["tensors_sha256"]:
                raise ValueError("its tensors have changed since they were written")  # noqa: TRY301
        except (DamagedData, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            warnings.warn(f"checkpoint {here} is damaged ({error}); using the one before it", stacklevel=2)
            delete([here])
            continue
        return here
    return None


def load(here: Path, modules: Modules, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Restore a valid checkpoint and return its state."""
    _restore(load_file(here / "tensors.safetensors"), modules, optimizer)
    return _read(here)


def _read(here: Path) -> dict[str, Any]:
    state: dict[str, Any] = read_json(here / "state.json")
    if state.pop("sha256") != digest_of(state):
        raise ValueError("its state has changed since it was written")
    return state


def _named_parameters(modules: Modules) -> dict[str, torch.nn.Parameter]:
    """Those that are trained: the others are what they were before the training."""
    return {
        f"{name}.{key}": each
        for name, module in modules.items()
        for key, each in module.named_parameters()
        if each.requires_grad
    }


def _named_buffers(modules: Modules) -> dict[str, torch.Tensor]:
    return {f"{name}.{key}": each for name, module in modules.items() for key, each in module.named_buffers()}


def collect(modules: Modules, optimizer: torch.optim.Optimizer, *, keep: bool = True) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint, whole and on the CPU. Where they are spread over processes, each must call this.

    Args:
        modules: What is trained.
        optimizer: What trains it.
        keep: Whether this process wants them; else it only helps the others.
    """
    parameters = _named_parameters(modules)
    names: dict[torch.Tensor, str] = {parameter: name for name, parameter in parameters.items()}
    tensors = {f"parameter.{name}": parameter.detach() for name, parameter in parameters.items()}
    tensors |= {f"buffer.{name}": buffer for name, buffer in _named_buffers(modules).items()}
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            tensors[f"optimizer.{names[parameter]}.{key}"] = torch.as_tensor(value)
    collected = {}
    for name, tensor in tensors.items():
        whole = _whole(tensor)
        if keep:
            collected[name] = whole.to("cpu", copy=True).contiguous()
    return collected


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _share_of(whole: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A whole tensor, spread as another one of its shape is."""
    if not isinstance(like, DTensor) or not whole.ndim:
        return whole
    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements)


def _restore(tensors: dict[str, torch.Tensor], modules: Modules, optimizer: torch.optim.Optimizer) -> None:
    parameters = _named_parameters(modules)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(_share_of(tensors[f"parameter.{name}"], parameter))
        for name, buffer in _named_buffers(modules).items():
            buffer.copy_(tensors[f"buffer.{name}"])
    names: dict[torch.Tensor, str] = {parameter: name for name, parameter in parameters.items()}
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states = {}
    for number, parameter in enumerate(held):
        prefix = f"optimizer.{names[parameter]}."
        found = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        state = {key: _share_of(value, parameter) for key, value in found.items()}
        if state:
            states[number] = state
    # The optimizer knows on which device each part of its state has to be.
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
