"""The output head of a model: its layer, the width of its logits, and whether anything else shapes the logits.

Letters: B batch, T target tokens, V vocabulary, D hidden.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LARGEST = 12.0
"""The probe of `factor_after_head` goes up to sinh of that, some 80,000: far beyond where any model caps its logits."""


def head_layer(module: Any) -> torch.nn.Linear | None:
    """The linear layer that makes a model's logits; None if that cannot be told.

    FSMT names the decoder's embeddings, which need not even share their weights with that layer.
    """
    named = module.get_output_embeddings()
    if named is None or isinstance(named, torch.nn.Linear):
        return named
    width = len(named.weight)
    wide = [each for each in module.modules() if isinstance(each, torch.nn.Linear) and each.out_features == width]
    return wide[0] if len(wide) == 1 else None


def logit_width(module: Any) -> int:
    """Width of a model's logits, from its head: configurations name vocabularies in many ways, or not at all.

    Raises:
        UsageError: The model names no head.
    """
    named = module.get_output_embeddings()
    if named is None:
        raise UsageError(
            f"{type(module).__name__} does not say which layer makes its logits; use a model with a language-model head"
        )
    return int(named.weight.shape[0])


def factor_after_head(module: Any, layer: torch.nn.Linear, forward: Callable[[], torch.Tensor]) -> float | None:
    """The number that a model multiplies its head's output with: 1, or a fixed scale, as Granite and Cohere have one.

    None where it does something else to it than to add `final_logits_bias`: caps it, or picks from it. Not seen on the
    model's own logits, which may be small: the head's output is replaced by numbers of all magnitudes, and these must
    come out of the model as they are, or all times one number.

    Args:
        module: The model.
        layer: Its head.
        forward: The model's forward pass, to logits `[B, T, V]`.
    """
    given: list[torch.Tensor] = []

    def replace(_: object, _arguments: object, output: torch.Tensor) -> torch.Tensor:
        probe_N = torch.sinh(torch.linspace(-LARGEST, LARGEST, output.numel(), device=output.device))
        # Neighbours in a row differ in magnitude too, so that a softmax, or a mean taken off, shows.
        probe_N = probe_N[torch.randperm(len(probe_N), generator=torch.Generator().manual_seed(0)).to(output.device)]
        given.append(probe_N.to(output.dtype).reshape(output.shape))
        return given[-1]

    hook = layer.register_forward_hook(replace)
    try:
        own_BTV = forward()
    finally:
        hook.remove()
    if len(given) != 1 or own_BTV.shape != given[0].shape:
        return None
    rounding = 4 * torch.finfo(given[0].dtype).eps  # some widen half precision before they scale it
    own_N, given_N = own_BTV.float().flatten(), with_bias(module, given[0]).float().flatten()
    if torch.equal(own_N, given_N):
        return 1.0
    largest = int(given_N.abs().argmax())
    factor = float(own_N[largest] / given_N[largest])
    is_scaled = factor > 0 and torch.allclose(own_N, factor * given_N, rtol=rounding, atol=0.0)
    return factor if is_scaled else None


def with_bias(module: Any, logits: torch.Tensor) -> torch.Tensor:
    """The head's output and what models of BART's kin add to it, `final_logits_bias`."""
    bias_1V = getattr(module, "final_logits_bias", None)
    return logits if bias_1V is None else logits + bias_1V


def states_before(layer: torch.nn.Linear, forward: Callable[[], torch.Tensor]) -> torch.Tensor:
    """What goes into a head in a forward pass, which ends there."""

    def stop(_: object, arguments: tuple[torch.Tensor, ...]) -> None:
        raise _AtHeadError(arguments[0])

    hook = layer.register_forward_pre_hook(stop)
    try:
        forward()
    except _AtHeadError as reached:
        return reached.states_BTD
    finally:
        hook.remove()
    raise AssertionError("the model's forward pass does not use its output head")


def logits_after(layer: torch.nn.Linear, states_ND: torch.Tensor, forward: Callable[[], torch.Tensor]) -> torch.Tensor:
    """What a model makes of states, `[N, V]`: a forward pass over anything else, in which its head is given these.

    So whatever follows the head, a scale or a cap, is the model's own.
    """
    own, had = layer.forward, "forward" in vars(layer)  # accelerate puts one there
    vars(layer)["forward"] = lambda *_: own(states_ND[None])
    try:
        return forward()[0]
    finally:
        if had:
            vars(layer)["forward"] = own
        else:
            del vars(layer)["forward"]


@contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """Within the block without dropout and gradients."""
    training = module.training
    module.eval()
    try:
        with torch.no_grad():  # what a model makes for later in inference mode, a training could not use
            yield
    finally:
        module.train(training)


class _AtHeadError(Exception):
    """Ends a forward pass before its output head."""

    def __init__(self, states_BTD: torch.Tensor) -> None:
        super().__init__()
        self.states_BTD = states_BTD
