"""What a soft loss must be, and what a mixture of it with a hard loss. Letters: V vocabulary."""

from __future__ import annotations

import math
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.testing.divergences import REFERENCES
from kdkit.testing.loss_cases import NEAR, Tokens, cases, near

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdkit.api.interfaces import LossMixer
    from kdkit.testing.divergences import Divergence
    from kdkit.testing.loss_cases import Case

# Where divergences over T^2 have all but reached their limit.
_HOT = (200.0, 400.0)


@attrs.frozen(kw_only=True)
class Claim:
    """What the author of a loss says of its soft loss: the arguments of `kdkit.testing.check_loss`."""

    divergence: Divergence | str | None
    temperature: float | None
    over_logits: bool

    def check(self, loss: LossMixer) -> None:
        """Refuse arguments that contradict the loss: no argument is ignored."""
        is_name = isinstance(self.divergence, str)
        for is_wrong, sentence in (
            (
                is_name and self.divergence not in REFERENCES,
                f"cannot be compared with {self.divergence!r}; available: {', '.join(REFERENCES)}",
            ),
            (
                self.divergence is not None and not loss.needs_teacher,
                "needs no teacher, so it has no soft loss to compare with divergence=",
            ),
            (self.divergence is not None and self.over_logits, "is given both divergence= and over_logits="),
            (self.temperature is not None and self.divergence is None, "is given temperature= without divergence="),
        ):
            assert not is_wrong, f"{loss!r} {sentence}"

    def check_soft(self, loss: LossMixer) -> None:
        """Check the soft loss of one step against what is claimed, and against what holds of any."""
        own = _own_temperature(loss)
        assert own is None or self.temperature is None, f"{loss!r} says its temperature itself; leave out temperature="
        temperature = own if self.temperature is None else self.temperature
        divergence = None if self.over_logits else self._divergence_of(loss)
        assert temperature is not None or self.divergence is None, (
            f"{loss!r} does not say at which temperature to compare it with divergence=: give temperature="
        )
        is_mixture = has_numbers(loss, "alpha", "temperature")
        if divergence is None or temperature is None:
            if not self.over_logits:
                _check_sum_over_vocabulary(loss)
                _check_heat(loss)
        elif not is_mixture:
            for case in cases():
                near(loss, "the soft loss", _found_soft(loss, case), _soft(case, temperature, divergence))
        if is_mixture:
            check_mixture(loss, divergence, count=12)
            for alpha in (0.0, 0.25, 1.0):
                for other in (0.5, 1.0, 4.0):
                    evolved = attrs.evolve(loss, alpha=alpha, temperature=other)  # type: ignore[misc]  # has these
                    check_mixture(evolved, divergence, count=3)

    def _divergence_of(self, loss: LossMixer) -> Divergence | None:
        """The one that is given, or that the loss has the name of."""
        if callable(self.divergence):
            return self.divergence
        name = self.divergence or _named(loss)
        if name is None:
            return None
        parameters = {
            parameter: value
            for parameter in ("beta", "skew")
            if parameter in REFERENCES[name].__code__.co_varnames
            and isinstance(value := getattr(loss, parameter, None), int | float)
        }
        return partial(REFERENCES[name], **parameters)


def has_numbers(loss: LossMixer, *names: str) -> bool:
    """Whether a loss has fields of these names, and numbers there."""
    fields = {field.name for field in attrs.fields(type(loss))}  # type: ignore[arg-type]  # it is an attrs instance
    return all(name in fields and isinstance(getattr(loss, name), int | float) for name in names)


def check_mixture(loss: Any, divergence: Divergence | None, *, count: int) -> None:
    """Check that a loss is `alpha * soft + (1 - alpha) * hard`, and the soft loss `T^2 D`, on some cases."""
    for case in cases(count=count):
        found = Tokens.of(case, case.dense).outcome(loss)
        near(loss, "the hard loss", found.hard, _hard(case))
        if divergence is not None:
            near(loss, "the soft loss", found.soft, _soft(case, loss.temperature, divergence))
        near(loss, "the total", found.total, loss.alpha * found.soft + (1 - loss.alpha) * found.hard)
        assert found.grad_NV.abs().max() > 0, f"{loss!r} has no gradient"


def _named(loss: LossMixer) -> str | None:
    """The divergence that a loss has the name of: by its option `divergence`, or by its class."""
    option = getattr(loss, "divergence", None)
    if option in REFERENCES:
        return str(option)
    name = re.sub(r"[^a-z]", "", type(loss).__name__.lower())
    found = [each for each in REFERENCES if each.replace("-", "") in name]
    return max(found, key=len, default=None)


def _own_temperature(loss: LossMixer) -> float | None:
    from kdkit.api.interfaces import TemperedLoss

    if has_numbers(loss, "temperature"):
        return float(loss.temperature)  # type: ignore[attr-defined]  # just seen
    if isinstance(loss, TemperedLoss) and loss.temperatures is not None and len(loss.temperatures) == 1:
        return loss.temperatures[0]
    return None


def _found_soft(loss: LossMixer, case: Case) -> float:
    return Tokens.of(case, case.dense).outcome(loss).soft


def _check_sum_over_vocabulary(loss: LossMixer) -> None:
    """Entries that neither model gives any probability change nothing; they would change a mean over the vocabulary."""
    import torch

    for case in cases(count=4, same_width=True):
        added = case.student_BTV.shape[-1]
        wide = attrs.evolve(
            case,
            student_BTV=torch.nn.functional.pad(case.student_BTV, (0, added), value=-1e4),
            teacher_BTV=torch.nn.functional.pad(case.teacher_BTV, (0, added), value=-1e4),
        )
        before, after = _found_soft(loss, case), _found_soft(loss, wide)
        assert math.isclose(before, after, rel_tol=1e-6, abs_tol=NEAR), (
            f"{loss!r} gives a soft loss of {before:.6g} over {added} vocabulary entries, and of {after:.6g} with "
            f"{added} more that neither model gives any probability: a soft loss is a sum over the vocabulary, not a "
            "mean (over_logits=True for one that compares logits)"
        )


def _check_heat(loss: LossMixer) -> None:
    """`T^2 D` has a limit, or grows; without `T^2` it fades."""
    if not has_numbers(loss, "temperature"):
        return
    for case in cases(count=2):
        warm, hot = (
            _found_soft(attrs.evolve(loss, temperature=temperature), case)  # type: ignore[misc]  # it has that field
            for temperature in _HOT
        )
        assert hot >= 0.75 * warm, (
            f"{loss!r} gives a soft loss of {warm:.3g} at temperature {_HOT[0]:g} and of {hot:.3g} at {_HOT[1]:g}: it "
            "lacks the factor T^2, without which alpha means something else at every temperature"
        )


def _hard(case: Case) -> float:
    """Cross-entropy, with loops."""
    losses = [
        -math.log(_softmax(case.student_BTV[row, place].numpy())[label]) for row, place, label in _label_places(case)
    ]
    return math.fsum(losses) / len(losses)


def _soft(case: Case, temperature: float, divergence: Divergence) -> float:
    """`T^2 D`, with loops."""
    width = min(case.student_BTV.shape[-1], case.teacher_BTV.shape[-1])
    losses = [
        temperature**2
        * divergence(
            _softmax(case.teacher_BTV[row, place, :width].numpy() / temperature),
            _softmax(case.student_BTV[row, place, :width].numpy() / temperature),
        )
        for row, place, _ in _label_places(case)
        if place < int(case.lengths_B[row])
    ]
    return math.fsum(losses) / max(len(losses), 1)


def _label_places(case: Case) -> Iterator[tuple[int, int, int]]:
    """Row, place and label of each label token."""
    for row, labels in enumerate(case.labels_BT.tolist()):
        for place, label in enumerate(labels):
            if label != -100:
                yield row, place, label


def _softmax(logits_V: Any) -> Any:
    import numpy as np

    weight_V = np.exp(logits_V - logits_V.max())
    return weight_V / weight_V.sum()
