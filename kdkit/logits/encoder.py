"""A teacher's answers on their way into a cache: as hidden states where teacher and codec can, else as logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

import attrs

from kdkit.api.interfaces import FittedCodec, HeadCodec
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from kdkit.api.interfaces import HeadTeacher, OpenTeacher
    from kdkit.api.interfaces.codecs import AnyCodec, CodecState
    from kdkit.api.values import EncodedExample, OutputHead
    from kdkit.logits.cache import CacheWriter
    from kdkit.system.progress import Progress


@attrs.frozen(kw_only=True, eq=False)
class TeacherEncoder:
    """Asks a teacher, and gives what it says to a codec.

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
        """For that teacher and that codec."""
        head = teacher.head() if isinstance(codec, HeadCodec) and has_states(teacher) else None
        return cls(teacher=teacher, codec=codec, progress=progress, head=head)

    def learn(self, rows: Sequence[EncodedExample], keys: Mapping[str, bytes]) -> CodecState:
        """What the codec learns of a sample of the rows: those with the smallest keys.

        Keys are digests, so that is a random sample, and the same for every process that captures these rows.

        Raises:
            UsageError: The codec cannot code such logits.
        """
        assert isinstance(self.codec, FittedCodec)
        sample: list[EncodedExample] = []
        tokens = 0
        for row in sorted(rows, key=lambda row: keys[row.id]):
            if tokens >= self.codec.sample_tokens:
                break
            sample.append(row)
            tokens += len(row.target_ids)
        if not tokens:
            raise UsageError(
                "there is no target token for the codec to learn from; give it rows, or take another codec"
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
        else:
            for block in self.teacher.logits(rows, self.progress, done=done):
                writer.add_block(keys[block.id], block)
                yield block.id


def has_states(teacher: OpenTeacher) -> TypeGuard[HeadTeacher]:
    """`isinstance` would evaluate its properties, and the width of recorded logits takes a look at them."""
    return hasattr(teacher, "states")
