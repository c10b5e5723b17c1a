"""Whether logits agree with the labels they were made for.

Letters in names of arrays: T target, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.data.tokens import control_words, raw_target_ids, target_ids

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.values import Example, FloatArray

T5_BASE_SCALE = 768**-0.5
OVERCONFIDENT = 0.99
ACCURACY_GAP = 0.05


def aligned_tokens(examples: Iterable[Example], tokenizer: Tokenizer) -> dict[str, int]:
    """Of rows whose target spells a special token (`</s>`): for how many labels recorded logits are surely the row's.

    Whoever recorded them may have taken the word for the token, so that all later logits are about other labels.
    """
    words, found = control_words(tokenizer), {}
    for example in examples:
        if any(word in example.target for word in words):
            (raw_T,), (read_T,) = raw_target_ids(tokenizer, [example.target]), target_ids(tokenizer, [example.target])
            pairs = enumerate(zip(raw_T, read_T, strict=False))
            same = next((place for place, (raw, read) in pairs if raw != read), None)
            if same is not None:
                found[example.id] = same + 1  # of the first that differ too, all that is before them is the same
    return found


class LabelCheck:
    """How well logits agree with the labels, at their scale and at another: shows logits that are far too large.

    A teacher that was fine-tuned on such rows is about as sure of itself as it is right. One whose output head lacks
    a factor is sure nearly always, and is right as often as before.
    """

    def __init__(self, logit_scale: float) -> None:
        self.rows = 0
        self._tokens = 0
        self._right = 0
        self._factors = {logit_scale: 1.0, logit_scale * T5_BASE_SCALE: T5_BASE_SCALE}
        self._cross_entropy = dict.fromkeys(self._factors, 0.0)
        self._top1 = dict.fromkeys(self._factors, 0.0)

    def add(self, logits_TV: FloatArray, labels_T: tuple[int, ...]) -> None:
        """Add one row: its scaled logits, and its labels (which may be more than its logits)."""
        import numpy as np

        tokens = min(len(logits_TV), len(labels_T))
        self.rows += 1
        if not tokens:
            return
        labels = np.asarray(labels_T[:tokens])
        best_T = logits_TV[:tokens].max(axis=1)
        shifted_TV = logits_TV[:tokens] - best_T[:, None]
        of_label_T = shifted_TV[np.arange(tokens), labels]
        self._tokens += tokens
        self._right += int((shifted_TV.argmax(axis=1) == labels).sum())
        for scale, factor in self._factors.items():
            log_normaliser_T = np.log(np.exp(shifted_TV * np.float32(factor)).sum(axis=1, dtype=np.float64))
            self._cross_entropy[scale] += float((log_normaliser_T - of_label_T * factor).sum())
            self._top1[scale] += float(np.exp(-log_normaliser_T).sum())

    def mean_cross_entropy(self) -> dict[float, float]:
        """Nats a label token, by logit scale."""
        return {scale: total / max(self._tokens, 1) for scale, total in self._cross_entropy.items()}

    def is_overconfident(self) -> bool:
        """Whether the likeliest token has nearly all the probability but is the label clearly less often."""
        tokens = max(self._tokens, 1)
        sure = next(iter(self._top1.values())) / tokens
        return sure > OVERCONFIDENT and self._right / tokens < sure - ACCURACY_GAP

    def sentence(self) -> str:
        """The findings, in one line."""
        tokens = max(self._tokens, 1)
        (scale, here), (other, there) = self.mean_cross_entropy().items()
        text = (
            f"recorded logits of {self.rows} rows: cross-entropy on the labels {here:.2f} nats a token at logit_scale "
            f"{scale:g}, {there:.2f} at {other:.3g}; likeliest token {self._top1[scale] / tokens:.3f} sure, "
            f"right {self._right / tokens:.3f} of the time"
        )
        if self.is_overconfident():
            text += f": far too sure, so its logits are probably too large; try teacher.logit_scale = {other:.4g}"
        return text
