"""What a loss must do that mixes a soft and a hard loss by `alpha`, at a `temperature`. Letters: V vocabulary."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from kdkit.testing.loss_cases import Tokens, cases, near

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kdkit.testing.loss_cases import Case


def check_mixture(loss: Any, divergence: Callable[[Sequence[float], Sequence[float]], float] | None) -> None:
    """Check that a loss is `alpha * soft + (1 - alpha) * hard`."""
    for case in cases():
        found = Tokens.of(case, case.dense).outcome(loss)
        hard, soft = _reference(case, loss.temperature, divergence)
        near(loss, "the hard loss", found.hard, hard)
        if divergence is not None:
            near(loss, "the soft loss", found.soft, soft)
        near(loss, "the total", found.total, loss.alpha * found.soft + (1 - loss.alpha) * found.hard)
        assert found.grad_NV.abs().max() > 0, f"{loss!r} has no gradient"


def _reference(
    case: Case, temperature: float, divergence: Callable[[Sequence[float], Sequence[float]], float] | None
) -> tuple[float, float]:
    """Hard and soft loss, with loops."""
    import numpy as np

    def softmax(logits_V: Any) -> Any:
        weight_V = np.exp(logits_V - logits_V.max())
        return weight_V / weight_V.sum()

    hard, soft = [], []
    student_BTV, teacher_BTV = case.student_BTV.numpy(), case.teacher_BTV.numpy()
    width = min(student_BTV.shape[-1], teacher_BTV.shape[-1])
    for (row, place), label in np.ndenumerate(case.labels_BT.numpy()):
        if label == -100:
            continue
        hard.append(-math.log(softmax(student_BTV[row, place])[label]))
        if divergence is not None and place < int(case.lengths_B[row]):
            pair = (softmax(logits[row, place, :width] / temperature) for logits in (teacher_BTV, student_BTV))
            soft.append(temperature**2 * divergence(*pair))
    return math.fsum(hard) / len(hard), math.fsum(soft) / max(len(soft), 1)
