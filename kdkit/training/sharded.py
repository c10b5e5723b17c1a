"""A model that is spread over the processes: torch's FSDP2 (`fully_shard`), as an accelerate config asks for it.

Each process keeps a share of every parameter, of its gradient and of what the optimizer knows of it. A layer's whole
parameters are there only while the layer works. So the forward pass goes through the module as it is, its head
included, and all processes go through it together, those without rows too.

For validation and for saving the model is put together in every process.
"""

from __future__ import annotations

import os
import warnings
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from kdkit.errors import UsageError
from kdkit.training.replicas import Replicas
from kdkit.training.tokenloss import Forward

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from typing import Self

    import torch
    from torch.distributed.fsdp import FSDPModule

    from kdkit.api.interfaces import TextModel
    from kdkit.system.team import Team

CONFIG = "ACCELERATE_USE_FSDP"


def is_asked_for(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process was started with an accelerate config for FSDP."""
    return environment.get(CONFIG, "false").lower() == "true"


@attrs.frozen(kw_only=True, eq=False)
class Sharded(Replicas):
    """Modules whose parameters are spread over a team.

    Attributes:
        reshard: Whether a layer's whole parameters are given up between forward and backward pass.
    """

    reshard: bool = True
    everyone_works: ClassVar[bool] = True

    @classmethod
    def place(cls, team: Team, modules: tuple[torch.nn.Module, ...]) -> Self:
        """Take the lead's parameters, then keep a share of each.

        Raises:
            UsageError: The config asks for something that is not supported here.
        """
        Replicas.place(team, modules)
        options = _options()
        wrapped = options.pop("layers")
        with _quietly():
            _spread(modules[0], wrapped, options)
            for module in modules[1:]:
                _spread(module, (), options)
        placed = cls(team=team, modules=modules, reshard=options["reshard_after_forward"])
        for part in placed._parts:
            part.set_gradient_divide_factor(1.0)  # a step's gradient is a sum, see Replicas
            part.set_force_sum_reduction_for_comms(True)  # gloo has no other way to it
        return placed

    def forward_of(self, model: TextModel) -> Forward:
        """Through the module, to its logits."""

        def logits(batch: Any) -> torch.Tensor:
            with _quietly():
                return model.logits(batch)

        return Forward(rows=logits)

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Within the block, a sentence replaces the errors of torch's collectives when another process is gone."""
        try:
            yield
        except RuntimeError as error:
            from torch.distributed import DistError

            if not isinstance(error, DistError) and "gloo" not in str(error):
                raise
            with self.team.talking():
                raise

    def add_up(self, values: torch.Tensor) -> None:
        """Sum some values over all processes, in place; the gradients are sums already."""
        self.team.add_up_there([values])

    def clip(self, limit: float) -> torch.Tensor:
        """See Replicas."""
        norm = super().clip(limit)
        return norm.full_tensor() if hasattr(norm, "full_tensor") else norm

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Within the block the modules are whole in every process, and each may use them without the others."""
        saved = [module.state_dict().keys() for module in self.modules]
        for part in self._parts:
            part.set_reshard_after_forward(False, recurse=False)
            part.unshard()
        try:
            with ExitStack() as stack:
                for module, names in zip(self.modules, saved, strict=True):
                    stack.enter_context(_giving_whole_weights(module, names))
                yield
        finally:
            for part in self._parts:
                # A forward pass that ended at the head has left it in the belief that it still goes on.
                part.set_reshard_after_forward(True, recurse=False)
                part.reshard()
                # Those of a whole module are needed again at once in the backward pass: torch's own default.
                is_layer = id(part) not in {id(module) for module in self.modules}
                part.set_reshard_after_forward(self.reshard and is_layer, recurse=False)

    def _held(self) -> list[torch.Tensor]:
        return [each.to_local() for each in super()._held()]  # type: ignore[attr-defined]  # they are DTensors

    @property
    def _parts(self) -> list[FSDPModule]:
        from torch.distributed.fsdp import FSDPModule

        return [each for module in self.modules for each in module.modules() if isinstance(each, FSDPModule)]


def _options() -> dict[str, Any]:
    """What the accelerate config says, in `fully_shard`'s words."""
    from accelerate import FullyShardedDataParallelPlugin
    from torch.distributed.fsdp import CPUOffloadPolicy

    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise UsageError("the accelerate config asks for FSDP 1; set fsdp_version: 2 in its fsdp_config")
    found = FullyShardedDataParallelPlugin()
    if found.min_num_params:
        raise UsageError(
            "the accelerate config wraps layers by size; set fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP in its "
            "fsdp_config"
        )
    if found.activation_checkpointing:
        raise UsageError(
            "the accelerate config asks for activation checkpointing; remove that and set "
            "training.gradient_checkpointing = true in the recipe"
        )
    options: dict[str, Any] = {"reshard_after_forward": bool(found.reshard_after_forward)}
    if isinstance(found.cpu_offload, CPUOffloadPolicy):
        options["offload_policy"] = found.cpu_offload
    return {**options, "layers": tuple(found.transformer_cls_names_to_wrap or ())}


def _spread(module: torch.nn.Module, layers: tuple[str, ...], options: dict[str, Any]) -> None:
    from torch.distributed.fsdp import fully_shard

    names = layers or tuple(getattr(module, "_no_split_modules", None) or ())
    found = [each for each in module.modules() if type(each).__name__ in names]
    if layers and not found:
        raise UsageError(
            f"the accelerate config wraps {', '.join(layers)}, which a {type(module).__name__} does not have; "
            "leave fsdp_transformer_layer_cls_to_wrap out of its fsdp_config"
        )
    for each in found:
        fully_shard(each, **options)
    fully_shard(module, **options)


@contextmanager
def _giving_whole_weights(module: torch.nn.Module, saved: Collection[str]) -> Iterator[None]:
    """Within the block `state_dict`, which is what saves a model, gives the parameters as they are.

    FSDP has it give every process's share, also while the module is whole.

    Args:
        module: What is whole.
        saved: The names of what it gives: not all buffers are saved.
    """

    def state_dict() -> dict[str, torch.Tensor]:
        parameters, buffers = module.named_parameters(remove_duplicate=False), module.named_buffers()
        return {name: each.detach() for name, each in (*parameters, *buffers) if name in saved}

    module.__dict__["state_dict"] = state_dict
    try:
        yield
    finally:
        del module.__dict__["state_dict"]


@contextmanager
def _quietly() -> Iterator[None]:
    """Without torch's warning of layers that return views: none of ours is changed in place."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
        yield
