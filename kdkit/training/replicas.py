"""The same model in every process: gradients are summed over them, once a step.

A wrapper around the module (torch's DistributedDataParallel) would want the whole forward pass to itself; here the head
and the loss run outside of it, in chunks. So the gradients are added up afterwards. They are sums over label tokens
divided by counts of the whole step, which makes their sum the step's gradient.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, ClassVar

import attrs
import numpy as np
import torch

from kdkit.training.tokenloss import Forward

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Self

    from kdkit.api.interfaces import TextModel
    from kdkit.system.signals import Stop
    from kdkit.system.team import Team


@attrs.frozen(kw_only=True, eq=False)
class Replicas:
    """The parameters that are trained, in every process of a team.

    Attributes:
        team: The processes.
        modules: What is trained, the model first.
        everyone_works: Whether a process goes through the model even where it has no rows.
    """

    team: Team
    modules: tuple[torch.nn.Module, ...]
    everyone_works: ClassVar[bool] = False

    @classmethod
    def place(cls, team: Team, modules: tuple[torch.nn.Module, ...]) -> Self:
        """Take the lead's parameters and buffers."""
        tensors = [each for module in modules for each in (*module.parameters(), *module.buffers())]
        with torch.no_grad():
            team.copy_from_lead(tensors)
        return cls(team=team, modules=modules)

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """Those with a gradient."""
        return [each for module in self.modules for each in module.parameters() if each.requires_grad]

    def forward_of(self, model: TextModel) -> Forward:
        """The model's forward pass, up to its head where it has a linear one."""
        return Forward.of(model)

    def whole(self) -> AbstractContextManager[None]:
        """A block within which each process may use the modules without the others; here that is always so."""
        return nullcontext()

    def guard(self) -> AbstractContextManager[None]:
        """A block within which the loss of another process becomes a sentence; here the team does that."""
        return nullcontext()

    def agree(self, stop: Stop) -> bool:
        """Whether a signal has asked any process to stop; if so, all have the signal from here on."""
        if self.team.size > 1:
            signal = torch.tensor([stop.signal or 0], dtype=torch.int32)
            self.team.greatest(signal)
            if not int(signal):
                return False  # one that came meanwhile, to this process alone, is for the next time
            stop.signal = int(signal)
        return bool(stop)

    def add_up(self, values: torch.Tensor) -> None:
        """Sum gradients and some values over all processes, in place.

        Args:
            values: float32, on the parameters' device.
        """
        if self.team.size == 1:
            return
        parameters = self.parameters
        # A parameter that no process has used gets no gradient, as in one process, and so no weight decay either.
        used = torch.tensor([each.grad is not None for each in parameters], dtype=torch.int32)
        self.team.greatest(used)
        gradients = []
        for parameter, has in zip(parameters, used.tolist(), strict=True):
            if has and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            if parameter.grad is not None:
                gradients.append(parameter.grad)
        self.team.add_up_there([*gradients, values])

    def not_finite(self) -> list[str]:
        """Names of parameters that hold NaN or infinite numbers: the same in every process."""
        broken_N = torch.stack([~each.isfinite().all() for each in self._held()]).to("cpu", torch.int32)
        if self.everyone_works:  # else all hold the same, and one that is left alone can still save
            self.team.greatest(broken_N)
        names = [name for module in self.modules for name, each in module.named_parameters() if each.requires_grad]
        return [name for name, is_broken in zip(names, broken_N.tolist(), strict=True) if is_broken]

    def _held(self) -> list[torch.Tensor]:
        """What this process holds of each parameter."""
        return [each.detach() for each in self.parameters]

    def clip(self, limit: float) -> torch.Tensor:
        """Scale the gradients of each module down to a norm; returns the norm of the model's.

        What helps a loss may have far larger gradients than the model, which are not to make the model's smaller.

        Args:
            limit: The norm; 0 for none.
        """
        own, *others = (
            torch.nn.utils.clip_grad_norm_(
                [each for each in module.parameters() if each.requires_grad], limit or math.inf
            )
            for module in self.modules
        )
        return own + sum(0 * norm for norm in others)  # not finite where one of the others is not


def noise_seed(seed: int, step: int, rank: int) -> int:
    """Seed of a step's random numbers (dropout) in one process, so that a resumed run needs no stored random state."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])
