"""Megatron-LM's tars of cached log-probabilities (`--logits-save-dir`), formats 1 and 2.

`dpD__I.tar` (`cpC_dpD__I.tar` before) is of data-parallel rank D: `_meta.json`, then a member `I.pt.zst` for each
iteration: zstd of `torch.save` of a table with `values` `[S, B, K]` (log-probabilities at temperature 1, in 16 or 32
bits), `indices_low` (the ids' lower 16 bits) and `bit_17` (the rest). In format 1 each of these is a list, a
microbatch a member; in format 2 the microbatches are joined. The state at position t is about the token at t + 1.
`--logits-save-top-p` fills rows with -1e4 or -1e3 and the id -1.

No ids are stored: a sample is known by its number in the global order, which depends on the seed and the batch sizes.
So `teacher.ids` names them: Parquet with a column `input_ids`, a row a sample, in that order.

The payload is a pickle; it is read by `torch.load(weights_only=True)`, which makes tensors and lists and nothing else.

Source: NVIDIA/Megatron-LM, `megatron/training/distillation/` (`logits_saver.py`, `utils.py`, `cached_logits_loss.py`).
"""

from __future__ import annotations

import io
import re
import tarfile
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from kdkit.data.guests.guest import Positions
from kdkit.data.guests.tables import lists_of, table_batches
from kdkit.errors import DamagedData, UsageError
from kdkit.system.files import naming
from kdkit.system.parsing import parse_json
from kdkit.system.reading import open_regular
from kdkit.system.wording import first_line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from kdkit.data.guests.guest import IdArray

NAME = re.compile(r"(?:cp(?P<cp>\d+)_)?dp(?P<dp>\d+)__(?P<last>\d+)\.tar")
META, MEMBER = "_meta.json", re.compile(r"(\d+)\.pt\.zst")
LARGEST_PAYLOAD = 2**32
ZSTD_MOST_EXPANSION = 2**15
_FIELDS = ("mbs_save", "dp_size_save", "gbs_save")


@attrs.frozen(kw_only=True, eq=False)
class MegatronTars:
    """A folder of Megatron's tars.

    Attributes:
        files: The tars of each data-parallel rank, in order.
        ids: The file with the samples' ids.
        microbatch: Rows of a microbatch.
        batch: Rows of a global batch.
        most: How many entries of a token are kept.
    """

    files: Mapping[int, Sequence[Path]]
    ids: Path
    microbatch: int
    batch: int
    most: int

    width = None
    is_whole = False

    @classmethod
    def of(cls, files: Sequence[Path], ids: Path | None) -> MegatronTars:
        """The tars of a folder.

        Raises:
            UsageError: Their ids are not named, or they are of a format that is not read.
            DamagedData: One is damaged, or a rank's are missing.
        """
        named = {file: match for file in files if (match := NAME.fullmatch(file.name))}
        if len(named) < len(files):
            other = next(file for file in files if file not in named)
            raise UsageError(f"{other} is not named as Megatron names its tars (dp0__9.tar); move it elsewhere")
        if any(int(match["cp"] or 0) for match in named.values()):
            raise UsageError(
                f"{files[0].parent} holds tars of several context-parallel ranks (cp1_...), a part of each sequence in "
                "each; write them again with --context-parallel-size 1 or a newer Megatron, which joins them"
            )
        if ids is None:
            raise UsageError(
                "Megatron's tars hold no token ids, so nothing says which rows they are of; set teacher.ids to a "
                "Parquet file with a column input_ids: the ids of each sample, in Megatron's order"
            )
        ranks: dict[int, list[Path]] = {}
        for file in sorted(named, key=lambda each: int(named[each]["last"])):
            ranks.setdefault(int(named[file]["dp"]), []).append(file)
        saver = _saver(next(iter(ranks.values()))[0])
        microbatch, size, batch = (saver.get(name) for name in _FIELDS)
        first = next(_members(next(iter(ranks.values()))[0]))
        if type(microbatch) is not int or type(size) is not int or type(batch) is not int:  # format 1 says none of them
            lists = first[1]["values"]
            if not isinstance(lists, list):
                raise DamagedData(f"{files[0]} does not say its batch sizes in {META}; write it again")
            size, microbatch = len(ranks), int(lists[0].shape[1])
            batch = len(lists) * microbatch * size
        if set(ranks) != set(range(size)):
            lacking = min(set(range(size)) - set(ranks), default=size)
            raise DamagedData(
                f"{files[0].parent} lacks the tars of rank {lacking} of {size} (dp{lacking}__*.tar); copy them there"
            )
        return cls(
            files=ranks, ids=ids, microbatch=microbatch, batch=batch, most=int(_joined(first[1]["values"]).shape[2])
        )

    @property
    def what(self) -> str:
        """The format."""
        return f"Megatron's tars, top {self.most}"

    def sequences(self) -> Iterator[IdArray]:
        """The ids of each sample."""
        for _, batch in table_batches([self.ids], ["input_ids"]):
            for ids_S in lists_of(batch.column("input_ids")):
                yield ids_S.astype(np.int64)

    def read(self, wanted: Collection[int]) -> Iterator[tuple[int, Positions]]:
        """The log-probabilities of some samples; those that the tars lack do not come."""
        ids = {number: ids_S.astype(np.int32) for number, ids_S in enumerate(self.sequences()) if number in wanted}
        for rank, files in self.files.items():
            for file in files:
                for iteration, table in _members(file):
                    numbers = self._samples(iteration, rank, file)
                    here = [(row, number) for row, number in enumerate(numbers) if number in ids]
                    if not here:
                        continue
                    parts = [_joined(table[name]) for name in ("values", "indices_low", "bit_17")]
                    if parts[0].shape[1] != len(numbers):
                        raise DamagedData(
                            f"{file}: {iteration}.pt.zst has {parts[0].shape[1]} samples, and {META} asks for "
                            f"{len(numbers)}"
                        )
                    for row, number in here:
                        place = f"{file}: {iteration}.pt.zst, sample {row + 1}"
                        own_S = ids[number].astype(np.int64)
                        yield number, self._positions(place, own_S, *(part[:, row] for part in parts))

    def _samples(self, iteration: int, rank: int, file: Path) -> list[int]:
        """The numbers of the samples that a rank has of an iteration: microbatches go round the ranks."""
        ranks = len(self.files)
        steps, left = divmod(self.batch, self.microbatch * ranks)
        if left:
            raise DamagedData(
                f"{file}: a batch of {self.batch} is not made of microbatches of {self.microbatch} on {ranks} ranks"
            )
        begin = iteration * self.batch + rank * self.microbatch
        return [begin + step * self.microbatch * ranks + row for step in range(steps) for row in range(self.microbatch)]

    def _positions(self, place: str, ids_S: IdArray, values: Any, low: Any, high: Any) -> Positions:
        tokens = min(len(values), len(ids_S) - 1)
        ids_PK = low[:tokens].long().numpy() | (high[:tokens].long().numpy() << 16)
        return Positions(
            place=place, ids_S=ids_S.astype(np.int64), first=1, ids_PK=ids_PK, logp_PK=values[:tokens].double().numpy()
        )


def _saver(file: Path) -> Mapping[str, Any]:
    """What the metadata of a tar say of who wrote it."""
    with _open(file) as tar:
        member = tar.next()
        stream = tar.extractfile(member) if member is not None and member.name == META and member.isreg() else None
        if stream is None:
            raise DamagedData(f"{file} does not begin with {META}, as Megatron's tars do; write it again")
        table = parse_json(stream.read(2**20))
    saver = table.get("saver") if isinstance(table, dict) else None
    if not isinstance(saver, dict):
        raise DamagedData(f"{file}: {META} does not say how the logits were saved; write it again")
    if saver.get("format_version", 1) not in (1, 2):
        raise UsageError(
            f"{file} is of format {saver['format_version']}, and kdkit reads 1 and 2; save the logits without "
            "--logits-save-inputs"
        )
    return saver


def _members(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The iterations of a tar, and their tables of tensors."""
    with _open(file) as tar:
        for member in tar:
            match = MEMBER.fullmatch(member.name)
            stream = tar.extractfile(member) if match and member.isreg() else None
            if match and stream is not None:
                yield int(match[1]), _table(stream.read(), f"{file}: {member.name}")


def _table(raw: bytes, place: str) -> Mapping[str, Any]:
    import pickle

    import torch
    import zstandard

    try:
        size = zstandard.get_frame_parameters(raw).content_size
        if size > min(LARGEST_PAYLOAD, ZSTD_MOST_EXPANSION * len(raw)):
            raise DamagedData(f"{place} claims to hold {size:,} bytes, which it cannot; write it again with Megatron")
        content = zstandard.ZstdDecompressor().decompress(raw, allow_extra_data=False)
        with warnings.catch_warnings(action="ignore"):  # of pickles of other versions, which are refused all the same
            table = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        for name in ("values", "indices_low", "bit_17"):
            _joined(table[name])
    except pickle.UnpicklingError as error:
        raise DamagedData(
            f"{place} is not read: it holds more than tensors, and unpickling it could run anyone's code; write it "
            "again with Megatron"
        ) from error
    except (zstandard.ZstdError, RuntimeError, EOFError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedData(f"{place} is cut or damaged ({first_line(error)}); write it again") from error
    found: Mapping[str, Any] = table
    return found


def _joined(part: Any) -> Any:
    """A tensor `[S, B, K]` of a list of microbatches' tensors, padded to the widest, or of one tensor."""
    import torch

    tensors = part if isinstance(part, list) else [part]
    if any(each.dim() != 3 for each in tensors):
        raise ValueError("a tensor does not have three dimensions")
    widest = max(each.shape[2] for each in tensors)
    fill = -1e4 if tensors[0].is_floating_point() else 0
    padded = []
    for each in tensors:
        wide = each if each.is_floating_point() else each.long()
        padded.append(torch.nn.functional.pad(wide, (0, widest - each.shape[2]), value=fill))
    return torch.cat(padded, dim=1)


@contextmanager
def _open(file: Path) -> Iterator[tarfile.TarFile]:
    """Within the block a tar, read from its beginning to its end."""
    with naming(file), open_regular(file) as stream:
        try:
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                yield tar
        except (tarfile.TarError, EOFError) as error:
            raise DamagedData(
                f"{file} is cut or damaged ({first_line(error)}); copy it again, or write it again"
            ) from error
