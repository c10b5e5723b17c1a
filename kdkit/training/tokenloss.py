"""Output head and loss, a chunk of label tokens at a time.

Logits of a vocabulary are by far the largest tensors of a training: at 32,100 entries a token's take 128 kB in float32,
and a loss makes several more of the size. So the model's own forward pass ends before the head; of its hidden states
those of label tokens are taken; and for each chunk of them head, loss and backward pass are done and forgotten, which
leaves the gradient of the head's weights and of the states. The latter then goes backward through the model in one
pass. Nothing is computed twice.

A chunk is as large as matrix products need. What a loss does to its logits entry by entry is bound by memory instead,
so on a processor it is done a piece of a chunk at a time, whose tensors stay in the processor's cache.

Letters: B batch, T target tokens, N label tokens of a batch, C those of a chunk, P those of a piece, V vocabulary,
X whatever a row holds: hidden states, or logits of a model without a linear head.
"""

from __future__ import annotations

import math
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

import attrs
import torch

from kdkit.api.interfaces import HeadModel
from kdkit.api.values import LossParts
from kdkit.losses.alignment import teacher_rows
from kdkit.models import target_size
from kdkit.models.linear_head import LinearHead

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
PIECE = 2**20
"""Logits a piece on a processor: 4 MB in float32, of which a loss makes a handful."""


@attrs.frozen(eq=False)
class Scratch:
    """Memory for tensors as large as a chunk's logits, kept from chunk to chunk: pages of new memory are slow."""

    _kept: dict[str, torch.Tensor] = attrs.field(factory=dict, init=False)

    def of(self, name: str, shape: tuple[int, int], like: torch.Tensor) -> torch.Tensor:
        """A tensor of that shape, in the memory that was given for the name before; its numbers are arbitrary.

        Args:
            name: What it is for.
            shape: Its shape.
            like: A tensor of its type and device.
        """
        kept, size = self._kept.get(name), math.prod(shape)
        if kept is None or len(kept) < size or (kept.dtype, kept.device) != (like.dtype, like.device):
            kept = self._kept[name] = torch.empty(size, dtype=like.dtype, device=like.device)
        return kept[:size].view(shape)


@attrs.frozen(kw_only=True, eq=False)
class StudentTokens:
    """The label tokens of a batch, example by example, and what the student says of them.

    Attributes:
        labels_N: The tokens.
        example_N: The example of each, on the CPU.
        rows_NX: Hidden states that go into the head, or logits.
        head: Makes logits of hidden states; None where the rows are logits.
        teacher: The teacher's rows; None for losses that need none.
        scratch: Memory of the training's.
    """

    labels_N: torch.Tensor
    example_N: torch.Tensor
    rows_NX: torch.Tensor
    head: Head | None
    teacher: TeacherRows | None
    scratch: Scratch = attrs.field(factory=Scratch)

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
                logits_CV, add_gradient = self._through_head(rows_CX)
            teacher = self.teacher.between(start, stop) if self.teacher is not None else None
            part, grad_CV = self._gradient(loss, logits_CV, self.labels_N[start:stop], teacher, counts)
            if helper is not None:
                part = helper.add(loss, part, rows_CX, teacher, counts)
                if part.total.requires_grad:  # not where states have no weight
                    torch.autograd.backward(part.total)
            add_gradient(grad_CV)
            assert rows_CX.grad is not None, "a model's logits must depend on its states"
            grad_NX[start:stop] = rows_CX.grad
            parts.append(attrs.evolve(part, total=part.total.detach()))
            del logits_CV, add_gradient, grad_CV, part  # the next chunk's take their place
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
            made = self.teacher.between(start, start + chunk).multiplied() if self.teacher is not None else None
            at = start
            for example, size in Counter(self.example_N[start : start + chunk].tolist()).items():
                teacher = made.between(at - start, at - start + size) if made is not None else None
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

    def _through_head(self, rows_CX: torch.Tensor) -> tuple[torch.Tensor, Callable[[torch.Tensor], None]]:
        """The logits of rows, and what adds their gradient to those of the rows and of the head."""
        head = self.head
        if isinstance(head, LinearHead) and head.is_plain(rows_CX):
            shape = len(rows_CX), head.layer.out_features
            return head.logits(rows_CX, self.scratch.of("logits", shape, rows_CX)), partial(head.add_gradient, rows_CX)
        logits_CV = self._logits(rows_CX)
        return logits_CV, partial(torch.autograd.backward, logits_CV)

    def _gradient(
        self,
        loss: LossMixer,
        logits_CV: torch.Tensor,
        labels_C: torch.Tensor,
        teacher: TeacherRows | None,
        counts: TokenCounts,
    ) -> tuple[LossParts, torch.Tensor]:
        """What the tokens of a chunk add to the loss, and its gradient by their logits, `[C, V]`."""
        size, width = logits_CV.shape
        piece = max(PIECE // max(width, 1), 1) if logits_CV.device.type == "cpu" else size
        if piece >= size:
            return _with_gradient(loss, logits_CV, labels_C, teacher, counts)
        if teacher is not None:
            teacher = teacher.multiplied(partial(self.scratch.of, "teacher"))
        parts, grad_CV = [], logits_CV  # what a piece's loss has read, its gradient may replace
        if logits_CV.requires_grad:
            grad_CV = self.scratch.of("gradient", (size, width), logits_CV)
        for start in range(0, size, piece):
            at = slice(start, start + piece)
            rows = teacher.between(start, start + piece) if teacher is not None else None
            part, grad_CV[at] = _with_gradient(loss, logits_CV[at], labels_C[at], rows, counts)
            parts.append(part)
        return _sum(parts), grad_CV

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
    _scratch: Scratch = attrs.field(factory=Scratch, init=False)

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
            scratch=self._scratch,
        )


def _with_gradient(
    loss: LossMixer,
    logits_PV: torch.Tensor,
    labels_P: torch.Tensor,
    teacher: TeacherRows | None,
    counts: TokenCounts,
) -> tuple[LossParts, torch.Tensor]:
    """What some tokens add to the loss, and its gradient by their logits."""
    logits_PV = logits_PV.detach().requires_grad_()
    part = loss(logits_PV, labels_P, teacher, counts)
    torch.autograd.backward(part.total)
    assert logits_PV.grad is not None, "a loss must depend on its logits"
    return attrs.evolve(part, total=part.total.detach()), logits_PV.grad


def _sum(parts: list[LossParts]) -> LossParts:
    names = [field.name for field in attrs.fields(LossParts)]
    return LossParts(**{name: torch.stack([getattr(each, name) for each in parts]).sum() for name in names})
