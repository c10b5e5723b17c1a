"""Records out of a safetensors file, read as they are needed. Letters: N tokens, V vocabulary, D hidden, R records."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from kdkit.api.values import OutputHead
from kdkit.errors import MissingInput, UsageError
from kdkit.logits.bench.records import Material, Record, check_finite, first_quarter, offsets_of, quarter_sentence
from kdkit.system.reading import check_regular
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from kdkit.api.values import FloatArray

# Records of a file that does not say how long they are.
DEFAULT_LENGTH = 32
# Numbers that are looked at in one go.
_CHECKED = 4_000_000
_FLOATS = {"F64", "F32", "F16", "BF16"}
_INTEGERS = {"I64", "I32", "I16", "U8", "U16", "U32", "U64", "I8"}


def read_tensors(path: Path) -> Material:
    """The records of a file with `logits [N, V]`, or `hidden [N, D]` and `head [V, D]` (and `bias [V]`).

    `lengths [R]` says how many tokens each record has; without it they have 32 each, the last what is left.
    `sample_logits` or `sample_hidden`, with `sample_lengths`, are what is learnt from; without them it is the first
    quarter of the records.

    Raises:
        MissingInput: There is no such file.
        UsageError: It does not hold such tensors, or no tokens, or numbers that are not finite; the message says what.
    """
    file = _File.open(path)
    kind = "hidden" if file.has("hidden") else "logits"
    if file.has("hidden") and file.has("logits"):
        raise UsageError(f"{path} has both `logits` and `hidden`; remove one of them")
    if not file.has(kind):
        names = ", ".join(file.names) or "no tensors"
        raise UsageError(f"{path} needs `logits`, or `hidden` and `head`; it has {names}")
    head = _head(file) if kind == "hidden" else None
    width = file.shape(kind, 2, _FLOATS)[1]
    vocab_size = head.weight_VD.shape[0] if head is not None else width
    if not vocab_size or not width:
        raise UsageError(f"{path}: `{kind}` has {width} columns and a vocabulary of {vocab_size}; both must be above 0")
    if head is not None and head.weight_VD.shape[1] != width:
        raise UsageError(
            f"{path}: `hidden` has {width} columns but `head` has {head.weight_VD.shape[1]}; they must be equal"
        )
    records = _lengths(file, kind, "lengths")
    if file.has(f"sample_{kind}"):
        if (sample_width := file.shape(f"sample_{kind}", 2, _FLOATS)[1]) != width:
            raise UsageError(
                f"{path}: `{kind}` has {width} columns but `sample_{kind}` has {sample_width}; they must be equal"
            )
        sample = _lengths(file, f"sample_{kind}", "sample_lengths")
        learn, measured = _Part(file, f"sample_{kind}", sample), _Part(file, kind, records)
        sentence = f"{plural(len(sample), 'record')} of `sample_{kind}` are used to learn from"
    else:
        learnt = first_quarter(len(records), str(path))
        learn = _Part(file, kind, records, end=learnt)
        measured = _Part(file, kind, records, begin=learnt)
        sentence = quarter_sentence(learnt, len(records))
    if not learn.tokens or not measured.tokens:
        what = "to learn from" if measured.tokens else "to measure"
        raise UsageError(
            f"{path} has no token {what}; give records with at least one row, to learn from and to measure"
        )
    _check_numbers(file, kind, head)
    if not file.has("lengths"):
        sentence += f"; without `lengths`, each record has {DEFAULT_LENGTH} tokens"
    return Material(
        name=str(path),
        vocab_size=vocab_size,
        head=head,
        learnt_from=sentence,
        learn=learn.read,
        measure=measured.read,
        records=measured.count,
    )


@attrs.frozen(eq=False)
class _File:
    """An open safetensors file, whose errors are sentences."""

    path: Path
    handle: Any
    names: tuple[str, ...]

    @classmethod
    def open(cls, path: Path) -> _File:
        from safetensors import SafetensorError, safe_open

        if not path.is_file():
            raise MissingInput(f"there is no file {path}; make one with benchmarks/real_logits.py")
        check_regular(path)
        try:
            handle = safe_open(path, framework="pt")
        except SafetensorError as error:
            raise UsageError(
                f"{path} is not a safetensors file ({error}); make one with benchmarks/real_logits.py"
            ) from error
        return cls(path, handle, tuple(handle.keys()))  # type: ignore[no-untyped-call]  # safetensors has no type here

    def has(self, name: str) -> bool:
        return name in self.names

    def shape(self, name: str, dimensions: int, dtypes: set[str]) -> tuple[int, ...]:
        """A tensor's shape, once its kind is what it should be."""
        if not self.has(name):
            raise UsageError(f"{self.path} has no tensor `{name}`, which its `{self.names[0]}` needs")
        piece = self.handle.get_slice(name)
        shape = tuple(piece.get_shape())
        if piece.get_dtype() not in dtypes or len(shape) != dimensions:
            kind = "whole numbers" if dtypes is _INTEGERS else "floats"
            raise UsageError(
                f"{self.path}: `{name}` is {piece.get_dtype()} of shape {list(shape)}; it must have {kind} of "
                f"{plural(dimensions, 'dimension')}"
            )
        return shape

    def rows(self, name: str, begin: int, end: int) -> FloatArray:
        """Some rows as float32, all finite."""
        rows: FloatArray = self.handle.get_slice(name)[begin:end].float().contiguous().numpy()
        check_finite(rows, what=f"{self.path}: `{name}`", first_row=begin)
        return rows

    def whole(self, name: str) -> FloatArray:
        """A tensor as float32, all finite."""
        array: FloatArray = self.handle.get_tensor(name).float().contiguous().numpy()
        check_finite(array, what=f"{self.path}: `{name}`")
        return array


@attrs.frozen(eq=False)
class _Part:
    """Some of the records that lie in one tensor."""

    file: _File
    name: str
    lengths: Sequence[int]
    begin: int = 0
    end: int | None = None

    @property
    def count(self) -> int:
        return len(self.lengths[self.begin : self.end])

    @property
    def tokens(self) -> int:
        return sum(self.lengths[self.begin : self.end])

    def read(self) -> Iterator[Record]:
        spans = list(itertools.pairwise(offsets_of(self.lengths)))[self.begin : self.end]
        for number, (start, stop) in enumerate(spans, self.begin):
            rows = self.file.rows(self.name, start, stop)
            key = "logits_TV" if self.name.endswith("logits") else "states_TD"
            yield Record(id=f"{self.name} record {number}", **{key: rows})


def _head(file: _File) -> OutputHead:
    vocab_size, _ = file.shape("head", 2, _FLOATS)
    bias_V = None
    if file.has("bias"):
        if file.shape("bias", 1, _FLOATS) != (vocab_size,):
            raise UsageError(f"{file.path}: `bias` must have {vocab_size} numbers, one a row of `head`")
        bias_V = file.whole("bias")
    return OutputHead(weight_VD=file.whole("head"), bias_V=bias_V)


def _check_numbers(file: _File, kind: str, head: OutputHead | None) -> None:
    """Read all rows once, so that faults of the file are reported before anything is measured."""
    largest = float(_norms(head.weight_VD).max()) if head is not None else 0.0
    for name in filter(file.has, (kind, f"sample_{kind}")):
        rows, width = file.shape(name, 2, _FLOATS)
        step = max(1, _CHECKED // width)
        for begin in range(0, rows, step):
            norms_N = _norms(file.rows(name, begin, min(rows, begin + step)))
            # A logit is at most the product of the two norms, and the bias, which is small against half of the largest.
            if norms_N.max() * largest > np.finfo(np.float32).max / 2:
                raise UsageError(
                    f"{file.path}: `{name}` is so large at row {begin + int(norms_N.argmax())} that its "
                    "product with `head` may be infinite; check the program that wrote it"
                )


def _norms(rows_ND: FloatArray) -> FloatArray:
    """The rows' Euclidean norms, in float64 so that they are finite; in parts, so that no copy of all is made."""
    parts = np.array_split(rows_ND, max(1, rows_ND.size // _CHECKED))
    return np.concatenate([np.linalg.norm(part.astype(np.float64), axis=1) for part in parts])


def _lengths(file: _File, rows_name: str, name: str) -> list[int]:
    rows = file.shape(rows_name, 2, _FLOATS)[0]
    if not file.has(name):
        return [min(DEFAULT_LENGTH, rows - start) for start in range(0, rows, DEFAULT_LENGTH)]
    file.shape(name, 1, _INTEGERS)
    lengths = file.handle.get_tensor(name).numpy().astype(np.int64)
    if len(lengths) and lengths.min() < 0:
        raise UsageError(f"{file.path}: `{name}` holds {lengths.min()}; a record cannot have fewer than 0 tokens")
    if lengths.sum() != rows:
        raise UsageError(
            f"{file.path}: `{name}` adds up to {lengths.sum()}, but `{rows_name}` has {rows} rows; they must be equal"
        )
    whole: list[int] = lengths.tolist()
    return whole
