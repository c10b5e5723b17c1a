"""Encodes a teacher's answers for a cache: hidden states if teacher and codec can, entries known, or logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

import attrs
import numpy as np

from kdkit.api.interfaces import FittedCodec, HeadCodec
from kdkit.data.row_keys import RowKeys
from kdkit.errors import Mismatch, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from kdkit.api.interfaces import EntriesTeacher, HeadTeacher, OpenTeacher
    from kdkit.api.interfaces.codecs import AnyCodec, CodecState
    from kdkit.api.values import EncodedExample, OutputHead
    from kdkit.logits.cache import CacheWriter
    from kdkit.system.progress import Progress

CHECKED = 4
"""Rows of which states and head are checked against the teacher's own logits."""

HEAD_ERROR = 0.01
"""Relative to the largest logit: the error of half precision and of another order of sums."""


@attrs.frozen(kw_only=True, eq=False)
class TeacherEncoder:
    """Asks a teacher, and passes its answers to a codec.

    Attributes:
        teacher: Who is asked.
        codec: What encodes.
        progress: Where the teacher's notes go.
        head: The teacher's output head, where the codec learns from it: hidden states are then what it encodes.
    """

    teacher: OpenTeacher
    codec: AnyCodec
    progress: Progress
    head: OutputHead | None

    @classmethod
    def of(cls, teacher: OpenTeacher, codec: AnyCodec, progress: Progress) -> TeacherEncoder:
        """An encoder for that teacher and codec."""
        head = teacher.head() if isinstance(codec, HeadCodec) and has_states(teacher) else None
        return cls(teacher=teacher, codec=codec, progress=progress, head=head)

    def check(self, rows: Sequence[EncodedExample], keys: Mapping[str, bytes]) -> None:
        """Refuse a teacher whose hidden states and output head give other logits than the teacher itself.

        That is tried on a few of the rows, before any is captured.

        Raises:
            Mismatch: Its logits are of another width, or differ.
        """
        if self.head is None:
            return
        assert has_states(self.teacher)
        own = RowKeys.of(rows, keys)
        rows = own.rows.take(own.order[:CHECKED])
        states = {block.id: block.states_TD for block in self.teacher.states(rows, self.progress)}
        head_width = len(self.head.weight_VD)
        for block in self.teacher.logits(rows, self.progress):
            width = block.logits_TV.shape[1]
            if not width == head_width == self.teacher.vocab_size:
                raise Mismatch(
                    f"the teacher's logits of example {block.id!r} are {width} wide, its output head makes "
                    f"{head_width}, and its vocab_size is {self.teacher.vocab_size}; the three must be equal"
                )
            made_TV = states[block.id] @ self.head.weight_VD.T
            if self.head.bias_V is not None:
                made_TV += self.head.bias_V
            difference = float(np.abs(made_TV - block.logits_TV).max(initial=0))
            if difference > HEAD_ERROR * float(np.abs(block.logits_TV).max(initial=0)):  # NaN is for the codec
                raise Mismatch(
                    f"the teacher's logits of example {block.id!r} differ from those of its output head on "
                    f"its hidden states by up to {difference:.3g}; its head() must return None if it caps or "
                    "scales logits after the head"
                )

    def learn(self, rows: Sequence[EncodedExample], keys: Mapping[str, bytes]) -> CodecState:
        """Fit the codec to a sample of the rows: those with the smallest keys.

        Keys are digests, so that is a random sample, and the same for every process that captures these rows.

        Raises:
            UsageError: The codec cannot code such logits.
        """
        assert isinstance(self.codec, FittedCodec)
        own = RowKeys.of(rows, keys)
        sample = own.rows.take(own.order)
        before_R = np.cumsum(sample.target_lengths) - sample.target_lengths
        sample = sample[: int(np.count_nonzero(before_R < self.codec.sample_tokens))]
        if not sample.target_lengths.any():
            raise UsageError(
                "there is no target token for the codec to learn from; give rows with targets, or use another codec"
            )
        with self.progress.task("learn codec", total=len(sample), unit="rows") as task:
            if self.head is not None:
                assert isinstance(self.codec, HeadCodec)
                assert has_states(self.teacher)
                states = []
                for states_block in self.teacher.states(sample, self.progress):
                    states.append(states_block)
                    task.advance()
                return self.codec.fit_head(self.head, sorted(states, key=lambda block: keys[block.id]))
            blocks = []
            for block in self.teacher.logits(sample, self.progress):
                blocks.append(block)
                task.advance()
            return self.codec.fit(sorted(blocks, key=lambda block: keys[block.id]))

    def add_all(
        self, writer: CacheWriter, rows: Sequence[EncodedExample], keys: Mapping[str, bytes], done: Collection[str]
    ) -> Iterator[str]:
        """Add every row that is not done, and give its id when it is in."""
        if self.head is not None and writer.takes_states:
            assert has_states(self.teacher)
            for states in self.teacher.states(rows, self.progress, done=done):
                writer.add_states(keys[states.id], states)
                yield states.id
        elif has_entries(self.teacher):
            for entries in self.teacher.entries(rows, self.progress, done=done):
                writer.add_entries(keys[entries.id], entries)
                yield entries.id
        else:
            for block in self.teacher.logits(rows, self.progress, done=done):
                writer.add_block(keys[block.id], block)
                yield block.id


def has_states(teacher: OpenTeacher) -> TypeGuard[HeadTeacher]:
    """Not `isinstance`, which would evaluate properties: the width of recorded logits reads them."""
    return hasattr(teacher, "states")


def has_entries(teacher: OpenTeacher) -> TypeGuard[EntriesTeacher]:
    """Whether it knows only some entries of its logits."""
    return hasattr(teacher, "entries")
