"""The losses of a model on held-out rows, and the measure that picks the best epoch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import torch

from kdkit.data.encoded_rows import EncodedRows
from kdkit.data.tokens import collate, length_sorted
from kdkit.logits.targets import counts_of
from kdkit.models.generation import own_rows, predict
from kdkit.system.progress import Silent
from kdkit.system.team import ALONE, Team
from kdkit.training.tokenloss import Forward

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kdkit.api.interfaces import LossMixer, TextModel
    from kdkit.api.options import Generation
    from kdkit.api.suites import NamedSuite
    from kdkit.api.values import EncodedExample, Example, TokenCounts
    from kdkit.logits.targets import TargetSource
    from kdkit.system.progress import Progress
    from kdkit.training.tokenloss import Part


@attrs.define(kw_only=True)
class RowLoss:
    """One row's share of each loss: a sum, and the tokens that go into the denominator.

    A loss of several rows is the sum of their sums over the sum of their tokens. `total` is so scaled that this holds
    for it too, within the rows that are averaged together (see `row_losses`), whatever tokens its terms are means over.
    """

    total: float = 0.0
    hard: float = 0.0
    soft: float = 0.0
    hard_tokens: int = 0
    soft_tokens: int = 0

    def tokens(self, name: str) -> int:
        """The tokens behind a loss: teacher rows for the soft one, labels for the others."""
        return self.soft_tokens if name == "soft" else self.hard_tokens


def row_losses(
    rows: Sequence[EncodedExample],
    forward: Forward,
    loss: LossMixer,
    targets: TargetSource,
    *,
    pad_id: int,
    device: str,
    batch_size: int,
    together: int = 0,
    team: Team = ALONE,
    watch: Callable[[str, Part], None] | None = None,
    progress: Progress | None = None,
    name: str = "",
) -> list[RowLoss]:
    """The losses of each row, in the rows' order; the forward pass runs in batches of like length.

    Of several processes each takes some of the batches, and all have every row's losses in the end.

    A loss is called row by row with the denominators of all rows that are averaged together, as a training step over
    micro-batches calls it. So the rows' parts add up to the loss of these rows, also where teacher rows are missing.

    Args:
        rows: What is measured on.
        forward: A model's forward pass.
        loss: The loss.
        targets: The teacher's rows of a batch.
        pad_id: Padding id.
        device: Where the model is.
        batch_size: Rows a batch of the forward pass.
        together: Rows whose tokens are averaged together, in the rows' order; 0 for all.
        team: The processes that do this.
        watch: Shown each part that this process computes, with its row's id: see `kdkit.evaluation.tokens.TokenWatch`.
        progress: Where it is shown how many rows are done; by default nowhere.
        name: What is done, for the progress.
    """
    rows, shown = EncodedRows.of(rows), progress or Silent()
    counts = _shared_counts(rows, targets, together)
    batches = team.own(length_sorted(rows, batch_size))
    losses = {id_: RowLoss() for batch_rows in batches for id_ in batch_rows.each_id()}
    with torch.inference_mode(), shown.task(name, total=len(losses), unit="rows") as task:
        for batch_rows in batches:
            batch = collate(batch_rows, pad_id=pad_id, device=device)
            tokens = forward(batch, targets(batch))
            for part in tokens.parts(loss, lambda example, ids=batch.ids: counts[ids[example]]):  # type: ignore[misc]
                row, shared = losses[batch.ids[part.example]], counts[batch.ids[part.example]]
                row.total += float(part.parts.total) * shared.hard
                row.hard += float(part.parts.hard) * shared.hard
                row.soft += float(part.parts.soft) * shared.soft
                row.hard_tokens += part.hard_tokens
                row.soft_tokens += part.soft_tokens
                if watch is not None:
                    watch(batch.ids[part.example], part)
            task.advance(len(batch_rows))
    everyones = {row_id: row_loss for share in team.gather(losses) for row_id, row_loss in share.items()}
    return [everyones[id_] for id_ in rows.each_id()]


def _shared_counts(rows: EncodedRows, targets: TargetSource, together: int) -> dict[str, TokenCounts]:
    """Each row's id to the tokens of all rows that it is averaged with."""
    size = together or len(rows) or 1
    groups = [rows[start : start + size] for start in range(0, len(rows), size)]
    return {id_: counts for group in groups for counts in [counts_of(group, targets)] for id_ in group.each_id()}


def loss_samples(losses: Sequence[RowLoss], name: str, together: int) -> tuple[list[float], list[int]]:
    """A loss as values and weights whose weighted mean it is; empty where no token counts.

    They are what an interval resamples: rows, each weighted by its tokens, or batches of `together` rows, all alike.
    Of the total, a row's value is its part of the loss over its share of the labels: resampling keeps the balance of
    the hard and the soft term that all rows together have.
    """
    size = together or 1
    groups = [losses[start : start + size] for start in range(0, len(losses), size)]
    counted = [
        (sum(getattr(row, name) for row in group if row.tokens(name)), tokens)
        for group in groups
        if (tokens := sum(row.tokens(name) for row in group))
    ]
    return [total / tokens for total, tokens in counted], [1 if together else tokens for _, tokens in counted]


def loss_means(losses: Sequence[RowLoss], together: int) -> dict[str, float]:
    """`loss`, `hard` and `soft` in nats, NaN where no token counts.

    Args:
        losses: See `row_losses`.
        together: 0 for means over all tokens; else means over batches of so many rows.
    """

    def mean(name: str) -> float:
        values, weights = loss_samples(losses, name, together)
        weighted = [value * weight for value, weight in zip(values, weights, strict=True)]
        return math.fsum(weighted) / sum(weights) if weights else math.nan

    return {"loss": mean("total"), "hard": mean("hard"), "soft": mean("soft")}


@attrs.frozen(kw_only=True, eq=False)
class Validator:
    """The measures at the end of an epoch.

    Attributes:
        model: The model in training.
        examples: Validation rows, as text.
        rows: The same, as token ids.
        prompts: What the model reads to write a text for each.
        loss: The loss.
        targets: The teacher's logits.
        generation: How texts are generated, where they are needed.
        suite: Name and suite of the metric that picks the best epoch; None where a loss does.
        batch_size: Rows a batch for the losses.
        device: The model's device.
        progress: Where progress is shown.
        together: Rows whose tokens a loss averages together; 0 for all (see `Evaluation.rows_together`).
        team: The processes that train the model, and judge it together.
    """

    model: TextModel
    examples: Sequence[Example]
    rows: Sequence[EncodedExample]
    prompts: Sequence[EncodedExample]
    loss: LossMixer
    targets: TargetSource
    generation: Generation
    suite: NamedSuite | None
    batch_size: int
    device: str
    progress: Progress
    together: int = 0
    team: Team = ALONE

    def __call__(self) -> dict[str, float]:
        """Losses, and every metric of the suite against the ground truth as "SUITE.METRIC".

        All processes of the team get the same.
        """
        losses = row_losses(
            self.rows,
            Forward.of(self.model),
            self.loss,
            self.targets,
            pad_id=self.model.tokenizer.pad_token_id,
            device=self.device,
            batch_size=self.batch_size,
            together=self.together,
            team=self.team,
            progress=self.progress,
            name="validate",
        )
        values = loss_means(losses, self.together)
        named = self.suite
        if named is None:
            return values
        texts = self._texts()
        return values | self.team.lead_does(lambda: self._scores(named, texts))

    def _texts(self) -> dict[str, str]:
        """The model's text for each row, by its id."""
        own = own_rows(self.prompts, self.generation.batch_size, self.team)
        others = {row.id for row in self.rows} - own
        texts: dict[str, str] = {}
        with self.progress.task("validate", total=len(own), unit="rows") as task:
            for prediction in predict(self.model, self.prompts, self.generation, device=self.device, done=others):
                texts[prediction.id] = prediction.text
                task.advance()
        return {row_id: text for share in self.team.gather(texts) for row_id, text in share.items()}

    def _scores(self, named: NamedSuite, texts: dict[str, str]) -> dict[str, float]:
        """The metrics of the texts."""
        generated = [texts[example.id] for example in self.examples]
        by_row = named.score(generated, [example.target for example in self.examples], self.examples)
        return {f"{named.name}.{metric}": _mean(of_rows) for metric, of_rows in by_row.items()}


def _mean(scores: Sequence[float | None]) -> float:
    counted = [score for score in scores if score is not None]
    return sum(counted) / len(counted) if counted else float("nan")
