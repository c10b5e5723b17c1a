"""Collects the numbers of an evaluation: each row's value of each score, and the scores made of them.

Letters: R rows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import numpy as np

from kdkit.api.values import Direction, Interval, Score
from kdkit.errors import KdkitError
from kdkit.evaluation.calibration import BINS, Bins
from kdkit.evaluation.intervals import weighted_mean
from kdkit.evaluation.losses import loss_samples
from kdkit.evaluation.resampling import compare, mean_over_seeds
from kdkit.evaluation.row_scores import RowKey, RowScores
from kdkit.evaluation.scoring import Column, columns_of, differences_of, scores_of
from kdkit.evaluation.tokens import FIRST

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from kdkit.api.suites import NamedSuite
    from kdkit.api.values import Difference, Example
    from kdkit.evaluation.label_texts import LabelTexts
    from kdkit.evaluation.losses import RowLoss
    from kdkit.evaluation.row_scores import Array
    from kdkit.evaluation.tokens import RowTokens

    # Against what, the metric, and by row the sum and what it is a mean over.
    _TokenScore: TypeAlias = tuple[str, str, Array, Array]

LOSSES, TOKENS, TEXTS = "loss", "tokens", "texts"
"""Names under `Score.suite` for what kdkit measures itself, without a metric suite."""


@attrs.define(kw_only=True, eq=False)
class Evidence:
    """Scores of several models on the same rows.

    Attributes:
        examples: The rows.
        texts: The text of their labels.
        documents: By row, the document that it is a part of; None where each row stands for itself.
        suites: What texts are scored with.
        resamples: Resamplings behind each interval.
        seed: Determines them.
        together: Rows whose tokens a loss averages together; 0 for all (see `Evaluation.rows_together`).
        scores: What came of it.
        bins: Those of each model's tokens.
        failures: Of suites that failed, why: they are not asked again, and the others' scores are kept.
    """

    examples: Sequence[Example]
    texts: LabelTexts
    documents: tuple[str, ...] | None = None
    suites: Sequence[NamedSuite]
    resamples: int
    seed: int
    together: int
    scores: list[Score] = attrs.field(factory=list, init=False)
    bins: dict[str, Bins] = attrs.field(factory=dict, init=False)
    failures: dict[str, str] = attrs.field(factory=dict, init=False)
    _columns: dict[tuple[str, str], list[Column]] = attrs.field(factory=dict, init=False)
    _values: dict[RowKey, Array] = attrs.field(factory=dict, init=False)
    _weights: dict[RowKey, Array] = attrs.field(factory=dict, init=False)
    _gaps: dict[RowKey, Array] = attrs.field(factory=dict, init=False)
    _logs: dict[RowKey, Array] = attrs.field(factory=dict, init=False)

    @property
    def rows(self) -> RowScores:
        """Each row's value of each score."""
        ids = tuple(example.id for example in self.examples)
        return RowScores(
            ids=ids,
            values=self._values,
            weights=self._weights,
            gaps=self._gaps,
            logs=self._logs,
            documents=self.documents,
        )

    def add_texts(
        self, model: str, against: str, texts: Sequence[str], references: Sequence[str], *, more: Sequence[Column] = ()
    ) -> None:
        """Score texts with every suite.

        Args:
            model: Whose texts.
            against: Whose the references are: "truth" or "teacher".
            texts: A text a row.
            references: What each is compared with.
            more: What else is known of them.
        """
        columns: list[Column] = []
        for named in self.suites:
            if named.name in self.failures:
                continue
            try:
                columns += columns_of([named], texts, references, self.examples)
            except KdkitError as error:
                self.failures[named.name] = str(error)
        self.add_columns(model, against, [*columns, *more])

    def add_columns(self, model: str, against: str, columns: Sequence[Column]) -> None:
        """Score the known facts of texts."""
        self.scores += scores_of(
            model, against, columns, resamples=self.resamples, seed=self.seed, document_R=self.rows.document_numbers
        )
        self._columns.setdefault((model, against), []).extend(columns)
        self._values |= {RowKey(model, against, each.suite, each.metric): each.values_R for each in columns}

    def add_loss(self, model: str, against: str, name: str, losses: Sequence[RowLoss]) -> None:
        """Score a loss, unless no token counts.

        Args:
            model: Whose.
            against: "truth", "teacher" or "truth and teacher".
            name: "hard", "soft" or "total".
            losses: See `kdkit.evaluation.losses.row_losses`.
        """
        values, weights = loss_samples(losses, name, self.together)
        if not values:
            return
        tokens_R = np.array([row.tokens(name) for row in losses], dtype=np.float64)
        found = weighted_mean(
            np.array(values),
            np.array(weights, dtype=np.float64),
            count=int(np.count_nonzero(tokens_R)),
            resamples=self.resamples,
            seed=self.seed,
            # A batch is of rows that came together, whatever they are parts of.
            document_R=None if self.together else self.rows.document_numbers,
        )
        key = RowKey(model, against, LOSSES, name)
        self.scores.append(Score(**key._asdict(), direction=Direction.LOWER, **attrs.asdict(found)))
        sums_R = np.array([getattr(row, name) for row in losses])
        # In a mean over batches a row counts by its share of its batch's tokens, so that each batch counts as 1.
        self._add(key, sums_R, tokens_R, tokens_R / _batch_sums(tokens_R, self.together) if self.together else tokens_R)

    def add_tokens(self, model: str, tokens: Sequence[RowTokens], losses: Sequence[RowLoss]) -> None:
        """Score a model's tokens under teacher forcing, as far as they are known.

        Args:
            model: Whose.
            tokens: What each row's most likely tokens are.
            losses: Each row's hard loss; NaN where it is not known.
        """

        def of(name: str) -> Array:
            return np.array([getattr(row, name) for row in tokens], dtype=np.float64)

        nats_R, counted_R = (np.array([getattr(row, name) for row in losses]) for name in ("hard", "hard_tokens"))
        nats_R, bytes_R = np.where(counted_R > 0, nats_R, 0.0), np.where(counted_R > 0, self.texts.bytes_R, 0.0)
        lines = [row.right_lines(each) for row, each in zip(tokens, self.texts.lines, strict=True)]
        right_R, lines_R = np.array(lines, dtype=np.float64).reshape(-1, 2).T
        accepted: list[_TokenScore] = [("teacher", "acceptance", of("accepted"), of("judged"))]
        if any(row.is_bound for row in tokens):
            accepted = [
                ("teacher", "acceptance_at_least", of("accepted"), of("judged")),
                ("teacher", "acceptance_at_most", of("accepted_at_most"), of("judged")),
            ]
        found: list[_TokenScore] = [
            ("truth", "accuracy", of("right"), of("tokens")),
            ("truth", "line_match", right_R, lines_R if self.texts.has_lines else np.zeros_like(lines_R)),
            ("teacher", "agreement", of("agreed"), of("compared")),
            ("teacher", f"top_{FIRST}_agreement", of("among"), of("compared")),
            *accepted,
            ("truth", "bits_per_byte", nats_R / math.log(2), bytes_R),
        ]
        for against, metric, sums_R, weights_R in found:
            key = RowKey(model, against, TOKENS, metric)
            if weights_R.any():
                self._add(key, sums_R, weights_R, weights_R)
                self._score(key, Direction.LOWER if metric == "bits_per_byte" else Direction.HIGHER)
        if counted_R.any():
            key = RowKey(model, "truth", TOKENS, "perplexity")
            self._logs[key] = _means(nats_R, counted_R)
            self._weights[key] = counted_R.astype(np.float64)
            self._score(key, Direction.LOWER)
        whole = sum((row.bins for row in tokens), Bins())
        if whole.tokens:
            key = RowKey(model, "truth", TOKENS, "ece")
            self.bins[model] = whole
            self._gaps[key] = np.array([row.bins.gaps if row.bins.tokens else np.full(BINS, np.nan) for row in tokens])
            self._weights[key] = np.array([row.bins.tokens for row in tokens], dtype=np.float64)
            self._score(key, Direction.LOWER)

    def differences(self, than: str) -> list[Difference]:
        """The student minus another model, in the scores that both have against the truth, and in imitation.

        None where the other has no scores.
        """
        student, other = (self._columns.get((model, "truth"), []) for model in ("student", than))
        rows, keys = self.rows, []
        found = differences_of(
            student, other, resamples=self.resamples, seed=self.seed, than=than, document_R=rows.document_numbers
        )
        directions = {(each.suite, each.metric): each.direction for each in self.scores}
        for against, suite, metric in (
            ("teacher", TEXTS, "agreement"),
            ("truth", LOSSES, "hard"),
            ("teacher", LOSSES, "soft"),
            *(("truth", TOKENS, metric) for metric in ("accuracy", "line_match", "perplexity", "bits_per_byte", "ece")),
            *(("teacher", TOKENS, metric) for metric in ("agreement", f"top_{FIRST}_agreement", "acceptance")),
            *(("teacher", TOKENS, f"acceptance_at_{end}") for end in ("least", "most")),
        ):
            keys.append((RowKey("student", against, suite, metric), RowKey(than, against, suite, metric)))
        return found + [
            compare(
                [rows],
                [rows],
                ours,
                theirs,
                direction=directions[ours.suite, ours.metric],
                resamples=self.resamples,
                seed=self.seed,
            )
            for ours, theirs in keys
            if ours in rows.keys and theirs in rows.keys
        ]

    def _add(self, key: RowKey, sums_R: Array, tokens_R: Array, weights_R: Array) -> None:
        """Keep sums over tokens as means of rows; a row without tokens does not count."""
        self._values[key] = _means(sums_R, tokens_R)
        self._weights[key] = weights_R

    def _score(self, key: RowKey, direction: Direction) -> None:
        found = mean_over_seeds([self.rows], key, resamples=self.resamples, seed=self.seed)
        interval = {name: getattr(found, name) for name in attrs.fields_dict(Interval)}
        self.scores.append(Score(**key._asdict(), direction=direction, **interval))


def _means(sums_R: Array, counts_R: Array) -> Array:
    """The mean of each row; NaN where nothing counts."""
    return np.divide(sums_R, counts_R, out=np.full_like(sums_R, math.nan), where=counts_R > 0)


def _batch_sums(tokens_R: Array, size: int) -> Array:
    """For each row, the tokens of its batch of `size` rows; 1 if the batch has none."""
    batch_tokens = np.add.reduceat(tokens_R, np.arange(0, len(tokens_R), size))
    sums_R: Array = np.maximum(np.repeat(batch_tokens, size)[: len(tokens_R)], 1)
    return sums_R
