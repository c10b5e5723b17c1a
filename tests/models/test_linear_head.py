"""A head's products without autograd: the same numbers, and only where nothing watches them."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.parametrizations import weight_norm

from kdkit.models.linear_head import LinearHead

STATES_ND = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
GRAD_NV = torch.randn(5, 7, generator=torch.Generator().manual_seed(1))


def head(*, bias: bool = True, **options) -> LinearHead:
    torch.manual_seed(2)
    return LinearHead(module=torch.nn.Module(), layer=torch.nn.Linear(4, 7, bias=bias), **options)


def gradients(linear: LinearHead, *, plain: bool) -> list[torch.Tensor | None]:
    """Of states, weight and bias, after two chunks."""
    states_ND = STATES_ND.clone().requires_grad_()
    for _ in range(2):
        if plain:
            linear.logits(states_ND, torch.empty_like(GRAD_NV))
            linear.add_gradient(states_ND, GRAD_NV)
        else:
            torch.autograd.backward(linear(states_ND), GRAD_NV)
    return [states_ND.grad, *(each.grad for each in linear.layer.parameters())]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_the_products_are_those_of_autograd(bias, frozen):
    sides = []
    for plain in (True, False):
        linear = head(bias=bias)
        linear.layer.requires_grad_(not frozen)
        assert linear.is_plain(STATES_ND)
        sides.append(gradients(linear, plain=plain))
    assert [each is None for each in sides[0]] == [each is None for each in sides[1]]
    for own, autograds in zip(*sides, strict=True):
        if own is not None:
            torch.testing.assert_close(own, autograds)
    linear = head(bias=bias)
    torch.testing.assert_close(linear.logits(STATES_ND, torch.empty(5, 7)), linear(STATES_ND).detach())


def test_logits_that_something_else_changes_or_watches_are_left_to_autograd():
    assert not head(factor=2.0).is_plain(STATES_ND)
    assert not head().is_plain(STATES_ND.double())
    with torch.autocast("cpu", torch.bfloat16):
        assert not head().is_plain(STATES_ND)
    with_bias = head()
    with_bias.module.final_logits_bias = torch.zeros(1, 7)
    assert not with_bias.is_plain(STATES_ND)
    changes = {
        "forward hook": lambda layer: layer.register_forward_hook(lambda *_: None),
        "backward hook": lambda layer: layer.register_full_backward_hook(lambda *_: None),
        "hook of the weight": lambda layer: layer.weight.register_hook(lambda grad: grad),
        "hook of its gradient": lambda layer: layer.weight.register_post_accumulate_grad_hook(lambda _: None),
        "another forward pass": lambda layer: vars(layer).update(forward=lambda states: states),
        "parametrization": weight_norm,
    }
    for what, change in changes.items():
        changed = head()
        change(changed.layer)
        assert not changed.is_plain(STATES_ND), what
