"""A linear head as a function of hidden states, and its products without autograd where nothing watches them.

Letters: N tokens, V vocabulary, D hidden.
"""

from __future__ import annotations

from typing import Any

import attrs
import torch
from torch.nn.modules import module as torch_modules

from kdkit.models.heads import with_bias

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_post_accumulate_grad_hooks",
)
"""Where torch keeps those of layers and tensors."""


@attrs.frozen(kw_only=True, eq=False)
class LinearHead:
    """Called with states `[N, D]`, gives logits `[N, V]`.

    Autograd makes the gradient of a head's weights, as large as the head, in new memory for each call, and adds it up
    then. `logits` and `add_gradient` are the same products into memory that is there.

    Attributes:
        module: The model, of which there may be a bias too.
        layer: The head.
        factor: What all is multiplied with.
    """

    module: Any
    layer: torch.nn.Linear
    factor: float = 1.0

    def __call__(self, states_ND: torch.Tensor) -> torch.Tensor:
        """The logits, for autograd."""
        logits_NV = with_bias(self.module, self.layer(states_ND))
        return logits_NV if self.factor == 1 else self.factor * logits_NV

    def is_plain(self, states_ND: torch.Tensor) -> bool:
        """Whether the logits are torch's own layer of these states and nothing else.

        It is not where there are hooks, adapters, weights dealt out over processes, a bias of the model's, another type
        of numbers, or autocast.
        """
        layer = self.layer
        tensors = [each for each in (layer.weight, layer.bias) if each is not None]
        hooks = [getattr(watched, name, None) for watched in (layer, *tensors) for name in HOOKS]
        return (
            self.factor == 1
            and getattr(self.module, "final_logits_bias", None) is None
            and type(layer) is torch.nn.Linear
            and "forward" not in vars(layer)  # accelerate puts one there
            and not any(hooks)
            and not torch_modules._has_any_global_hook()  # type: ignore[no-untyped-call]  # noqa: SLF001 - the only way
            and all(type(each) is torch.nn.Parameter and each.is_leaf for each in tensors)
            and all((each.dtype, each.device) == (states_ND.dtype, states_ND.device) for each in tensors)
            and not torch.is_autocast_enabled(states_ND.device.type)
        )

    @torch.no_grad()
    def logits(self, states_ND: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """The logits of a plain head, put into `out`, `[N, V]`."""
        if self.layer.bias is None:
            return torch.mm(states_ND, self.layer.weight.t(), out=out)
        return torch.addmm(self.layer.bias, states_ND, self.layer.weight.t(), out=out)

    @torch.no_grad()
    def add_gradient(self, states_ND: torch.Tensor, grad_NV: torch.Tensor) -> None:
        """Add, of a plain head, to the gradients of the states, which are a leaf, and of its weights."""
        weight_VD, bias_V = self.layer.weight, self.layer.bias
        _add_product(states_ND, grad_NV, weight_VD)
        if weight_VD.requires_grad:
            _add_product(weight_VD, grad_NV.t(), states_ND)
        if bias_V is not None and bias_V.requires_grad:
            bias_V.grad = grad_NV.sum(0) if bias_V.grad is None else bias_V.grad.add_(grad_NV.sum(0))


def _add_product(leaf: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    leaf.grad = torch.mm(left, right) if leaf.grad is None else leaf.grad.addmm_(left, right)
