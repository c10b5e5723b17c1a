"""The loop that trains students and fine-tunes teachers.

What is trained on in which order is a pure function of (seed, epoch); where the loop stands is (epoch, position, step,
parameters, optimizer, random generators, sums since the last log line). A checkpoint holds all of it, so a run that was
killed anywhere and resumed ends with the same weights, bit for bit, on the CPU.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import attrs
import torch
from accelerate import Accelerator

from kdkit.engine import checkpoint
from kdkit.engine.schedule import learning_rate
from kdkit.engine.tokenloss import Forward
from kdkit.errors import KdkitError
from kdkit.losses import loss_at
from kdkit.stopping import Stop, graceful
from kdkit.targets import counts_of
from kdkit.tokens import collate, epoch_order
from kdkit.values import Moment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from kdkit.engine.metricslog import MetricsLog
    from kdkit.interfaces import LossMixer, TextModel
    from kdkit.options import Training
    from kdkit.progress import Progress, Task
    from kdkit.targets import TargetSource
    from kdkit.values import EncodedExample, Targets, TokenBatch, TokenCounts

LOWER_IS_BETTER = ("loss", "hard", "soft")


@attrs.frozen(kw_only=True)
class FitResult:
    """How a training ended: steps done, and the step and value of the best validation."""

    steps: int
    best_step: int
    best_value: float


@attrs.define(kw_only=True)
class _Sums:
    """Sums over the steps since the last log line."""

    steps: int = 0
    tokens: int = 0
    loss: float = 0.0
    hard: float = 0.0
    soft: float = 0.0
    grad_norm: float = 0.0
    seconds: float = 0.0


@attrs.define(kw_only=True)
class _State:
    """Where the loop stands; all of it goes into a checkpoint.

    `position` counts the epoch's batches that are done; it is their number once the epoch's validation is all that is
    left to do.
    """

    epoch: int = 0
    position: int = 0
    step: int = 0
    best_step: int = 0
    best_value: float | None = None
    sums: _Sums = attrs.field(factory=_Sums)


@attrs.define(kw_only=True)
class Trainer:
    """One training.

    Attributes:
        model: What is trained; on its device.
        rows: Training rows.
        options: How.
        loss: The loss.
        targets: The teacher's logits of a batch; gives None where the loss needs none.
        validate: Called at each epoch's end; gives named values, `options.best_by` among them.
        seed: Seed of order and dropout.
        device: The model's device.
        folder: `best/`, `final/` and `checkpoints/` go here.
        texts: Text files that are saved with the model.
        log: Where metrics go.
        progress: Where progress is shown.
        name: "teacher" or "student"; what is trained, for messages.
    """

    model: TextModel
    rows: Sequence[EncodedExample]
    options: Training
    loss: LossMixer
    targets: TargetSource
    validate: Callable[[], dict[str, float]]
    seed: int
    device: str
    folder: Path
    texts: Mapping[str, str]
    log: MetricsLog
    progress: Progress
    name: str
    _state: _State = attrs.field(factory=_State, init=False)
    _steps_an_epoch: int = attrs.field(default=0, init=False)
    _optimizer: Any = attrs.field(default=None, init=False)
    _accelerator: Any = attrs.field(default=None, init=False)
    _forward: Forward = attrs.field(default=None, init=False)

    def fit(self) -> FitResult:
        """Train from the start or from the newest valid checkpoint, to the end.

        Raises:
            KdkitError: The loss or the gradient became NaN or infinite.
            Interrupted: A signal came; a checkpoint was written.
        """
        self._prepare()
        batches = self._batches(0)
        self._steps_an_epoch = math.ceil(len(batches) / self.options.accumulation)
        total = self._steps_an_epoch * self.options.epochs
        if self.options.max_steps:
            total = min(total, self.options.max_steps)
        state = self._state
        with (
            graceful() as stop,
            self.progress.task(f"train {self.name}", total=total, unit="steps", done=state.step) as task,
        ):
            while state.epoch < self.options.epochs and (state.step < total or state.position):
                self._epoch(total, task, stop)
        self.model.save(self.folder / "final", texts=self.texts)
        assert state.best_value is not None
        return FitResult(steps=state.step, best_step=state.best_step, best_value=state.best_value)

    def _prepare(self) -> None:
        torch.manual_seed(self.seed)
        self.folder.mkdir(parents=True, exist_ok=True)
        # The model is on its device already; accelerate, whose state is the process's, knows one kind of device only.
        self._accelerator = Accelerator(cpu=self.device == "cpu", device_placement=False)
        optimizer = torch.optim.AdamW(
            self.model.module.parameters(), lr=self.options.learning_rate, weight_decay=self.options.weight_decay
        )
        module, self._optimizer = self._accelerator.prepare(self.model.module, optimizer)
        assert module is self.model.module, "one process leaves the model unwrapped"
        self._forward = Forward.of(self.model)
        saved = checkpoint.load_newest(self.folder / "checkpoints", self.model.module, self._inner_optimizer)
        if saved is not None:
            self._state = _State(**{**saved["loop"], "sums": _Sums(**saved["loop"]["sums"])})
            self.progress.note(f"{self.name}: going on from the checkpoint at step {self._state.step}")
        self.log.rewind(step=self._state.step, epochs=self._state.epoch)

    @property
    def _inner_optimizer(self) -> torch.optim.Optimizer:
        inner: torch.optim.Optimizer = self._optimizer.optimizer
        return inner

    def _batches(self, epoch: int) -> list[list[int]]:
        options = self.options
        return epoch_order(
            self.rows,
            batch_size=options.batch_size,
            seed=self.seed,
            epoch=epoch,
            shuffle=options.shuffle,
            group_by_length=options.group_by_length,
            drop_last=options.drop_last,
        )

    def _epoch(self, total: int, task: Task, stop: Stop) -> None:
        """The rest of the current epoch, its validation, and the checkpoint that begins the next."""
        state = self._state
        batches = self._batches(state.epoch)
        self.model.module.train()
        while state.position < len(batches) and state.step < total:
            window = batches[state.position : state.position + self.options.accumulation]
            self._step(window, total, task)
            state.position += len(window)
            at_end = state.position >= len(batches) or state.step == total
            if stop or (state.step % self.options.checkpoint_every == 0 and not at_end):
                self._save()
            if stop:
                raise stop.leave(f"saved a checkpoint of the {self.name} at step {state.step} of {total}")
        self._finish_epoch(len(batches), total, stop)
        if stop and state.epoch < self.options.epochs and state.step < total:
            raise stop.leave(f"saved a checkpoint of the {self.name} at step {state.step} of {total}")

    def _step(self, window: list[list[int]], total: int, task: Task) -> None:
        """One optimizer step over a window of micro-batches; every mean is over the tokens of the whole window."""
        began = time.perf_counter()
        state, sums = self._state, self._state.sums
        loaded = [self._load(indices) for indices in window]
        counts = counts_of((self.rows[index] for indices in window for index in indices), self.targets)
        loss = loss_at(self.loss, Moment(share=state.step / max(total - 1, 1), epoch=state.epoch))
        for group in self._inner_optimizer.param_groups:
            group["lr"] = learning_rate(state.step, total, self.options)
        losses = {"loss": 0.0, "hard": 0.0, "soft": 0.0}
        for batch, targets in loaded:
            with self._autocast():
                tokens = self._forward(batch, targets)
            parts = tokens.backward(loss, counts, autocast=self._autocast)
            losses["loss"] += float(parts.total)
            losses["hard"] += float(parts.hard)
            losses["soft"] += float(parts.soft)
        grad_norm = self._clip()
        if not math.isfinite(losses["loss"]) or not math.isfinite(grad_norm):
            self._refuse(losses, counts, grad_norm, [row for batch, _ in loaded for row in batch.ids])
        self._optimizer.step()
        self._optimizer.zero_grad()
        state.step += 1
        sums.steps += 1
        sums.tokens += counts.hard + sum(int(batch.source_mask_BS.sum()) for batch, _ in loaded)
        sums.loss += losses["loss"]
        sums.hard += losses["hard"]
        sums.soft += losses["soft"]
        sums.grad_norm += grad_norm
        sums.seconds += time.perf_counter() - began
        task.advance(1, **self._facts())
        if state.step % self.options.log_every == 0 or state.step == total:
            self._log_training()

    def _load(self, indices: list[int]) -> tuple[TokenBatch, Targets | None]:
        batch = collate(
            [self.rows[index] for index in indices], pad_id=self.model.tokenizer.pad_token_id, device=self.device
        )
        return batch, self.targets(batch)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            device_type=self.device.split(":")[0], dtype=torch.bfloat16, enabled=self.options.precision == "bf16"
        )

    def _clip(self) -> float:
        limit = self.options.max_grad_norm or math.inf
        return float(self._accelerator.clip_grad_norm_(self.model.module.parameters(), limit))

    def _refuse(self, losses: dict[str, float], counts: TokenCounts, grad_norm: float, ids: list[str]) -> None:
        # Without teacher rows the soft loss is NaN by definition, and not what went wrong.
        bad = [f"{name} loss" for name in ("hard", "soft") if getattr(counts, name) and not math.isfinite(losses[name])]
        raise KdkitError(
            f"step {self._state.step + 1} of the {self.name}'s training: the {' and the '.join(bad or ['gradient'])} "
            f"is not finite (loss {losses['loss']}, gradient norm {grad_norm}) on rows {', '.join(ids[:4])}"
            f"{' ...' if len(ids) > 4 else ''}; the last checkpoint is kept; lower the learning rate of this "
            f"training{', or use fp32' if self.options.precision == 'bf16' else ''}"
        )

    def _facts(self) -> dict[str, str]:
        sums = self._state.sums
        facts = {"loss": f"{sums.loss / sums.steps:.3f}", "hard": f"{sums.hard / sums.steps:.3f}"}
        if math.isfinite(sums.soft):
            facts["soft"] = f"{sums.soft / sums.steps:.3f}"
        return facts | {"tok/s": f"{sums.tokens / sums.seconds:.0f}"}

    def _log_training(self) -> None:
        state, sums = self._state, self._state.sums
        self.log.write(
            kind="train",
            step=state.step,
            epoch=state.step / self._steps_an_epoch,
            loss=sums.loss / sums.steps,
            hard=sums.hard / sums.steps,
            soft=sums.soft / sums.steps,
            learning_rate=self._inner_optimizer.param_groups[0]["lr"],
            grad_norm=sums.grad_norm / sums.steps,
            tokens_per_second=sums.tokens / sums.seconds,
        )
        state.sums = _Sums()

    def _finish_epoch(self, batches: int, total: int, stop: Stop) -> None:
        """Validate, keep the model if it is the best so far, and write the checkpoint that the next epoch begins at."""
        state = self._state
        state.position = batches
        self.model.module.eval()
        try:
            with stop.at_once():
                values = self.validate()
        except KeyboardInterrupt:
            self._save()
            raise stop.leave(f"saved a checkpoint of the {self.name} at step {state.step} of {total}") from None
        value = values[self.options.best_by]
        is_best = _is_better(value, state.best_value, lower=self.options.best_by in LOWER_IS_BETTER)
        if is_best:
            state.best_step, state.best_value = state.step, value
            self.model.save(self.folder / "best", texts=self.texts)
        self.log.write(kind="validation", step=state.step, epoch=state.epoch + 1, best=is_best, **values)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items() if math.isfinite(value))
        self.progress.note(f"{self.name}: epoch {state.epoch + 1}: {shown}{' (best so far)' if is_best else ''}")
        state.epoch, state.position = state.epoch + 1, 0
        self._save()

    def _save(self) -> None:
        checkpoint.save(
            self.folder / "checkpoints",
            self._state.step,
            self.model.module,
            self._inner_optimizer,
            {"loop": attrs.asdict(self._state)},
        )


def _is_better(value: float, best: float | None, *, lower: bool) -> bool:
    """Whether a validation beats the best so far; any number beats NaN, which means that no row counted."""
    if best is None or math.isnan(best):
        return best is None or not math.isnan(value)
    return value < best if lower else value > best
