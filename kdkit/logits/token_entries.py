"""Cuts a teacher's logits to its tokens, where its head is wider than its tokenizer.

Heads are padded to round widths, and the rows of no token are whatever training left there. A soft loss over them would
teach the student that noise, and take mass from the tokens. So they are cut off before a codec sees them: what a sparse
codec keeps of the rest has none of their mass, and what learns, learns without them. The loss cuts the student's
logits at the same width (`kdkit.losses.alignment`). Its hard term stays that of the whole head, so that the student
learns to give these entries no mass.

Letters: T target tokens, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.logits.encoder import has_states
from kdkit.models import target_size

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from kdkit.api.interfaces import HeadTeacher, OpenTeacher, Tokenizer
    from kdkit.api.options import Generation
    from kdkit.api.values import EncodedExample, OutputHead, Prediction, StateBlock, TeacherBlock
    from kdkit.system.progress import Progress


def of_tokens(teacher: OpenTeacher) -> OpenTeacher:
    """The teacher with logits up to its tokenizer's largest id; the teacher itself if it has no others."""
    width = target_size(teacher.tokenizer)
    if teacher.vocab_size <= width:
        return teacher
    if has_states(teacher):
        return _NarrowHeadTeacher(teacher=teacher, vocab_size=width)
    return _NarrowTeacher(teacher=teacher, vocab_size=width)


@attrs.frozen(kw_only=True, eq=False)
class _NarrowTeacher:
    """An `OpenTeacher` whose logits end before those of another.

    Attributes:
        teacher: The other.
        vocab_size: Width of its own.
    """

    teacher: OpenTeacher
    vocab_size: int

    @property
    def tokenizer(self) -> Tokenizer:
        """The teacher's."""
        return self.teacher.tokenizer

    @property
    def identity(self) -> str:
        """The teacher's: the width is a part of a cache's identity by itself."""
        return self.teacher.identity

    def groups(self, rows: Sequence[EncodedExample]) -> Sequence[Sequence[EncodedExample]]:
        """The teacher's."""
        return self.teacher.groups(rows)

    def logits(
        self, rows: Sequence[EncodedExample], progress: Progress, *, done: Collection[str] = ()
    ) -> Iterator[TeacherBlock]:
        """The teacher's blocks, cut."""
        import numpy as np

        for block in self.teacher.logits(rows, progress, done=done):
            yield attrs.evolve(block, logits_TV=np.ascontiguousarray(block.logits_TV[:, : self.vocab_size]))

    def generate(
        self, rows: Sequence[EncodedExample], options: Generation, *, done: Collection[str] = ()
    ) -> Iterator[Prediction]:
        """The teacher's texts, as it writes them: with its whole head."""
        return self.teacher.generate(rows, options, done=done)

    def close(self) -> None:
        """Close the teacher."""
        self.teacher.close()


@attrs.frozen(kw_only=True, eq=False)
class _NarrowHeadTeacher(_NarrowTeacher):
    """A `HeadTeacher` of that kind."""

    teacher: HeadTeacher

    def head(self) -> OutputHead | None:
        """The teacher's output head, without the rows of no token."""
        head = self.teacher.head()
        if head is None:
            return None
        return attrs.evolve(
            head,
            weight_VD=head.weight_VD[: self.vocab_size],
            bias_V=None if head.bias_V is None else head.bias_V[: self.vocab_size],
        )

    def states(
        self, rows: Sequence[EncodedExample], progress: Progress, *, done: Collection[str] = ()
    ) -> Iterator[StateBlock]:
        """The teacher's."""
        return self.teacher.states(rows, progress, done=done)
