"""The loop that trains students and fine-tunes teachers.

What is trained on in which order is a pure function of (seed, epoch), the noise one of (seed, step, process). Where the
loop stands is (epoch, position, step, parameters, optimizer, sums since the last log line), and a checkpoint holds all
of it: a run that was killed and resumed ends with the same weights, bit for bit, on the CPU with as many threads.

Batches are made and decoded ahead, in a thread. A step waits for the device only where it writes a log line.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import attrs
import torch

from kdkit.api.values import Moment
from kdkit.data.encoded_rows import EncodedRows, in_columns
from kdkit.errors import Lost, UsageError
from kdkit.logits.targets import counts_of
from kdkit.losses import loss_at
from kdkit.models.checkpoint_compile import lean
from kdkit.system.files import make_folder
from kdkit.system.signals import Stop, graceful
from kdkit.system.team import ALONE, Team
from kdkit.training import checkpoint, sharded
from kdkit.training.batching import Lengths, epoch_order, total_steps
from kdkit.training.feature_setup import helper_of
from kdkit.training.loading import AHEAD, Loader
from kdkit.training.prefetch import ahead
from kdkit.training.replicas import Replicas, noise_seed
from kdkit.training.schedule import learning_rate
from kdkit.training.state import FitResult, State, Sums
from kdkit.training.step_log import PARTS, StepLog, lag_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from kdkit.api.interfaces import LossMixer, TextModel
    from kdkit.api.options import Training
    from kdkit.api.values import Direction
    from kdkit.logits.targets import TargetSource
    from kdkit.system.progress import Progress, Task
    from kdkit.training.feature_helper import FeatureHelper
    from kdkit.training.loading import Loaded
    from kdkit.training.metrics_log import MetricsLog
    from kdkit.training.tokenloss import Forward


@attrs.define(kw_only=True)
class Trainer:
    """One training.

    Attributes:
        model: What is trained; on its device.
        rows: Training rows.
        options: How.
        loss: The loss.
        targets: Where the teacher's logits of a batch come from.
        validate: Called at each epoch's end, by every process; gives named values, the same in each,
            `options.best_by` among them.
        direction: Which values of `options.best_by` are better.
        seed: Seed of order and dropout.
        device: The model's device.
        folder: `best/`, `final/` and `checkpoints/` go here.
        texts: Text files that are saved with the model.
        log: Where metrics go.
        progress: Where progress is shown.
        name: "teacher", "student" or "labels-only student"; what is trained, for messages.
        lengths: How long the rows are in a batch.
        team: The processes that train together. A step's batch is the same however many they are: each takes its share
            of the rows of every micro-batch.
    """

    model: TextModel
    rows: EncodedRows = attrs.field(converter=in_columns)
    options: Training
    loss: LossMixer
    targets: TargetSource
    validate: Callable[[], dict[str, float]]
    direction: Direction
    seed: int
    device: str
    folder: Path
    texts: Mapping[str, str]
    log: MetricsLog
    progress: Progress
    name: str
    lengths: Lengths = attrs.Factory(lambda self: Lengths.of(self.rows), takes_self=True)
    team: Team = ALONE
    _state: State = attrs.field(factory=State, init=False)
    _total: int = attrs.field(default=0, init=False)
    _optimizer: Any = attrs.field(default=None, init=False)
    _replicas: Replicas = attrs.field(default=None, init=False)
    _forward: Forward = attrs.field(default=None, init=False)
    _helper: FeatureHelper | None = attrs.field(default=None, init=False)
    _load: Loader = attrs.field(default=None, init=False)
    _steps: StepLog = attrs.field(default=None, init=False)

    def fit(self) -> FitResult:
        """Train from the start or from the newest valid checkpoint, to the end.

        Raises:
            KdkitError: The loss or the gradient became NaN or infinite; or another process of the team is gone.
            Interrupted: A signal came; a checkpoint was written.
        """
        self._prepare()
        state, options = self._state, self.options
        self._total = total_steps(self.lengths, options, seed=self.seed)
        with (
            lean(self.model, options),
            self._replicas.guard(),
            graceful() as stop,
            self.progress.task(f"train {self.name}", total=self._total, unit="steps", done=state.step) as task,
        ):
            while state.epoch < options.epochs and (state.step < self._total or state.position):
                self._epoch(task, stop)
        self._save_model("final")
        return state.result()

    def _prepare(self) -> None:
        torch.manual_seed(self.seed)
        make_folder(self.folder)
        self._helper = helper_of(self.loss, self.model, self.rows, self.targets, seed=self.seed, device=self.device)
        self._place()
        sums = Sums()
        newest = self.team.lead_does(lambda: checkpoint.newest(self.folder / "checkpoints"))
        if newest is not None:
            saved = checkpoint.load(newest, self._modules, self._optimizer)
            self._state, sums = State(**saved["loop"]), Sums(**saved["sums"])
            self.progress.note(f"{self.name}: resuming from the checkpoint at step {self._state.step}")
        if self.team.leads:
            self.log.rewind(step=self._state.step, epochs=self._state.epoch)
        self._steps = StepLog(
            name=self.name,
            rows=self.rows,
            lengths=self.lengths,
            lag=lag_of(self.device),
            sums=sums,
            compares_states=self._helper is not None,
            is_bf16=self.options.precision == "bf16",
        )

    def _place(self) -> None:
        """Put the same model into all processes, or spread it over them."""
        spread = self.team.size > 1 and sharded.is_asked_for()
        if spread and self._helper is not None:
            raise UsageError(
                "the loss compares hidden states, which are not available under FSDP; leave loss.features "
                "out, or start the run without FSDP"
            )
        self._replicas = (sharded.Sharded if spread else Replicas).place(self.team, tuple(self._modules.values()))
        self._forward = self._replicas.forward_of(self.model)
        self._optimizer = torch.optim.AdamW(
            self._replicas.parameters,
            lr=self.options.learning_rate,
            weight_decay=self.options.weight_decay,
            fused=True,  # on the CPU, twelve times as fast as torch's default
        )
        self._load = Loader(
            rows=self.rows,
            targets=self.targets,
            pad_id=self.model.tokenizer.pad_token_id,
            device=self.device,
            team=self.team,
            everyone_works=self._replicas.everyone_works,
        )

    @property
    def _modules(self) -> dict[str, torch.nn.Module]:
        """The trained modules, the model first; only the model is saved."""
        modules = {"model": self.model.module}
        return modules if self._helper is None else {**modules, "projection": self._helper.projection}

    def _epoch(self, task: Task, stop: Stop) -> None:
        """The rest of the current epoch, its validation, and the checkpoint that begins the next."""
        state, size = self._state, self.options.accumulation
        batches = epoch_order(self.lengths, self.options, seed=self.seed, epoch=state.epoch)
        starts = range(state.position, len(batches), size)[: self._total - state.step]
        windows = [batches[start : start + size] for start in starts]
        self.model.module.train()
        self._steps.start_clock()
        with ahead(self._load, (batch for window in windows for batch in window), depth=AHEAD) as loaded:
            for window in windows:
                asked = self._step(window, loaded, task, stop)
                state.position += len(window)
                if state.step % self.options.log_every == 0 or state.step == self._total:
                    done = math.ceil(state.position / size) / math.ceil(len(batches) / size)
                    self._log_training(state.epoch + done)
                if asked or (state.step % self.options.checkpoint_every == 0 and window is not windows[-1]):
                    self._save()
                if asked:
                    raise self._leave(stop)
        self._finish_epoch(len(batches), stop)
        if self._replicas.agree(stop):
            raise self._leave(stop)

    def _step(self, window: list[list[int]], loaded: Iterator[Loaded], task: Task, stop: Stop) -> bool:
        """One optimizer step over a window of micro-batches; every mean is over the tokens of the whole window.

        Returns:
            Whether a signal has asked a process of the team to stop: the same in all of them.
        """
        state, optimizer = self._state, self._optimizer
        counts = counts_of(self.rows.take([index for indices in window for index in indices]), self.targets)
        loss = loss_at(self.loss, Moment(share=state.step / max(self._total - 1, 1), epoch=state.epoch))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(state.step, self._total, self.options)
        torch.manual_seed(noise_seed(self.seed, state.step, self.team.rank))
        values = torch.zeros(len(window), len(PARTS), device=self.device)
        for number in range(len(window)):
            batch_and_targets = next(loaded)
            if batch_and_targets is None:
                continue
            with self._autocast():
                tokens = self._forward(*batch_and_targets)
            parts = tokens.backward(loss, counts, helper=self._helper, autocast=self._autocast)
            values[number] = torch.stack([getattr(parts, name) for name in PARTS])
            del tokens, batch_and_targets
        asked = self._replicas.agree(stop)
        self._replicas.add_up(values)
        grad_norm = self._replicas.clip(self.options.max_grad_norm)
        self._steps.add(state.step + 1, window, counts, values, grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        state.step += 1
        task.advance(1, **self._steps.shown())
        return asked

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            device_type=self.device.split(":")[0], dtype=torch.bfloat16, enabled=self.options.precision == "bf16"
        )

    def _log_training(self, epochs: float) -> None:
        rate = self._optimizer.param_groups[0]["lr"]
        self._write(kind="train", step=self._state.step, epoch=epochs, learning_rate=rate, **self._steps.close())

    def _finish_epoch(self, batches: int, stop: Stop) -> None:
        """Validate, keep the model if it is the best so far, and write the checkpoint that the next epoch begins at."""
        state = self._state
        state.position = batches
        self._settle()
        self.model.module.eval()
        try:
            # Where saving takes all processes, none of them may leave the others in the middle.
            at_once = nullcontext() if self._replicas.everyone_works else stop.at_once()
            with at_once, self._replicas.whole():
                values = self.validate()
        except KeyboardInterrupt:
            self._save()
            raise self._leave(stop) from None
        except Lost:
            if self._replicas.everyone_works:
                raise
            self._save()  # for what stopped the other process may stop this one too
            if stop:
                raise self._leave(stop) from None
            raise
        is_best = state.is_best(value := values[self.options.best_by], self.direction)
        if is_best:
            state.best_step, state.best_value = state.step, value
            self._save_model("best")
        self._write(kind="validation", step=state.step, epoch=state.epoch + 1, best=is_best, **values)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items() if math.isfinite(value))
        self.progress.note(f"{self.name}: epoch {state.epoch + 1}: {shown}{' (best so far)' if is_best else ''}")
        state.epoch, state.position = state.epoch + 1, 0
        self._steps.start_clock()  # what came after the last step was no training
        self._save()

    def _settle(self) -> None:
        """Refuse a step whose loss, gradient or weights are not finite, before anything of it is kept."""
        self._steps.settle()
        self._steps.check_weights(self._state.step, self._replicas.not_finite())

    def _leave(self, stop: Stop) -> Exception:
        return stop.leave(f"saved a checkpoint of the {self.name} at step {self._state.step} of {self._total}")

    def _write(self, **facts: Any) -> None:
        if self.team.leads:
            self.log.write(**facts)

    def _save_model(self, name: str) -> None:
        with self._replicas.whole():
            if self.team.leads:
                self.model.save(self.folder / name, texts=self.texts)

    def _save(self) -> None:
        """Write a checkpoint, and before it the lines of `metrics.jsonl` that it has."""
        self._settle()
        if not self.team.leads and not self._replicas.everyone_works:
            return
        collected = checkpoint.collect(self._modules, self._optimizer, keep=self.team.leads)
        if self.team.leads:
            self.log.sync()
            state = {"loop": attrs.asdict(self._state), "sums": attrs.asdict(self._steps.sums)}
            checkpoint.save(self.folder / "checkpoints", self._state.step, collected, state)
