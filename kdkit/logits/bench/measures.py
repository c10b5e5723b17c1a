"""Measures codecs on the same records, batch by batch, so that at most one batch of full logits is in memory.

A batch is as many records as have 256 tokens together at most, or one longer record.

Letters: B batch, T target tokens, N tokens of a batch, V vocabulary, D hidden, K entries kept.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch

from kdkit.api.interfaces.codecs import BatchCodec, SparseCodec, StateCodec
from kdkit.api.values import SparseTargets, TeacherBlock
from kdkit.errors import UsageError
from kdkit.logits.bench.records import groups_of, state_block
from kdkit.logits.bench.results import Result, Tally
from kdkit.logits.bench.sparse import dense_logp, sparse_target
from kdkit.logits.bench.student import HeadGradient, cosine, student_of
from kdkit.losses.alignment import all_rows, log_softmax
from kdkit.losses.divergences import forward_kl
from kdkit.system.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.values import Targets
    from kdkit.logits.bench.candidates import Coder
    from kdkit.logits.bench.records import Material, Record
    from kdkit.logits.bench.student import LogitStudent, StateStudent, StudentRows
    from kdkit.system.progress import Progress

BATCH_TOKENS = 256
TAIL_OUTSIDE = 128


@attrs.frozen(kw_only=True)
class Measurement:
    """Codecs side by side.

    Attributes:
        tokens: Target tokens that were measured.
        records: Records that were.
        student: What the student was, in words.
        results: One a codec, in the order given.
    """

    tokens: int
    records: int
    student: str
    results: tuple[Result, ...]


def measure(
    material: Material,
    coders: Sequence[Coder],
    *,
    temperatures: Sequence[float] = (1.0,),
    progress: Progress | None = None,
) -> Measurement:
    """Measure codecs on the same records.

    Args:
        material: The records.
        coders: The codecs.
        temperatures: Those of the KL divergence.
        progress: Where progress is shown.

    Raises:
        UsageError: A codec cannot encode a record, or there are no tokens.
    """
    student = student_of(material)
    tallies = [Tally(temperatures=temperatures) for _ in coders]
    tokens = records = 0
    shown = progress if progress is not None else Silent()
    with shown.task("bench", total=material.records, unit="records") as task, torch.inference_mode():
        for number, group in enumerate(groups_of(material.measure(), BATCH_TOKENS)):
            batch = _Batch.of(material, student, group, number)
            for coder, tally in zip(coders, tallies, strict=True):
                _measure_batch(batch, coder.codec, tally, warm_up=number == 0)
            tokens += len(batch.logits_NV)
            records += len(group)
            task.advance(len(group))
    if not tokens:
        raise UsageError(f"{material.name} has no token to measure; give records with at least one token")
    results = (
        tally.result(
            codec=coder.candidate.name,
            options=coder.candidate.options,
            label=coder.candidate.label,
            state_bytes=coder.state_bytes,
            at=_gradient_temperature(coder.codec),
        )
        for coder, tally in zip(coders, tallies, strict=True)
    )
    return Measurement(tokens=tokens, records=records, student=student.description, results=tuple(results))


@attrs.define(kw_only=True, eq=False)
class _Batch:
    """Some records, their exact logits one below the other, and what all codecs are compared with."""

    records: Sequence[Record]
    blocks: Sequence[TeacherBlock]
    logits_NV: torch.Tensor
    student: StudentRows
    _logp_NV: dict[float, torch.Tensor] = attrs.field(factory=dict)
    _student_p_NV: dict[float, torch.Tensor] = attrs.field(factory=dict)
    _gradients: dict[float, HeadGradient] = attrs.field(factory=dict)
    _top_NK: torch.Tensor | None = None

    @classmethod
    def of(
        cls, material: Material, student: StateStudent | LogitStudent, records: Sequence[Record], number: int
    ) -> _Batch:
        """The batch; each record's own logits are a view of the one array."""
        if material.head is not None:
            stacked_ND = np.concatenate([r.states_TD for r in records if r.states_TD is not None])
            states_ND: torch.Tensor | None = torch.from_numpy(stacked_ND)
            logits_NV = material.logits_of_states(torch.from_numpy(stacked_ND))
        else:
            states_ND = None
            logits_NV = torch.from_numpy(np.concatenate([material.logits(record) for record in records]))
        ends = np.cumsum([record.tokens for record in records])
        rows = np.split(logits_NV.numpy(), ends[:-1])
        return cls(
            records=records,
            blocks=[
                TeacherBlock(id=record.id, logits_TV=logits_TV) for record, logits_TV in zip(records, rows, strict=True)
            ],
            logits_NV=logits_NV,
            student=student.rows(number, logits_NV, states_ND),
        )

    @property
    def vocab_size(self) -> int:
        return self.logits_NV.shape[1]

    def teacher_logp(self, temperature: float) -> torch.Tensor:
        """Exact log-probabilities, computed once for all codecs."""
        if temperature not in self._logp_NV:
            self._logp_NV[temperature] = log_softmax(self.logits_NV, temperature)
        return self._logp_NV[temperature]

    def student_p(self, temperature: float) -> torch.Tensor:
        if temperature not in self._student_p_NV:
            self._student_p_NV[temperature] = torch.softmax(self.student.logits_NV / temperature, dim=-1)
        return self._student_p_NV[temperature]

    def gradient(self, temperature: float) -> HeadGradient:
        """What the exact distributions give the student's output head."""
        if temperature not in self._gradients:
            error_NV = self.student_p(temperature) - self.teacher_logp(temperature).exp()
            gram_NN = self.student.states_NH @ self.student.states_NH.T
            self._gradients[temperature] = HeadGradient(error_NV=error_NV, gram_NN=gram_NN)
        return self._gradients[temperature]

    def top_ids(self) -> torch.Tensor:
        """The entries that are likeliest in truth."""
        if self._top_NK is None:
            self._top_NK = self.logits_NV.topk(TAIL_OUTSIDE, dim=-1).indices
        return self._top_NK


def _measure_batch(batch: _Batch, codec: Any, tally: Tally, *, warm_up: bool) -> None:
    if warm_up:  # what is imported and prepared at the first call is no part of a codec's speed
        _decoded(codec, [(_encoded(codec, batch, 0), batch.records[0].tokens)], batch.vocab_size)
    began = time.perf_counter()
    payloads = [_encoded(codec, batch, index) for index in range(len(batch.records))]
    tally.encode_seconds += time.perf_counter() - began
    stored = [(payload, record.tokens) for payload, record in zip(payloads, batch.records, strict=True)]
    began = time.perf_counter()
    decoded = _decoded(codec, stored, batch.vocab_size)
    tally.decode_seconds += time.perf_counter() - began
    tally.tokens += len(batch.logits_NV)
    tally.bytes += sum(map(len, payloads))
    _compare(batch, codec, _Decoded.of(decoded), tally)


def _encoded(codec: Any, batch: _Batch, index: int) -> bytes:
    """One record; from its hidden states where codec and record have to do with them."""
    if isinstance(codec, StateCodec) and batch.records[index].states_TD is not None:
        return codec.encode_states(state_block(batch.records[index]))
    payload: bytes = codec.encode(batch.blocks[index])
    return payload


def _decoded(codec: Any, stored: Sequence[tuple[bytes, int]], vocab_size: int) -> Targets | torch.Tensor:
    """A batch as a loss is given it; dense rows of a codec that decodes record by record."""
    if isinstance(codec, BatchCodec):
        return codec.targets(stored, vocab_size=vocab_size, device="cpu")
    return _stacked([codec.decode(payload, tokens=tokens, vocab_size=vocab_size) for payload, tokens in stored])


def _stacked(rows: Sequence[Any]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate(rows))


@attrs.frozen(kw_only=True, eq=False)
class _Decoded:
    """What a codec gives for a batch, its real rows one below the other.

    Attributes:
        dense_NV: Logits; None of sparse targets.
        sparse: The targets; None of any others.
        rows_BT: Which rows of these are real.
    """

    dense_NV: torch.Tensor | None = None
    sparse: SparseTargets | None = None
    rows_BT: torch.Tensor | None = None

    @classmethod
    def of(cls, decoded: Targets | torch.Tensor) -> _Decoded:
        if isinstance(decoded, torch.Tensor):
            return cls(dense_NV=decoded)
        if isinstance(decoded, SparseTargets):
            return cls(sparse=decoded, rows_BT=torch.arange(decoded.width) < decoded.lengths_B[:, None])
        return cls(dense_NV=decoded.logits(all_rows(decoded)))

    def logp(self, temperature: float) -> torch.Tensor:
        """Log-probabilities over the whole vocabulary; mass of which only the sum is known is spread evenly."""
        if self.dense_NV is not None:
            return log_softmax(self.dense_NV, temperature)
        assert self.sparse is not None
        assert self.rows_BT is not None
        return dense_logp(self.sparse, self.rows_BT, temperature)

    def target_p(self, student_p_NV: torch.Tensor, temperature: float) -> torch.Tensor:
        """The distribution towards which a loss over these targets draws a student."""
        if self.sparse is None or self.rows_BT is None:
            return self.logp(temperature).exp_()
        return sparse_target(self.sparse, self.rows_BT, student_p_NV, temperature)

    def lacks_mass(self, temperature: float) -> bool:
        """Whether entries that are not kept have no mass at all: then the divergence from the truth is infinite."""
        if self.sparse is None:
            return False
        kept_N = (self.sparse.ids_BTK[self.rows_BT] >= 0).sum(-1)
        empty_N = self.sparse.log_tail_BT[temperature][self.rows_BT].isneginf()
        return bool((empty_N & (kept_N < self.sparse.vocab_size)).any())


def _compare(batch: _Batch, codec: Any, decoded: _Decoded, tally: Tally) -> None:
    for temperature in dict.fromkeys((*tally.temperatures, 1.0)):
        known = _knows(codec, temperature)
        logp_NV = decoded.logp(temperature) if known else None
        kl_N = None
        if logp_NV is not None and not decoded.lacks_mass(temperature):
            kl_N = forward_kl(batch.teacher_logp(temperature), logp_NV)
        if temperature in tally.temperatures:
            tally.add_kl(temperature, kl_N)
        if temperature == 1:
            tally.add_kl_max(kl_N)
            tally.add_tail_error(_tail_error(batch, logp_NV))
    temperature = _gradient_temperature(codec)
    best_N = (decoded.logp(temperature) if decoded.dense_NV is None else decoded.dense_NV).argmax(-1)
    tally.same_top1 += int((best_N == batch.logits_NV.argmax(-1)).sum())
    student_p_NV = batch.student_p(temperature)
    error_NV = student_p_NV - decoded.target_p(student_p_NV, temperature)
    exact = batch.gradient(temperature)
    found = cosine(exact, HeadGradient(error_NV=error_NV, gram_NN=exact.gram_NN))
    if found is not None:
        tally.cosines.append(found)


def _tail_error(batch: _Batch, logp_NV: torch.Tensor | None) -> torch.Tensor | None:
    """Error of the mass outside the likeliest entries; None where it is not known, or the vocabulary has no others."""
    if logp_NV is None or batch.vocab_size <= TAIL_OUTSIDE:
        return None
    exact_N, decoded_N = (
        each_NV.gather(-1, batch.top_ids()).exp().sum(-1) for each_NV in (batch.teacher_logp(1.0), logp_NV)
    )
    return (exact_N - decoded_N).abs()


def _knows(codec: Any, temperature: float) -> bool:
    return not isinstance(codec, SparseCodec) or temperature in codec.exact_temperatures


def _gradient_temperature(codec: Any) -> float:
    if not isinstance(codec, SparseCodec) or 1.0 in codec.exact_temperatures:
        return 1.0
    return codec.exact_temperatures[0]
