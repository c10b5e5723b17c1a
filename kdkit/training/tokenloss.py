"""Output head and loss, a chunk of label tokens at a time.

Logits of a vocabulary are by far the largest tensors of a training: at 32,100 entries a token's take 128 kB in float32,
and a loss makes several more of the size. So the model's own forward pass ends before the head; of its hidden states
those of label tokens are taken; and for each chunk of them head, loss and backward pass are done and forgotten, which
leaves the gradient of the head's weights and of the states. The latter then goes backward through the model in one
pass. Nothing is computed twice.

Letters: B batch, T target tokens, N label tokens of a batch, C those of a chunk, V vocabulary,
X whatever a row holds: hidden states, or logits of a model without a linear head.
"""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import attrs
import torch

from kdkit.api.interfaces import HeadModel
from kdkit.api.values import LossParts
from kdkit.losses.alignment import teacher_rows
from kdkit.models import target_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kdkit.api.interfaces import LossMixer, TextModel, Tokenizer
    from kdkit.api.values import Targets, TeacherRows, TokenBatch, TokenCounts
    from kdkit.training.feature_helper import FeatureHelper

    Head = Callable[[torch.Tensor], torch.Tensor]

CHUNK = 256
"""Tokens a chunk. Of a batch of 1,024 that is about a quarter of the memory; fewer tokens take less, but longer: each
chunk adds to the gradient of the whole head (`benchmarks/loss_memory.py`).
"""


@attrs.frozen(kw_only=True, eq=False)
class StudentTokens:
    """The label tokens of a batch, example by example, and what the student says of them.

    Attributes:
        labels_N: The tokens.
        example_N: The example of each, on the CPU.
        rows_NX: Hidden states that go into the head, or logits.
        head: Makes logits of hidden states; None where the rows are logits.
        teacher: The teacher's rows; None for losses that need none.
    """

    labels_N: torch.Tensor
    example_N: torch.Tensor
    rows_NX: torch.Tensor
    head: Head | None
    teacher: TeacherRows | None

    def backward(
        self,
        loss: LossMixer,
        counts: TokenCounts,
        *,
        helper: FeatureHelper | None = None,
        chunk: int = CHUNK,
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> LossParts:
        """Add the loss's gradient to that of every parameter; returns what these tokens add to the loss.

        Args:
            loss: The loss.
            counts: Its denominators (see `LossMixer`).
            helper: For a loss that compares hidden states; its projection gets its gradient too.
            chunk: Tokens a chunk.
            autocast: In what the head runs.
        """
        grad_NX, parts = torch.empty_like(self.rows_NX), []
        # Of no token at all there is one chunk too: its loss is 0.
        for start in range(0, max(len(self.labels_N), 1), chunk):
            stop = min(start + chunk, len(self.labels_N))
            rows_CX = self.rows_NX[start:stop].detach().requires_grad_()
            with autocast():
                logits_CV = self._logits(rows_CX)
            teacher = self.teacher.between(start, stop) if self.teacher is not None else None
            part = loss(logits_CV, self.labels_N[start:stop], teacher, counts)
            if helper is not None:
                part = helper.add(loss, part, rows_CX, teacher, counts)
            torch.autograd.backward(part.total)
            assert rows_CX.grad is not None, "a loss must depend on its logits"
            grad_NX[start:stop] = rows_CX.grad
            parts.append(attrs.evolve(part, total=part.total.detach()))
            del logits_CV, part  # the next chunk's take their place
        if self.rows_NX.requires_grad:  # not where all but the head is frozen
            torch.autograd.backward(self.rows_NX, grad_NX)
        return _sum(parts)

    def parts(self, loss: LossMixer, counts: Callable[[int], TokenCounts], *, chunk: int = CHUNK) -> Iterator[Part]:
        """What each example adds to the loss, in parts: one for each chunk that has tokens of it.

        Args:
            loss: The loss; hidden states are not compared.
            counts: The denominators of an example, by its number in the batch.
            chunk: Tokens a chunk.
        """
        for start in range(0, len(self.labels_N), chunk):
            logits_CV = self._logits(self.rows_NX[start : start + chunk])
            at = start
            for example, size in Counter(self.example_N[start : start + chunk].tolist()).items():
                teacher = self.teacher.between(at, at + size) if self.teacher is not None else None
                logits_NV, labels_N = logits_CV[at - start : at - start + size], self.labels_N[at : at + size]
                yield Part(
                    example=example,
                    logits_NV=logits_NV,
                    labels_N=labels_N,
                    teacher=teacher,
                    parts=loss(logits_NV, labels_N, teacher, counts(example)),
                    hard_tokens=size,
                    soft_tokens=int(teacher.known_N.sum()) if teacher is not None else 0,
                )
                at += size

    def _logits(self, rows_CX: torch.Tensor) -> torch.Tensor:
        return rows_CX if self.head is None else self.head(rows_CX)


@attrs.frozen(kw_only=True, eq=False)
class Part:
    """What some tokens of one example add to a loss.

    Attributes:
        example: Its number in the batch.
        logits_NV: The student's logits of them; the memory is that of a chunk, so they are not to be kept.
        labels_N: The tokens.
        teacher: The teacher's rows of them; None for losses that need none.
        parts: What they add.
        hard_tokens: How many they are.
        soft_tokens: How many of them the teacher has a row for.
    """

    example: int
    logits_NV: torch.Tensor
    labels_N: torch.Tensor
    teacher: TeacherRows | None = None
    parts: LossParts
    hard_tokens: int
    soft_tokens: int


@attrs.frozen(kw_only=True, eq=False)
class Forward:
    """A model's forward pass, up to its head where it has a linear one.

    Attributes:
        rows: Hidden states `[B, T, D]` of a batch, or logits `[B, T, V]`.
        head: As in `StudentTokens`.
    """

    rows: Callable[[TokenBatch], torch.Tensor]
    head: Head | None = None

    @classmethod
    def of(cls, model: TextModel) -> Forward:
        """That of a model."""
        head = model.head_function() if isinstance(model, HeadModel) else None
        if isinstance(model, HeadModel) and head is not None:
            return cls(rows=model.states, head=head)
        return cls(rows=model.logits)

    def of_tokens(self, tokenizer: Tokenizer) -> Forward:
        """The same with logits up to a tokenizer's largest id, where the model's head is wider."""
        width, rows, head = target_size(tokenizer), self.rows, self.head
        if head is None:
            return attrs.evolve(self, rows=lambda batch: rows(batch)[..., :width])
        return attrs.evolve(self, head=lambda states_NX: head(states_NX)[..., :width])

    def __call__(self, batch: TokenBatch, targets: Targets | None) -> StudentTokens:
        """The label tokens of a batch."""
        return StudentTokens(
            labels_N=batch.places.pick(batch.labels_BT),
            example_N=batch.places.example_N,
            rows_NX=batch.places.pick(self.rows(batch)),
            head=self.head,
            teacher=teacher_rows(targets, batch.places) if targets is not None else None,
        )


def _sum(parts: list[LossParts]) -> LossParts:
    names = [field.name for field in attrs.fields(LossParts)]
    return LossParts(**{name: torch.stack([getattr(each, name) for each in parts]).sum() for name in names})
