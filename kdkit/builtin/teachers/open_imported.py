"""The teacher `imported`, open: rows found among another tool's sequences, and their log-probabilities as blocks.

Letters in names of arrays: T target, K entries, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kdkit.api.values import EntriesBlock, TeacherBlock
from kdkit.builtin.teachers.from_elsewhere import OpenFromElsewhere
from kdkit.builtin.teachers.said_of_guest import NONE
from kdkit.data.encoded_rows import EncodedRows
from kdkit.data.guests import checks
from kdkit.data.guests.agreement import Agreement
from kdkit.data.guests.binding import Binding, covered, nearest
from kdkit.errors import Mismatch, UsageError
from kdkit.models import target_size
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.values import Corpus, EncodedExample
    from kdkit.builtin.teachers.said_of_guest import Said
    from kdkit.data.guests.guest import Guest, Positions
    from kdkit.system.progress import Progress


def opened(said: Said, tokenizer: Tokenizer, corpus: Corpus) -> OpenImported:
    """The open teacher: of some entries of each token, or of all.

    Raises:
        MissingInput: The log-probabilities are not there.
        UsageError: They are not what kdkit can read.
        DamagedData: They are cut or damaged.
    """
    guest = said.open(tokenizer)
    kind = OpenImported if guest.is_whole else OpenImportedEntries
    splits = (corpus.train, corpus.validation, corpus.test)
    return kind(
        said=said,
        tokenizer=tokenizer,
        guest=guest,
        predictions={example.id: example.prediction for split in splits for example in split if example.prediction},
        held_out={example.id for split in splits[1:] for example in split},
        identity=said.identity(),
    )


class OpenImported(OpenFromElsewhere):
    """Log-probabilities over the whole vocabulary, ready to be asked."""

    without_text = (
        ', and the teacher "imported" writes none; set evaluation.suites = [], or name the field of its texts with '
        "data.prediction"
    )

    def __init__(
        self,
        *,
        said: Said,
        tokenizer: Tokenizer,
        guest: Guest,
        predictions: Mapping[str, str | None],
        held_out: Collection[str],
        identity: str,
    ) -> None:
        super().__init__(predictions)
        self._said = said
        self._tokenizer = tokenizer
        self._guest = guest
        self._held_out = held_out
        self._identity = identity

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer whose ids the logits are over."""
        return self._tokenizer

    @property
    def identity(self) -> str:
        """Digest of the files and of what the recipe says of them."""
        return self._identity

    @property
    def vocab_size(self) -> int:
        """Width of the logits: of some entries, that of the tokenizer."""
        return (
            target_size(self._tokenizer) if self._guest.width is None or not self._guest.is_whole else self._guest.width
        )

    @property
    def in_words(self) -> str:
        """Whose logits these are, and what is known of them."""
        return self._said.known(self._tokenizer).in_words

    def logits(
        self, rows: Sequence[EncodedExample], progress: Progress, *, done: Collection[str] = ()
    ) -> Iterator[TeacherBlock]:
        """A block for each row, in the order of the sequences.

        Raises:
            Mismatch: Rows have no log-probabilities.
            DamagedData: A file is cut or damaged.
        """
        for row, positions, part in self._found(rows, progress, done):
            if positions is None:
                logits_TV = np.empty((0, self.vocab_size), np.float32)
            else:
                checks.check_whole(positions)
                logits_TV = np.ascontiguousarray(positions.logp_PK[part] * self._said.temperature, np.float32)
            yield TeacherBlock(id=row.id, logits_TV=logits_TV)

    def _found(
        self, rows: Sequence[EncodedExample], progress: Progress, done: Collection[str]
    ) -> Iterator[tuple[EncodedExample, Positions | None, slice]]:
        """Each row, its sequence's log-probabilities, and which of them are its labels'; None where it has no sequence.

        Raises:
            Mismatch: A row lacks some, and the recipe does not allow that.
        """
        every = EncodedRows.of(rows)
        left = every.take([place for place, id_ in enumerate(every.each_id()) if id_ not in done])
        binding = Binding.of(self._guest, left, partly=self._said.partial)
        lost = [left[place] for place in np.flatnonzero(binding.number_R < 0).tolist()]
        if lost and not self._said.partial:
            raise Mismatch(self._without(lost, len(left)))
        agreement, by_sequence, short = Agreement(), binding.by_sequence(), []
        for number, positions in self._guest.read(by_sequence):
            for row in (left[each] for each in by_sequence.pop(number)):
                part = covered(row, positions)
                if part.stop - part.start < len(row.target_ids):
                    short.append(row)
                    self._allow_gap(row, positions, part)
                agreement.add(row, positions, part)
                yield row, positions, part
        lost += self._absent([left[each] for places in by_sequence.values() for each in places], len(left))
        self._check_held_out(rows, {row.id for row in lost})
        for row in lost:
            yield row, None, slice(0, 0)
        for note in (self._sentence(len(left), lost, short), agreement.sentence(self._said.about)):
            if note:
                progress.note(f"imported logits: {note}")

    def _check_held_out(self, rows: Sequence[EncodedExample], lost: Collection[str]) -> None:
        """Refuse held-out rows without any log-probabilities: a soft loss of nothing would pick the best epoch."""
        held_out = [id_ for id_ in EncodedRows.of(rows).each_id() if id_ in self._held_out]
        if held_out and all(each in lost for each in held_out):
            raise Mismatch(
                f"{self._said.name} has log-probabilities for none of {plural(len(held_out), 'held-out row')} (first "
                f"{held_out[0]!r}), so nothing could say how well the student follows the teacher; take the validation "
                "rows out of the training rows (leave data.validation out), or import theirs too"
            )

    def _allow_gap(self, row: EncodedExample, positions: Positions, part: slice) -> None:
        if self._said.partial:
            return
        place = len(row.source_ids) + part.stop - part.start
        there = f"{positions.first} to {positions.first + len(positions.logp_PK) - 1}"
        raise Mismatch(
            f"{positions.place} has log-probabilities for the positions {there} of its sequence, but row {row.id!r} "
            f"has a label at position {place} of the same, without any that fit; use rows whose labels lie there, or "
            "set teacher.partial = true to train the labels from there on for the hard loss alone"
        )

    def _absent(self, rows: list[EncodedExample], count: int) -> list[EncodedExample]:
        """The rows whose sequence came without log-probabilities."""
        if rows and not self._said.partial:
            raise Mismatch(
                f"{self._said.name} has no log-probabilities for {len(rows)} of {plural(count, 'row')} (first "
                f"{rows[0].id!r}), although their ids are there; copy the files that are missing"
            )
        return rows

    def _without(self, lost: Sequence[EncodedExample], count: int) -> str:
        return (
            f"{self._said.name} has no sequence for {len(lost)} of {plural(count, 'row')}: of the first, "
            f"{lost[0].id!r}, {nearest(self._guest, lost[0])}; use the data, the tokenizer and the token limits that "
            "the logits were made with, or set teacher.partial = true to train such rows on their labels alone"
        )

    def _sentence(self, count: int, lost: Sequence[EncodedExample], short: Sequence[EncodedExample]) -> str:
        parts = []
        if lost:
            parts.append(f"{len(lost):,} of {plural(count, 'row')} have none (first {lost[0].id!r})")
        if short:
            parts.append(f"{len(short):,} have fewer than labels (first {short[0].id!r})")
        return f"{' and '.join(parts)}; these labels count for the hard loss alone" if parts else ""


class OpenImportedEntries(OpenImported):
    """Log-probabilities of some entries of each token, ready to be asked."""

    def entries(
        self, rows: Sequence[EncodedExample], progress: Progress, *, done: Collection[str] = ()
    ) -> Iterator[EntriesBlock]:
        """As `logits`, but the entries alone.

        Raises:
            Mismatch: Rows have no log-probabilities, or an id is beyond the vocabulary.
            UsageError: They are not log-probabilities.
            DamagedData: A file is cut or damaged.
        """
        width, unsure = self.vocab_size, True
        for row, positions, part in self._found(rows, progress, done):
            ids_TK, logp_TK = np.empty((0, 0), np.int64), np.empty((0, 0))
            if positions is not None:
                ids_PK, logp_PK = checks.entries_of(positions, width=width)
                if unsure and len(logp_PK):
                    self._said.check_tail(logp_PK[(logp_PK > -np.inf).any(axis=1)])
                    unsure = False
                ids_TK, logp_TK = ids_PK[part], logp_PK[part]
            if self._said.tail == NONE:
                logp_TK = logp_TK - np.log(np.exp(logp_TK).sum(axis=1, keepdims=True))
            yield EntriesBlock(
                id=row.id,
                ids_TK=ids_TK,
                logp_TK=logp_TK,
                log_rest_T=checks.log_rest(logp_TK),
                temperature=self._said.temperature,
                vocab_size=width,
            )

    def logits(
        self,
        rows: Sequence[EncodedExample],  # noqa: ARG002 - as the protocol has it
        progress: Progress,  # noqa: ARG002
        *,
        done: Collection[str] = (),  # noqa: ARG002
    ) -> Iterator[TeacherBlock]:
        """Never: the other entries are not known.

        Raises:
            UsageError: Always.
        """
        raise UsageError(
            f"{self.in_words}: a codec that keeps whole rows would hold guesses for the other entries; use the codec "
            "topk"
        )
