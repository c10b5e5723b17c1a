"""One training each way, timed: what `train_step.py` compares."""

from __future__ import annotations

import contextlib
import functools
import json
import tempfile
import time
from pathlib import Path

import attrs
import torch
from assertion_rows import make_model, make_tokenizer
from padded_way import BATCH, PaddedWay

from kdkit.api.options import Training
from kdkit.api.values import DenseTargets
from kdkit.builtin.codecs.float_ import Float
from kdkit.builtin.codecs.subspace import Subspace
from kdkit.builtin.codecs.topk import TopK
from kdkit.builtin.codecs.u8_lz4 import U8LZ4
from kdkit.builtin.losses.kd import KD
from kdkit.logits.cache import LogitCache
from kdkit.logits.targets import CachedTargets, NoTargets, keys_of
from kdkit.system.progress import Silent
from kdkit.training import MetricsLog, Trainer

ALPHA, TEMPERATURE = 0.5, 2.0
RATE, DECAY, CLIP = 5e-5, 0.01, 1.0
SEED = 3
TEACHER, TOKENIZER = "random weights", "the benchmark's"
CODECS = {
    "u8-lz4": U8LZ4(),
    "float": Float(dtype="fp16"),
    "topk": TopK(temperatures=(TEMPERATURE,)),
    "subspace": Subspace(),
}
HF, CE, OWN = "Seq2SeqTrainer", "kdkit CE", "kdkit CE, own batches"
KD_SIDES = {f"kdkit KD, {name}": name for name in CODECS}
ONLINE, PADDED = "on-line KD", "the thesis's way"
AT_RANDOM = (HF, CE)
SIDES = (*AT_RANDOM, OWN, *KD_SIDES, ONLINE, PADDED)


@attrs.frozen(kw_only=True)
class Setting:
    """What is measured: all that a process of its own needs to know.

    Attributes:
        tokenizer: Name of the tokenizer; None for one of `vocab_size` words.
        vocab_size: Width of the logits.
        student: The student's shape.
        teacher: The teacher's.
        dropout: Of the student.
        batch_size: Rows a batch.
        batch_tokens: Of kdkit's own batches.
        grouped: The rows of all sides, in the order of kdkit's own batches.
        rows: The same in random order.
        small: A batch of short rows.
        padded: Source and target tokens to which the thesis pads.
        folder: Where caches go.
    """

    tokenizer: str | None
    vocab_size: int
    student: dict
    teacher: dict
    dropout: float
    batch_size: int
    batch_tokens: int
    grouped: list
    rows: list
    small: list
    padded: tuple[int, int]
    folder: Path

    @property
    def heaviest(self) -> list:
        """The batch of the rows in random order with the most padded tokens."""
        size = self.batch_size
        batches = [self.rows[start : start + size] for start in range(0, len(self.rows), size)]
        return max(batches, key=lambda batch: len(batch) * max(len(row.source_ids) for row in batch))


@attrs.frozen(kw_only=True)
class Pass:
    """One training: the seconds of its timed steps, and the mean loss of all its steps."""

    seconds: float
    loss: float


class Sides:
    """The sides in one process; what they train is one model, built when it is first needed, as the teacher is."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    @functools.cached_property
    def tokenizer(self):
        return make_tokenizer(self.setting.tokenizer, self.setting.vocab_size)

    @functools.cached_property
    def student(self):
        return make_model(self.setting.student, self.tokenizer, seed=SEED, dropout=self.setting.dropout)

    @functools.cached_property
    def initial(self):
        """The student's first weights, to which every timed training returns."""
        return {name: tensor.clone() for name, tensor in self.student.module.state_dict().items()}

    @functools.cached_property
    def teacher(self):
        return make_model(self.setting.teacher, self.tokenizer, seed=SEED + 1)

    def rows_of(self, side: str) -> list:
        """The rows that a side is timed on."""
        if side == PADDED:
            return self.setting.rows[:BATCH]
        return self.setting.rows if side in AT_RANDOM else self.setting.grouped

    def timed(self, side: str) -> Pass:
        """A training of a side, as it is compared."""
        self.student.module.load_state_dict(self.initial)
        return self.train(side, self.rows_of(side))

    def train(self, side: str, rows: list) -> Pass:
        """A training of a side on rows."""
        setting = self.setting
        if side == HF:
            return self._by_transformers(rows)
        if side == PADDED:
            return self._padded(steps=2)
        if side in (CE, OWN):
            batches = {"batch_tokens": setting.batch_tokens} if side == OWN else {}
            return self._by_kdkit(rows, KD(alpha=0.0), NoTargets(), **batches)
        loss = KD(alpha=ALPHA, temperature=TEMPERATURE)
        return self._by_kdkit(rows, loss, self._targets(side, rows), batch_tokens=setting.batch_tokens)

    def _targets(self, side: str, rows: list):
        if side == ONLINE:
            return OnlineTargets(self.teacher)
        cache = LogitCache.open(self.setting.folder / KD_SIDES[side])
        keys = keys_of(rows, teacher=TEACHER, tokenizer=TOKENIZER)
        return CachedTargets(cache=cache, keys=keys, device="cpu")

    def _by_kdkit(self, rows, loss, targets, **batches) -> Pass:
        clock, options = Clock(), options_of(self.setting.batch_size, **batches)
        last = fitted(self.student, rows, options, loss, targets, clock, seed=SEED)
        return Pass(seconds=clock.ended - clock.began, loss=last)

    def _by_transformers(self, rows) -> Pass:
        from transformers import DataCollatorForSeq2Seq, PrinterCallback, Seq2SeqTrainer, Seq2SeqTrainingArguments

        module, times = self.student.module, _times_callback()
        data = [
            {
                "input_ids": list(row.source_ids),
                "attention_mask": [1] * len(row.source_ids),
                "labels": list(row.target_ids),
            }
            for row in rows
        ]
        with tempfile.TemporaryDirectory() as folder:
            trainer = Seq2SeqTrainer(
                model=module,
                args=Seq2SeqTrainingArguments(
                    output_dir=folder,
                    num_train_epochs=1,
                    per_device_train_batch_size=self.setting.batch_size,
                    train_sampling_strategy="sequential",
                    learning_rate=RATE,
                    weight_decay=DECAY,
                    max_grad_norm=CLIP,
                    save_strategy="no",
                    report_to=[],
                    disable_tqdm=True,
                    use_cpu=True,
                    seed=SEED,
                ),
                train_dataset=data,
                data_collator=DataCollatorForSeq2Seq(self.tokenizer, model=module),
                callbacks=[times],
            )
            trainer.remove_callback(PrinterCallback)  # what it prints is no result of ours
            loss = trainer.train().training_loss
        return Pass(seconds=times.ended - times.began, loss=loss)

    def _padded(self, *, steps: int) -> Pass:
        way = PaddedWay(
            self.student.module, self.tokenizer.pad_token_id, *self.setting.padded, self.setting.folder / "padded.jsonl"
        )
        seconds, loss = way.train(
            self.setting.rows[:BATCH],
            steps=steps, rate=RATE, decay=DECAY, clip=CLIP, alpha=ALPHA, temperature=TEMPERATURE,
        )  # fmt: skip
        return Pass(seconds=seconds, loss=loss)


def options_of(batch_size: int, **batches) -> Training:
    """One epoch of rows in their order, as the sides of the other libraries train."""
    return Training(
        epochs=1,
        shuffle=False,
        drop_last=False,
        batch_size=batch_size,
        learning_rate=RATE,
        weight_decay=DECAY,
        warmup_ratio=0.0,
        max_grad_norm=CLIP,
        best_by="loss",
        log_every=10**9,
        **batches,
    )


def fitted(model, rows, options: Training, loss, targets, clock, *, seed: int) -> float:
    """Train for an epoch, of which `clock.stop` is the end; gives the last loss that was logged."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            rows=rows,
            options=options,
            loss=loss,
            targets=targets,
            validate=clock.stop,
            direction="lower",
            seed=seed,
            device="cpu",
            folder=Path(folder) / "student",
            texts={},
            log=MetricsLog(Path(folder) / "metrics.jsonl", "student"),
            progress=clock,
            name="student",
        )
        with contextlib.suppress(EpochOver):
            trainer.fit()
        return json.loads((Path(folder) / "metrics.jsonl").read_text().splitlines()[-1])["loss"]


class EpochOver(Exception):
    """Ends a training at its validation: what would follow is written to the disk, and belongs to no step."""


class Clock(Silent):
    """Progress that keeps the moments at which a training begins, and is done with its last step."""

    def __init__(self) -> None:
        self.began = self.ended = 0.0

    @contextlib.contextmanager
    def task(self, name: str, *, total: int | None, unit: str, done: int = 0):  # noqa: ARG002
        self.began = time.perf_counter()
        yield self

    def advance(self, amount: int = 1, **facts: str) -> None:
        pass

    def stop(self):
        """What the trainer takes for its validation."""
        self.ended = time.perf_counter()
        raise EpochOver


def _times_callback():
    from transformers import TrainerCallback

    class Times(TrainerCallback):
        began = ended = 0.0

        def on_train_begin(self, args, state, control, **_):  # noqa: ARG002
            self.began = time.perf_counter()

        def on_step_end(self, args, state, control, **_):  # noqa: ARG002
            self.ended = time.perf_counter()

    return Times()


@attrs.frozen(eq=False)
class OnlineTargets:
    """A target source that asks the teacher itself."""

    teacher: object

    def __call__(self, batch):
        with torch.no_grad():  # not inference mode: autograd has to keep what is made of these
            logits_BTV = self.teacher.logits(batch)
        return DenseTargets(logits_BTV=logits_BTV, lengths_B=(batch.labels_BT >= 0).sum(-1))

    def count(self, row):
        return len(row.target_ids)
