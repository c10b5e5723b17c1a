"""What every loss mixer must do. Letters: N label tokens, V vocabulary."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeGuard

import attrs

from kdkit.testing.hidden_states import check_features
from kdkit.testing.loss_cases import NEAR, Outcome, Tokens, cases
from kdkit.testing.soft_losses import Claim, has_numbers

if TYPE_CHECKING:
    from kdkit.api.interfaces import FeatureLoss, LossMixer
    from kdkit.api.values import Targets
    from kdkit.testing.divergences import Divergence
    from kdkit.testing.loss_cases import Case


def check_loss(
    loss: LossMixer,
    *,
    divergence: Divergence | str | None = None,
    temperature: float | None = None,
    over_logits: bool = False,
) -> None:
    """Check that a loss keeps the promises of `kdkit.api.interfaces.LossMixer`, on random batches; it takes seconds.

    - It is a value: its options are its identity.
    - Its parts are single, finite numbers, in the precision of the logits (half precision widened); of the same tokens
      always the same.
    - Tokens add up, however they are cut and ordered: chunks, micro-batches and accumulation change nothing.
    - Rows that the teacher does not have, and what pads its tensors, never count, nor do entries of a wider teacher.
    - The same teacher, dense, quantized, factored or sparse with every entry kept, gives the same loss.
    - The soft loss is never negative, and 0 for a student that equals its teacher.
    - It is a sum over the vocabulary: entries that neither model gives any probability do not change it, as they would
      change a mean.
    - With a field `temperature` it does not fade as the temperature rises: `T^2` is in it.
    - The gradient is that of the loss, finite, and there; also that of the soft loss, where there is one.

    The soft loss is compared with `T^2 D` where a divergence is known: the one given, else the one whose name an option
    `divergence` of the loss has, or the name of its class (`ForwardKL`).

    A loss with fields of the names `alpha` and `temperature` is held to `alpha * soft + (1 - alpha) * hard`, also at
    other values of both: the mixture, the ends of alpha, cross-entropy as the hard loss, and no gradient of the soft
    loss where student and teacher are equal.
    Of a `kdkit.api.interfaces.ScheduledLoss` the beginning, the middle and the end are checked.

    Of a `kdkit.api.interfaces.FeatureLoss` that compares hidden states, this too:

    - Its projection is the same for the same seed, another for another, and leaves torch's random generator alone.
    - States add up, however they are cut and ordered; hard and soft loss stay what they are.
    - There is no distance between states that are equal, and none is negative.
    - States and projection have a gradient, which is that of the loss and depends on the teacher's states.

    Args:
        loss: The loss, with its options.
        divergence: What the soft loss should be made of: a function of a teacher's and a student's probabilities, in
            float64, or a name of `kdkit.losses.divergences.DIVERGENCES`.
        temperature: What the loss divides logits by, where neither a field `temperature` nor `temperatures` says so.
        over_logits: Whether the soft loss compares logits, not probabilities (a squared error, say): then it may depend
            on entries that have no probability, and on the temperature as it likes.

    Raises:
        AssertionError: A promise is broken, or arguments contradict the loss; the message says which and by what.
    """
    from kdkit.api.interfaces import FeatureLoss, LossMixer, ScheduledLoss
    from kdkit.api.values import END, Moment

    assert isinstance(loss, LossMixer), f"{loss!r} lacks a method of kdkit.api.interfaces.LossMixer"
    assert attrs.has(type(loss)), f"{type(loss).__name__} is not an attrs class; its fields must be its options"
    twin = attrs.evolve(loss)  # type: ignore[misc]  # just seen to be an attrs instance
    assert twin == loss, f"{loss!r} does not equal a loss with the same options"
    claim = Claim(divergence=divergence, temperature=temperature, over_logits=over_logits)
    claim.check(loss)
    if not isinstance(loss, ScheduledLoss):
        _check_step(loss, claim)
    else:
        checked: list[LossMixer] = []
        for moment in (Moment(share=0.0, epoch=0), Moment(share=0.5, epoch=1), END):
            step = loss.at(moment)
            assert step == loss.at(moment), f"{loss!r} is another loss when it is asked twice for the same moment"
            assert loss.needs_teacher or not step.needs_teacher, (
                f"{loss!r} reads a teacher that it says it does not need"
            )
            if isinstance(loss, FeatureLoss) and isinstance(step, FeatureLoss):
                assert loss.needs_states or not step.needs_states, (
                    f"{loss!r} compares hidden states that it says it does not need"
                )
            if step not in checked:  # one that follows no schedule is the same at every moment
                _check_step(step, claim)
            checked.append(step)
    assert twin == loss, f"{loss!r} changes while it is used"


def _check_step(loss: LossMixer, claim: Claim) -> None:
    if _compares_states(loss):
        check_features(loss)
    for case in cases():
        outcome = _check_parts(loss, case)
        _check_sums(loss, case, outcome)
        _check_gradient(loss, case, outcome)
    if not loss.needs_teacher:
        return
    for case in cases():
        _check_padding(loss, case)
        _check_kinds(loss, case)
    _check_equal_models(loss)
    _check_precision(loss)
    claim.check_soft(loss)


def _compares_states(loss: LossMixer) -> TypeGuard[FeatureLoss]:
    from kdkit.api.interfaces import FeatureLoss

    return isinstance(loss, FeatureLoss) and loss.needs_states


def _targets(loss: LossMixer, case: Case) -> Targets | None:
    return case.dense if loss.needs_teacher else None


def _check_parts(loss: LossMixer, case: Case) -> Outcome:
    import torch

    tokens = Tokens.of(case, _targets(loss, case))
    given_NV = tokens.student_NV.clone()
    with torch.inference_mode():  # as in validation
        parts = tokens.parts(loss, given_NV)
    assert torch.equal(tokens.student_NV, given_NV), f"{loss!r} changes the logits that it reads"
    for name, value in attrs.asdict(parts, recurse=False).items():
        assert value.ndim == 0, f"{loss!r} gives a {name} of shape {tuple(value.shape)} instead of one number"
        assert value.dtype == torch.float64, f"{loss!r} computes with float64 logits in {value.dtype}"
        missing = {"soft": None if loss.needs_teacher else "a teacher", "feature": "hidden states"}.get(name)
        assert bool(value.isfinite()) == (missing is None), (
            f"{loss!r} gives {float(value)} as {name}; it must be {f'NaN without {missing}' if missing else 'finite'}"
        )
    outcome = tokens.outcome(loss)
    _same(loss, outcome, tokens.outcome(loss), "the same tokens a second time", exact=True)
    return outcome


def _check_sums(loss: LossMixer, case: Case, whole: Outcome) -> None:
    """Cut anywhere, also where a piece has no token; and in another order."""
    import torch

    tokens = Tokens.of(case, _targets(loss, case))
    count = len(tokens.labels_N)
    for cut in {0, 1, count // 2, count}:
        pieces = [tokens.between(0, cut).outcome(loss), tokens.between(cut, count).outcome(loss)]
        total, hard, soft = (
            math.fsum(values) if not any(map(math.isnan, values)) else math.nan
            for values in zip(*(piece.values for piece in pieces), strict=True)
        )
        grad_NV = torch.cat([piece.grad_NV for piece in pieces])
        parts = Outcome(total=total, hard=hard, soft=soft, grad_NV=grad_NV)
        _same(loss, parts, whole, f"{count} tokens cut at {cut}")
    order_N = torch.arange(count - 1, -1, -1)
    teacher = tokens.teacher
    turned = attrs.evolve(
        tokens,
        student_NV=tokens.student_NV[order_N],
        labels_N=tokens.labels_N[order_N],
        teacher=teacher
        and attrs.evolve(
            teacher,
            example_N=teacher.example_N[order_N],
            position_N=teacher.position_N[order_N],
            known_N=teacher.known_N[order_N],
        ),
    )
    found = turned.outcome(loss)
    _same(loss, attrs.evolve(found, grad_NV=found.grad_NV[order_N]), whole, "tokens in another order")


def _check_gradient(loss: LossMixer, case: Case, outcome: Outcome) -> None:
    """It is there, and what differences say."""
    import torch

    tokens = Tokens.of(case, _targets(loss, case))
    assert outcome.grad_NV.isfinite().all(), f"{loss!r} has a gradient that is not finite"
    assert outcome.grad_NV.abs().max() > 0, f"{loss!r} has no gradient"
    draw = torch.Generator().manual_seed(0)
    direction_NV = torch.randn(tokens.student_NV.shape, generator=draw, dtype=torch.float64)
    step = 1e-6
    ahead, behind = (
        float(tokens.parts(loss, tokens.student_NV + sign * step * direction_NV).total) for sign in (1, -1)
    )
    said, found = float((outcome.grad_NV * direction_NV).sum()), (ahead - behind) / (2 * step)
    assert math.isclose(said, found, rel_tol=1e-4, abs_tol=1e-5), (
        f"{loss!r} has a gradient that says {said:g} where differences of the total say {found:g}"
    )
    if loss.needs_teacher and not _compares_states(loss):  # of that one the states may be all that it needs
        other = attrs.evolve(case, teacher_BTV=case.teacher_BTV.flip(-1) - 1.0)
        assert not torch.equal(Tokens.of(other, other.dense).outcome(loss).grad_NV, outcome.grad_NV), (
            f"{loss!r} needs a teacher, but its gradient does not depend on it"
        )


def _check_padding(loss: LossMixer, case: Case) -> None:
    import torch

    whole = Tokens.of(case, case.dense).outcome(loss)
    beyond_BT1 = (torch.arange(case.teacher_BTV.shape[1]) >= case.lengths_B[:, None])[..., None]
    spoilt = attrs.evolve(case, teacher_BTV=case.teacher_BTV.masked_fill(beyond_BT1, math.nan))
    _same(loss, Tokens.of(spoilt, spoilt.dense).outcome(loss), whole, "a teacher with NaN in rows that are padding")
    none = attrs.evolve(case, lengths_B=torch.zeros_like(case.lengths_B))
    found = Tokens.of(none, none.dense).outcome(loss)
    assert found.soft == 0, f"{loss!r} gives a soft loss of {found.soft} where the teacher has no row"
    width = case.student_BTV.shape[-1]
    wide = attrs.evolve(case, teacher_BTV=torch.nn.functional.pad(case.teacher_BTV[..., :width], (0, 3), value=50.0))
    cut = attrs.evolve(case, teacher_BTV=case.teacher_BTV[..., :width])
    if cut.teacher_BTV.shape[-1] == width:
        expected = Tokens.of(cut, cut.dense).outcome(loss)
        _same(loss, Tokens.of(wide, wide.dense).outcome(loss), expected, "a teacher of a wider vocabulary")


def _check_kinds(loss: LossMixer, case: Case) -> None:
    from kdkit.api.interfaces import TemperedLoss

    dense = Tokens.of(case, case.dense).outcome(loss)
    _same(loss, Tokens.of(case, case.factored).outcome(loss), dense, "a factored teacher")
    rounded = Tokens.of(case, case.rounded.dense).outcome(loss)
    _same(loss, Tokens.of(case, case.quantized).outcome(loss), rounded, "a teacher of codes on grids")
    if isinstance(loss, TemperedLoss) and loss.temperatures is not None:
        sparse = Tokens.of(case, case.sparse(loss.temperatures)).outcome(loss)
        # The logarithm of what is left of 1 costs some digits.
        _same(loss, sparse, dense, "a sparse teacher with every entry kept", near=1e-6)


def _check_equal_models(loss: LossMixer) -> None:
    import torch

    for case in cases(same_width=True):
        soft = Tokens.of(case, case.dense).outcome(loss).soft
        assert soft >= -NEAR, f"{loss!r} gives a soft loss of {soft}"
        same = attrs.evolve(case, teacher_BTV=case.student_BTV.clone())
        found = Tokens.of(same, same.dense).outcome(loss).soft
        assert abs(found) <= NEAR, f"{loss!r} gives a soft loss of {found} to a student that equals its teacher"
        if has_numbers(loss, "alpha"):
            alone = attrs.evolve(loss, alpha=1.0)  # type: ignore[misc]  # it has that field
            grad_NV = Tokens.of(same, same.dense).outcome(alone).grad_NV
            assert torch.all(grad_NV.abs() <= NEAR), f"{alone!r} moves a student that equals its teacher"


def _check_precision(loss: LossMixer) -> None:
    import torch

    for case in cases(count=2):
        tokens = Tokens.of(case, attrs.evolve(case.dense, logits_BTV=case.teacher_BTV.float()))
        parts = tokens.parts(loss, tokens.student_NV.bfloat16())
        assert parts.total.dtype in (torch.float32, torch.float64), f"{loss!r} computes in {parts.total.dtype}"


def _same(
    loss: LossMixer, found: Outcome, expected: Outcome, what: str, *, near: float = NEAR, exact: bool = False
) -> None:
    import torch

    for name, one, other in zip(("total", "hard", "soft"), found.values, expected.values, strict=True):
        both_nan = math.isnan(one) and math.isnan(other)
        limit = 0.0 if exact else near
        assert both_nan or math.isclose(one, other, rel_tol=limit, abs_tol=limit), (
            f"{loss!r} gives a {name} of {one:.12g} to {what}, and not {other:.12g}"
        )
    distance = float((found.grad_NV - expected.grad_NV).abs().max()) if found.grad_NV.numel() else 0.0
    assert distance <= near, f"{loss!r} has a gradient that {what} change by {distance:g}"
    assert torch.equal(found.grad_NV.isfinite(), expected.grad_NV.isfinite())
