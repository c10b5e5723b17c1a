"""A teacher's logits, recorded once for all sides of `train_step.py` that read them."""

from __future__ import annotations

import attrs
from padded_way import BATCH, record_padded
from training_sides import CODECS, TEACHER, TOKENIZER, Setting, Sides

from kdkit.api.values import TeacherBlock
from kdkit.builtin.teachers.asked_hf import OpenHFTeacher
from kdkit.logits.cache import CacheIdentity, CacheWriter
from kdkit.logits.encoder import TeacherEncoder
from kdkit.logits.targets import keys_of
from kdkit.plugins.fields import identity_of
from kdkit.system.progress import Silent


@attrs.define(eq=False)
class Remembered:
    """A teacher that computes its states once, however many codecs ask."""

    inner: OpenHFTeacher
    blocks: list = attrs.field(factory=list)

    tokenizer = property(lambda self: self.inner.tokenizer)
    identity = property(lambda self: self.inner.identity)
    vocab_size = property(lambda self: self.inner.vocab_size)

    def groups(self, rows):
        return self.inner.groups(rows)

    def head(self):
        return self.inner.head()

    def states(self, rows, progress, *, done=()):
        if not self.blocks:
            self.blocks += self.inner.states(rows, progress)
        wanted = {row.id for row in rows} - set(done)
        return (block for block in self.blocks if block.id in wanted)

    def logits(self, rows, progress, *, done=()):
        weight_VD = self.head().weight_VD
        for block in self.states(rows, progress, done=done):
            yield TeacherBlock(id=block.id, logits_TV=block.states_TD @ weight_VD.T)


def record(setting: Setting) -> dict[str, int]:
    """Fill a cache with each codec, and the thesis's file; gives their bytes a token."""
    sides = Sides(setting)
    rows = [*setting.small, *setting.rows]
    teacher = Remembered(OpenHFTeacher(model=sides.teacher, identity=TEACHER, device="cpu", batch_size=4))
    list(teacher.states(rows, Silent()))
    keys = keys_of(rows, teacher=TEACHER, tokenizer=TOKENIZER)
    tokens = sum(len(row.target_ids) for row in rows)
    sizes = {}
    for name, codec in CODECS.items():
        identity = CacheIdentity(
            teacher=TEACHER,
            teacher_name=TEACHER,
            tokenizer=TOKENIZER,
            codec=name,
            codec_options=identity_of(codec),
            vocab_size=teacher.vocab_size,
        )
        encoder = TeacherEncoder.of(teacher, codec, Silent())
        with CacheWriter(setting.folder / name, identity, codec) as writer:
            if writer.needs_state:
                writer.learn(encoder.learn(rows, keys))
            for _ in encoder.add_all(writer, rows, keys, ()):
                pass
            writer.finish()
        shards = (setting.folder / name).glob("shard-*")
        sizes[name] = sum(shard.stat().st_size for shard in shards) / tokens
    record_padded(
        sides.teacher.module,
        setting.rows[:BATCH],
        sides.tokenizer.pad_token_id,
        *setting.padded,
        setting.folder / "padded.jsonl",
    )
    return sizes
