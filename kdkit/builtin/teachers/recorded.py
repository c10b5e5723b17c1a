"""The teacher `recorded`: predictions and logits that came with the rows of the data set.

Letters in names of arrays: T target, V vocabulary.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING

import attrs
from attrs import validators

from kdkit.api.interfaces import RecordedSource
from kdkit.api.options import option, positive
from kdkit.api.values import Grid, TeacherBlock
from kdkit.builtin.teachers import named_tokenizer
from kdkit.builtin.teachers.from_elsewhere import MadeElsewhere, OpenFromElsewhere
from kdkit.builtin.teachers.label_check import LabelCheck, aligned_tokens
from kdkit.errors import Mismatch, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from kdkit.api.interfaces import DataSource, Tokenizer
    from kdkit.api.values import Corpus, EncodedExample, Example, FloatArray, RecordedLogits
    from kdkit.system.progress import Progress

CHECKED_ROWS = 64


@attrs.frozen(kw_only=True)
class RecordedTeacher(MadeElsewhere):
    """A teacher without its model: its texts and logits came with the data set."""

    named, instead = "a recorded teacher", "hf-seq2seq"

    tokenizer: str = option(
        "The tokenizer whose ids the logits are over: its name on the hub, or the path of its folder."
    )
    src_lang: str = named_tokenizer.src_lang()
    tgt_lang: str = named_tokenizer.tgt_lang()
    logit_scale: float = option(
        "Number by which the recorded logits are multiplied; 0.0361 (768 ** -0.5) makes up for a missing factor "
        "d_model ** -0.5 in the logits of a T5 model with tied embeddings and d_model 768.",
        default=1.0,
        check=validators.and_(positive, validators.lt(math.inf)),
    )

    def check_inputs(self) -> None:
        """Refuse a tokenizer that is not available.

        Raises:
            MissingInput: It is not there.
            UsageError: What is there is not a tokenizer that kdkit can use, or it does not know the languages.
        """
        self._named_tokenizer()

    def load_tokenizer(self, corpus: Corpus) -> Tokenizer:  # noqa: ARG002 - other teachers train theirs on the corpus
        """The tokenizer that the recorded logits were made with.

        Raises:
            MissingInput: It is not available.
        """
        return self._named_tokenizer()

    def _named_tokenizer(self) -> Tokenizer:
        return named_tokenizer.load(self.tokenizer, src_lang=self.src_lang, tgt_lang=self.tgt_lang)

    def open(
        self,
        folder: Path | None,  # noqa: ARG002 - nothing was made
        source: DataSource,
        corpus: Corpus,
        *,
        device: str,  # noqa: ARG002 - nothing is computed
    ) -> OpenRecorded:
        """Ready to be asked: for texts with any data set, for logits with one whose rows came with them.

        Raises:
            MissingInput: The tokenizer is not available.
        """
        tokenizer = self.load_tokenizer(corpus)
        return OpenRecorded(
            tokenizer=tokenizer,
            source=source,
            predictions={example.id: example.prediction for split in _splits(corpus) for example in split},
            identity=_digest(source, corpus, self.logit_scale),
            logit_scale=self.logit_scale,
            aligned=aligned_tokens((example for split in _splits(corpus) for example in split), tokenizer),
        )


class OpenRecorded(OpenFromElsewhere):
    """Recorded predictions and logits, ready to be asked."""

    without_text = ' of the teacher, but teacher "recorded" needs one in every row that it is asked for'

    def __init__(
        self,
        *,
        tokenizer: Tokenizer,
        source: DataSource,
        predictions: Mapping[str, str | None],
        identity: str,
        logit_scale: float,
        aligned: Mapping[str, int],
    ) -> None:
        super().__init__(predictions)
        self._tokenizer = tokenizer
        self._source = source
        self._identity = identity
        self._logit_scale = logit_scale
        self._aligned = aligned
        self._vocabulary: tuple[int, str] | None = None
        self._checked = False

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer whose ids the logits are over."""
        return self._tokenizer

    @property
    def identity(self) -> str:
        """Digest of the recorded data and of the scale of their logits."""
        return self._identity

    @property
    def vocab_size(self) -> int:
        """Width of the recorded logits, read off the first row.

        Raises:
            UsageError: The rows of the data set came without logits.
        """
        if self._vocabulary is None:
            stream = self._recorded()
            first = next(stream, None)
            if first is None:
                raise UsageError('the data set has no row with logits, which teacher "recorded" needs')
            self._vocabulary = (first.read(1)[0].shape[-1], first.id)
        return self._vocabulary[0]

    def logits(
        self, rows: Sequence[EncodedExample], progress: Progress, *, done: Collection[str] = ()
    ) -> Iterator[TeacherBlock]:
        """A block for each row, in the data set's order, in one pass over it.

        Notes how well the first rows' logits agree with their labels, and how many rows have too few logits.

        Raises:
            UsageError: The rows came without logits, or these do not fit each other's or the labels' vocabulary.
            Mismatch: The data set no longer gives logits for a row.
        """
        wanted = {row.id: row.target_ids for row in rows if row.id not in done}
        short = 0
        check = None if self._checked else LabelCheck(self._logit_scale)
        stream = self._recorded() if wanted else iter(())
        for recorded in stream:
            labels_T = wanted.pop(recorded.id, None)
            if labels_T is None:
                continue
            logits_TV, grid = recorded.read(min(len(labels_T), self._aligned.get(recorded.id, len(labels_T))))
            self._check_vocabulary(recorded.id, logits_TV, labels_T)
            short += len(logits_TV) < len(labels_T)
            logits_TV, grid = scale_logits(logits_TV, grid, self._logit_scale)
            if check is not None:
                check.add(logits_TV, labels_T)
                if check.rows == CHECKED_ROWS or not wanted:
                    self._checked = True
                    progress.note(check.sentence())
                    check = None
            yield TeacherBlock(id=recorded.id, logits_TV=logits_TV, grid=grid)
            if not wanted:
                break
        if wanted:
            raise Mismatch(
                f"the data set no longer has logits for {len(wanted)} of {len(rows)} rows (first "
                f"{next(iter(wanted))}); its file has changed since it was read, so run again with --fresh"
            )
        if short:
            progress.note(
                f"{short} of {len(rows)} rows have fewer recorded logits than labels; the soft loss covers "
                "only the tokens with logits"
            )

    def _recorded(self) -> Iterator[RecordedLogits]:
        if not isinstance(self._source, RecordedSource):
            raise UsageError(
                'teacher "recorded" needs a data set whose rows came with logits, such as assertion-zip, but '
                f"{type(self._source).__name__} has none; use another data set, a teacher that computes its "
                "own, or a loss that needs none (alpha = 0)"
            )
        return self._source.recorded()

    def _check_vocabulary(self, id_: str, logits_TV: FloatArray, labels_T: tuple[int, ...]) -> None:
        width = logits_TV.shape[-1]
        if self._vocabulary is None:
            self._vocabulary = (width, id_)
        expected, first = self._vocabulary
        if width != expected:
            raise UsageError(
                f"the logits of row {id_} are over {width} tokens, but those of row {first} are over {expected}"
            )
        if max(labels_T, default=0) >= width:
            raise UsageError(
                f"row {id_} has the label {max(labels_T)}, but its logits are over only {width} tokens; set "
                "teacher.tokenizer to the one that they were made with"
            )


def scale_logits(logits_TV: FloatArray, grid: Grid | None, factor: float) -> tuple[FloatArray, Grid | None]:
    """Logits times a factor; those on a grid lie exactly on the scaled grid afterwards, rounding included."""
    import numpy as np

    if factor == 1.0:
        return logits_TV, grid
    if grid is None:
        return logits_TV * np.float32(factor), None
    scaled = Grid(scale=grid.scale * factor, zero_point=grid.zero_point, bits=grid.bits)
    steps_TV = np.rint(logits_TV / np.float32(grid.scale) + np.float32(grid.zero_point))
    return (steps_TV - np.float32(scaled.zero_point)) * np.float32(scaled.scale), scaled


def _splits(corpus: Corpus) -> tuple[Sequence[Example], ...]:
    return corpus.train, corpus.validation, corpus.test


def _digest(source: DataSource, corpus: Corpus, logit_scale: float) -> str:
    """SHA-256 of the rows with their meta (where a data set puts a checksum of its logits), its class and the scale.

    The data set's options do not count: the same rows from another path are the same recording.
    """
    kind = type(source)
    digest = hashlib.sha256()
    for part in (
        [f"{kind.__module__}:{kind.__qualname__}", logit_scale],
        *(
            [example.id, example.source, example.target, example.prediction, dict(example.meta)]
            for split in _splits(corpus)
            for example in split
        ),
    ):
        digest.update(json.dumps(part, sort_keys=True, default=str).encode() + b"\n")
    return digest.hexdigest()
