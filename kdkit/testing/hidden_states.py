"""What every loss that compares hidden states must do (`kdkit.api.interfaces.FeatureLoss`).

Letters: M label tokens that the teacher has states for, D and R the widths of the student's and the teacher's states.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from kdkit.testing.loss_cases import NEAR, near

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from kdkit.api.interfaces import FeatureLoss
    from kdkit.api.values import LossParts, TokenCounts

SHAPES = ((7, 5, 4), (3, 4, 6), (1, 6, 3))
"""M, D and R."""


@attrs.frozen(kw_only=True, eq=False)
class _States:
    """Hidden states of some tokens, the teacher's scaled, and the denominators of a step that has more tokens."""

    student_MD: torch.Tensor
    teacher_MR: torch.Tensor
    counts: TokenCounts

    def between(self, start: int, stop: int) -> _States:
        """Some of them."""
        return attrs.evolve(self, student_MD=self.student_MD[start:stop], teacher_MR=self.teacher_MR[start:stop])


@attrs.frozen(kw_only=True, eq=False)
class _Outcome:
    """What the states add to the total, the part `feature`, and the gradients of states and projection."""

    added: float
    feature: float
    grad_MD: torch.Tensor
    grads: list[torch.Tensor]


def check_features(loss: FeatureLoss) -> None:
    """Check the promises of `kdkit.api.interfaces.FeatureLoss`; see `kdkit.testing.check_loss`.

    Raises:
        AssertionError: A promise is broken; the message says which and by what.
    """
    assert loss.needs_teacher, f"{loss!r} needs the teacher's states, and says that it needs no teacher"
    for seed, shape in enumerate(SHAPES):
        _check_projection(loss, *shape[1:])
        for states in _cases(shape, seed):
            projection = loss.projection(*shape[1:], seed=seed).double()
            whole = _outcome(loss, projection, states)
            _check_one(loss, whole)
            _check_sums(loss, projection, states, whole)
            _check_gradient(loss, projection, states, whole)
            _check_equal(loss, states)


def _cases(shape: tuple[int, int, int], seed: int) -> Iterator[_States]:
    """Student's states small and large; the counts are of a step that has other tokens too."""
    import torch

    from kdkit.api.values import TokenCounts

    count, student_width, teacher_width = shape
    draw = torch.Generator().manual_seed(seed)
    for size in (0.05, 3.0):
        student_MD = torch.randn(count, student_width, generator=draw, dtype=torch.float64) * size
        teacher_MR = torch.randn(count, teacher_width, generator=draw, dtype=torch.float64) / teacher_width**0.5
        yield _States(student_MD=student_MD, teacher_MR=teacher_MR, counts=TokenCounts(hard=count + 5, soft=count + 2))


def _check_projection(loss: FeatureLoss, student_width: int, teacher_width: int) -> None:
    import torch

    before = torch.get_rng_state()
    one, same, other = (loss.projection(student_width, teacher_width, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before), f"{loss!r} makes its projection with torch's own random numbers"
    assert one is not same, f"{loss!r} gives one and the same projection twice"
    weights = [dict(each.named_parameters()) for each in (one, same, other)]
    assert weights[0], f"{loss!r} has a projection without parameters"
    for name, weight in weights[0].items():
        assert torch.equal(weight, weights[1][name]), f"{loss!r} gives a projection of another {name} for the same seed"
        assert weight.requires_grad, f"{loss!r} has a projection whose {name} is not trained"
    assert any(not torch.equal(weight, weights[2][name]) for name, weight in weights[0].items()), (
        f"{loss!r} gives the same projection for another seed"
    )
    shape = one(torch.randn(3, student_width, generator=torch.Generator().manual_seed(0))).shape
    assert shape == (3, teacher_width), f"{loss!r} projects 3 states of width {student_width} to {tuple(shape)}"


def _check_one(loss: FeatureLoss, outcome: _Outcome) -> None:
    assert math.isfinite(outcome.added), f"{loss!r} adds {outcome.added} for hidden states"
    assert math.isfinite(outcome.feature), f"{loss!r} gives a feature of {outcome.feature}"
    assert outcome.feature >= -NEAR, f"{loss!r} gives a feature of {outcome.feature}; a distance is never negative"
    for what, gradient in (("the student's states", outcome.grad_MD), ("the projection", _flat(outcome.grads))):
        assert gradient.isfinite().all(), f"{loss!r} has a gradient of {what} that is not finite"
        assert gradient.abs().max() > 0, f"{loss!r} gives {what} no gradient"


def _check_sums(loss: FeatureLoss, projection: torch.nn.Module, states: _States, whole: _Outcome) -> None:
    """Cut anywhere, also where a piece has no token; and in another order."""
    import torch

    count = len(states.student_MD)
    for cut in {0, 1, count // 2, count}:
        pieces = [_outcome(loss, projection, states.between(*ends)) for ends in ((0, cut), (cut, count))]
        what = f"{count} states cut at {cut}"
        near(loss, f"what is added for {what}", sum(piece.added for piece in pieces), whole.added)
        near(loss, f"the feature of {what}", sum(piece.feature for piece in pieces), whole.feature)
        for found, expected in (
            (torch.cat([piece.grad_MD for piece in pieces]), whole.grad_MD),
            (_flat(pieces[0].grads) + _flat(pieces[1].grads), _flat(whole.grads)),
        ):
            distance = float((found - expected).abs().max())
            assert distance <= NEAR, f"{loss!r} has a gradient that {what} change by {distance:g}"
    turned = attrs.evolve(states, student_MD=states.student_MD.flip(0), teacher_MR=states.teacher_MR.flip(0))
    near(loss, "what is added for states in another order", _outcome(loss, projection, turned).added, whole.added)


def _check_gradient(loss: FeatureLoss, projection: torch.nn.Module, states: _States, whole: _Outcome) -> None:
    """It is what differences say, and depends on the teacher."""
    import torch

    draw = torch.Generator().manual_seed(1)
    direction_MD = torch.randn(states.student_MD.shape, generator=draw, dtype=torch.float64)
    step = 1e-6 * float(states.student_MD.abs().mean())
    ahead, behind = (
        _outcome(
            loss, projection, attrs.evolve(states, student_MD=states.student_MD + sign * step * direction_MD)
        ).added
        for sign in (1, -1)
    )
    said, found = float((whole.grad_MD * direction_MD).sum()), (ahead - behind) / (2 * step)
    assert math.isclose(said, found, rel_tol=1e-4, abs_tol=1e-5), (
        f"{loss!r} has a gradient of states that says {said:g} where differences of the total say {found:g}"
    )
    other = _outcome(loss, projection, attrs.evolve(states, teacher_MR=-states.teacher_MR))
    assert not torch.equal(other.grad_MD, whole.grad_MD), (
        f"{loss!r} compares hidden states, but its gradient does not depend on the teacher's"
    )


def _check_equal(loss: FeatureLoss, states: _States) -> None:
    """No distance, and nothing to move, where the projected states are the teacher's."""
    import torch

    projected_MR = states.teacher_MR.clone().requires_grad_()
    parts = _parts(loss, projected_MR, states)
    feature, added = float(parts.feature), float(parts.total.detach()) - float(_without(states).total)
    assert max(abs(feature), abs(added)) <= NEAR, (
        f"{loss!r} gives a feature of {feature} and adds {added} where projected states equal the teacher's"
    )
    (grad_MR,) = torch.autograd.grad(parts.total, projected_MR)
    assert grad_MR.abs().max() <= NEAR, f"{loss!r} moves projected states that equal the teacher's"


def _outcome(loss: FeatureLoss, projection: torch.nn.Module, states: _States) -> _Outcome:
    import torch

    leaf_MD = states.student_MD.clone().requires_grad_()
    before = _without(states)
    parts = _parts(loss, projection(leaf_MD), states)
    for name in ("hard", "soft"):
        assert torch.equal(getattr(parts, name), getattr(before, name)), f"{loss!r} changes the {name} loss by states"
    for name in ("total", "feature"):
        shape = getattr(parts, name).shape
        assert shape == (), f"{loss!r} gives a {name} of shape {tuple(shape)} instead of one number"
    weights = list(projection.parameters())
    grad_MD, *grads = torch.autograd.grad(parts.total, [leaf_MD, *weights], allow_unused=True, materialize_grads=True)
    added = float(parts.total.detach()) - float(before.total)
    return _Outcome(added=added, feature=float(parts.feature), grad_MD=grad_MD, grads=list(grads))


def _without(states: _States) -> LossParts:
    """What the loss itself is taken to give."""
    from kdkit.api.values import LossParts

    total, hard, soft = states.student_MD.new_tensor([0.6, 0.5, 0.7])
    return LossParts(total=total, hard=hard, soft=soft)


def _parts(loss: FeatureLoss, projected_MR: torch.Tensor, states: _States) -> LossParts:
    return loss.with_features(_without(states), projected_MR, states.teacher_MR, states.counts)


def _flat(tensors: list[torch.Tensor]) -> torch.Tensor:
    import torch

    return torch.cat([tensor.reshape(-1) for tensor in tensors])
