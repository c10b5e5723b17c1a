"""What `causal_step.py` compares: models of SmolLM2's shape, rows of real text, and one training each way."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.metadata
import os
import random
import sys
import sysconfig
import tempfile
import textwrap
import time
from pathlib import Path

import attrs
import torch
from training_sides import CLIP, DECAY, RATE, EpochOver, fitted, options_of

from kdkit import models
from kdkit.api.options import TokenLimits
from kdkit.api.values import Example
from kdkit.builtin.codecs.subspace import Subspace
from kdkit.builtin.codecs.topk import TopK
from kdkit.builtin.codecs.u8_lz4 import U8LZ4
from kdkit.builtin.losses.kd import KD
from kdkit.builtin.teachers.asked_hf import OpenHFTeacher
from kdkit.data.sequences import encode_sequences
from kdkit.logits.cache import CacheIdentity, CacheWriter, LogitCache
from kdkit.logits.encoder import TeacherEncoder
from kdkit.logits.targets import CachedTargets, NoTargets, keys_of
from kdkit.plugins.fields import identity_of
from kdkit.system.progress import Silent

SEED = 3
SHAPE = {
    "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True,
    "max_position_embeddings": 8192,
}  # fmt: skip
VOCAB = 49_152
TINY = SHAPE | {"hidden_size": 36, "intermediate_size": 64, "num_hidden_layers": 4}
LEFT_OUT = (14, 13, 12, 3, 25, 17, 15, 16, 18, 10)
"""The layers that the student of 20 lacks: those without which SmolLM2's loss on functions rises least, and their
neighbours."""
PACKAGES = ("networkx", "click", "attrs", "rich", "numpy", "scipy", "torch")
TRAINER, LABELS, TRL = "transformers' Trainer, labels", "kdkit, labels", "TRL's GKDTrainer, lambda 0"
CODECS = {"subspace": Subspace(), "topk": TopK(), "u8-lz4": U8LZ4()}
KD_SIDES = {f"kdkit, KD from {name}": name for name in CODECS}
SIDES = (TRAINER, LABELS, *KD_SIDES, TRL)
TEACHER = TOKENIZER = "the benchmark's"


@attrs.frozen(kw_only=True)
class Setting:
    """What is measured: all that a process of its own needs to know.

    Attributes:
        teacher: The teacher's folder.
        student: The student's.
        rows: The rows, in the order of the batches.
        batch_size: Rows a batch.
        folder: Where caches go.
        trl: Where TRL is installed; empty if it is importable as it is.
    """

    teacher: Path
    student: Path
    rows: list
    batch_size: int
    folder: Path
    trl: str


@attrs.frozen(kw_only=True)
class Pass:
    """One measurement: wall and CPU seconds, the tokens that they are for, and the loss where there is one."""

    seconds: float
    cpu: float
    tokens: int
    loss: float = float("nan")


def make_models(model: Path | None, folder: Path, *, quick: bool) -> tuple[Path, Path]:
    """The folders of teacher and student: the model's and 20 of its layers, or new ones of the same shape."""
    from kdkit.builtin.students.hf_causal import FromTeacher, HFCausalStudent

    if model is None:
        tokenizer = models.train_bpe(texts()[:400], vocab_size=400 if quick else 4096, ends_texts=False)
        table = (TINY if quick else SHAPE) | {"vocab_size": 400 if quick else VOCAB}
        module = models.new_model(models.config_from(table, tokenizer, models.DecoderOnly().auto), seed=SEED)
        model = folder / "teacher"
        models.causal_model(module, tokenizer).save(model, texts={})
    count = models.read_config(str(model)).num_hidden_layers
    kept = tuple(layer for layer in range(count) if layer not in (LEFT_OUT if count == 30 else (1,)))
    tokenizer = models.DecoderOnly().load_tokenizer(str(model))
    student = HFCausalStudent(from_teacher=FromTeacher(layers=kept)).build(tokenizer, model, seed=SEED, device="cpu")
    student.save(folder / "student", texts={})
    return model, folder / "student"


def open_model(folder: Path):
    """A model of a folder, as kdkit has it."""
    from transformers import AutoModelForCausalLM

    module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return models.causal_model(module, models.DecoderOnly().load_tokenizer(str(folder)))


@functools.cache
def texts() -> list[str]:
    """Functions of installed packages and the standard library, in random order."""
    places = [Path(sysconfig.get_path("stdlib"))]
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            places.append(Path(str(importlib.metadata.distribution(name).locate_file(name))))
    found = []
    for place in places:
        for file in sorted(place.glob("*.py"))[:30]:
            with contextlib.suppress(SyntaxError, UnicodeDecodeError, OSError):
                source = file.read_text(encoding="utf-8")
                lines = source.splitlines(keepends=True)
                nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
                found += [textwrap.dedent("".join(lines[node.lineno - 1 : node.end_lineno])) for node in nodes]
    found = sorted({text for text in found if len(text) > 100})
    random.Random(SEED).shuffle(found)
    return found


def functions(tokenizer, count: int, *, longest: int) -> list:
    """Rows of functions: the line of the `def` is the prompt, and the rest is the completion."""
    examples = []
    for number, text in enumerate(texts()):
        head, line, body = text.partition("\n")
        if len(body) > 3 * longest and len(examples) < 2 * count:
            examples.append(Example(id=f"f{number}", source=head + line, target=body))
    limits = TokenLimits(max_source=longest // 4, max_target=longest - longest // 4)
    rows = [row for row in encode_sequences(examples, tokenizer, limits) if len(row.target_ids) > longest // 3]
    return rows[:count]


def chats(tokenizer, count: int, *, longest: int) -> list:
    """Rows of text as long as turns of chats are: log-normal around 200 tokens, from 16 up to the longest."""
    draw = random.Random(SEED)
    text = "\n\n".join(texts())[: 6 * count * 400]
    stream = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    at, rows = 0, []
    for number in range(count):
        size = min(max(int(draw.lognormvariate(5.3, 0.9)), 16), longest)
        ids = tuple(stream[at % (len(stream) - size) :][:size])
        prompt = max(1, size // 3)
        rows.append((f"c{number}", ids[:prompt], ids[prompt:]))
        at += size
    from kdkit.api.values import EncodedExample

    return [EncodedExample(id=name, source_ids=source, target_ids=target) for name, source, target in rows]


def read_tokens(rows) -> int:
    """Tokens that a model reads in a pass over rows, without padding."""
    return sum(len(row.source_ids) + len(row.target_ids) - 1 for row in rows)


class Watch:
    """Wall and CPU time between two moments."""

    def begin(self) -> None:
        self.began = time.perf_counter(), time.process_time()

    def end(self) -> None:
        self.ended = time.perf_counter(), time.process_time()

    def done(self, rows, loss: float = float("nan")) -> Pass:
        seconds, cpu = (end - begin for end, begin in zip(self.ended, self.began, strict=True))
        return Pass(seconds=seconds, cpu=cpu, tokens=read_tokens(rows), loss=loss)


class Clock(Silent):
    """Progress that knows when a training begins, and a validation that ends it: what follows belongs to no step."""

    def __init__(self) -> None:
        self.watch = Watch()

    @contextlib.contextmanager
    def task(self, name: str, *, total: int | None, unit: str, done: int = 0):  # noqa: ARG002
        self.watch.begin()
        yield self

    def advance(self, amount: int = 1, **facts: str) -> None:
        pass

    def stop(self):
        self.watch.end()
        raise EpochOver


class Sides:
    """The trainings in one process; what they train is one model, built when it is first needed, as the teacher is."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    @functools.cached_property
    def student(self):
        return open_model(self.setting.student)

    @functools.cached_property
    def initial(self):
        """The student's first weights, to which every training returns."""
        return {name: tensor.clone() for name, tensor in self.student.module.state_dict().items()}

    @functools.cached_property
    def teacher(self):
        return open_model(self.setting.teacher)

    def train(self, side: str, rows: list, *, once: bool = False) -> Pass:
        """A training of a side on rows, from the first weights; `once` keeps no copy of these, which takes memory."""
        if not once:
            self.student.module.load_state_dict(self.initial)
        if side == TRAINER:
            return self._by_transformers(rows)
        if side == TRL:
            return self._by_trl(rows)
        if side == LABELS:
            return self._by_kdkit(rows, KD(alpha=0.0), NoTargets())
        return self._by_kdkit(rows, KD(alpha=0.5, temperature=1.0), self._targets(side, rows))

    def _targets(self, side: str, rows):
        cache = LogitCache.open(self.setting.folder / KD_SIDES[side])
        return CachedTargets(cache=cache, keys=keys_of(rows, teacher=TEACHER, tokenizer=TOKENIZER), device="cpu")

    def _by_kdkit(self, rows, loss, targets) -> Pass:
        clock, options = Clock(), options_of(self.setting.batch_size)
        last = fitted(self.student, rows, options, loss, targets, clock, seed=SEED)
        return clock.watch.done(rows, last)

    def _by_transformers(self, rows) -> Pass:
        from transformers import Trainer as Theirs
        from transformers import TrainingArguments

        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(**self._arguments(folder))
            return _run(Theirs(model=self.student.module, args=arguments, **self._data(rows)), rows)

    def _by_trl(self, rows) -> Pass:
        if self.setting.trl and self.setting.trl not in sys.path:
            sys.path.append(self.setting.trl)
        os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
        from trl.experimental.gkd import GKDConfig, GKDTrainer

        with tempfile.TemporaryDirectory() as folder:
            arguments = GKDConfig(
                **self._arguments(folder),
                lmbda=0.0,
                beta=0.0,
                temperature=1.0,
                bf16=False,
                gradient_checkpointing=False,
            )
            trainer = GKDTrainer(
                model=self.student.module,
                teacher_model=self.teacher.module,
                args=arguments,
                processing_class=self.student.tokenizer,
                **self._data(rows),
            )
            return _run(trainer, rows)

    def _arguments(self, folder: str) -> dict:
        return {
            "output_dir": folder, "num_train_epochs": 1, "per_device_train_batch_size": self.setting.batch_size,
            "train_sampling_strategy": "sequential", "learning_rate": RATE, "weight_decay": DECAY,
            "max_grad_norm": CLIP, "save_strategy": "no", "report_to": [], "disable_tqdm": True, "use_cpu": True,
            "seed": SEED, "remove_unused_columns": False,
        }  # fmt: skip

    def _data(self, rows) -> dict:
        from datasets import Dataset

        pad_id = self.student.tokenizer.pad_token_id
        data = Dataset.from_list(
            [
                {
                    "input_ids": [*row.source_ids, *row.target_ids],
                    "labels": [-100] * len(row.source_ids) + list(row.target_ids),
                }
                for row in rows
            ]
        )

        def collated(batch):
            width = max(len(each["input_ids"]) for each in batch)
            fillers = {"input_ids": pad_id, "labels": -100}
            found = {
                name: torch.tensor([each[name] + [filler] * (width - len(each[name])) for each in batch])
                for name, filler in fillers.items()
            }
            lengths = torch.tensor([len(each["input_ids"]) for each in batch])
            return found | {"attention_mask": (torch.arange(width) < lengths[:, None]).long()}

        return {"train_dataset": data, "data_collator": collated}


def _run(trainer, rows) -> Pass:
    """A training by transformers' loop."""
    from transformers import PrinterCallback, TrainerCallback

    watch = Watch()

    class Times(TrainerCallback):
        def on_train_begin(self, args, state, control, **_):  # noqa: ARG002
            watch.begin()

        def on_step_end(self, args, state, control, **_):  # noqa: ARG002
            watch.end()

    trainer.add_callback(Times())
    trainer.remove_callback(PrinterCallback)
    loss = trainer.train().training_loss
    return watch.done(rows, loss)


def capture(name: str, teacher: OpenHFTeacher, rows, folder: Path, *, state=None, watch: Watch | None = None):
    """Fill a cache with the teacher's logits of rows; gives the state that the codec has learnt, or was given."""
    codec = CODECS[name]
    identity = CacheIdentity(
        teacher=TEACHER,
        teacher_name=TEACHER,
        tokenizer=TOKENIZER,
        codec=name,
        codec_options=identity_of(codec),
        vocab_size=teacher.vocab_size,
    )
    keys = keys_of(rows, teacher=TEACHER, tokenizer=TOKENIZER)
    encoder = TeacherEncoder.of(teacher, codec, Silent())
    with CacheWriter(folder, identity, codec) as writer:
        if writer.needs_state:
            state = state if state is not None else encoder.learn(rows, keys)
            writer.learn(state)
        if watch is not None:
            watch.begin()
        for _ in encoder.add_all(writer, rows, keys, ()):
            pass
        writer.finish()
    return state


def record(setting: Setting) -> None:
    """Fill a cache with each codec."""
    teacher = OpenHFTeacher(model=open_model(setting.teacher), identity=TEACHER, device="cpu", batch_size=4)
    for name in CODECS:
        capture(name, teacher, setting.rows, setting.folder / name)
