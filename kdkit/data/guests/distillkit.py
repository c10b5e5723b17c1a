"""DistillKit's Parquet: a folder of `data_*.parquet` and the `compression_config.yaml` that they were written with.

A row is a sequence: `input_ids`, and for each position but the first `bytepacked_indices` and `compressed_logprobs`,
both bytes. DistillKit appends a padding token to a text that is not cut, so that the last real token is followed by
one. Its log-probabilities are those of temperature 1.

Source: arcee-ai/DistillKit, `distillkit/sample_common.py` and `distillkit/sample_logits_vllm.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np

from kdkit.data.guests.distillkit_codec import CONFIG, Coding, rows_of_bytes
from kdkit.data.guests.guest import Positions
from kdkit.data.guests.tables import columns_of, lists_of, nested_of, table_batches
from kdkit.errors import MissingInput, UsageError
from kdkit.system.reading import read_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from kdkit.data.guests.guest import IdArray

COLUMNS = ("input_ids", "compressed_logprobs", "bytepacked_indices")
_FORMER = ("packed_indices", "exact_values", "coeffs")


@attrs.frozen(kw_only=True, eq=False)
class DistillKitParquet:
    """DistillKit's Parquet files.

    Attributes:
        files: The files, in order.
        coding: How their positions are coded.
    """

    files: Sequence[Path]
    coding: Coding

    is_whole = False

    @classmethod
    def of(cls, folder: Path, files: Sequence[Path]) -> DistillKitParquet:
        """The files of a folder, with their configuration.

        Raises:
            MissingInput: The configuration is not there.
            UsageError: It is not one, or the files are of DistillKit's former format.
        """
        import yaml

        names = columns_of(files[0])
        if set(_FORMER) <= set(names):
            raise UsageError(
                f"{files[0]} has the columns {', '.join(_FORMER)} of DistillKit's former format, whose values are "
                "logits without their sum; sample the logits again with DistillKit 1.0"
            )
        config = folder / CONFIG
        if not config.exists():
            raise MissingInput(
                f"there is no {CONFIG} beside {files[0]}, and without it nobody can read the file; copy it there"
            )
        try:
            table = yaml.safe_load(read_text(config, at_most=2**20))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UsageError(f"{config} is not YAML; put the file there that was written with the logits") from error
        return cls(files=files, coding=Coding.of(config, table))

    @property
    def what(self) -> str:
        """The format."""
        return f"DistillKit's Parquet, top {self.coding.k}"

    @property
    def width(self) -> int:
        """The configuration's `d`, and one more: where a tokenizer's ids have gaps, DistillKit takes its largest id."""
        return self.coding.d + 1

    def sequences(self) -> Iterator[IdArray]:
        """The ids of each row."""
        for _, batch in table_batches(self.files, COLUMNS[:1]):
            for ids_S in lists_of(batch.column(COLUMNS[0])):
                yield ids_S.astype(np.int64)

    def read(self, wanted: Collection[int]) -> Iterator[tuple[int, Positions]]:
        """The log-probabilities of some rows."""
        left, number = set(wanted), 0
        for place, batch in table_batches(self.files, COLUMNS):
            if not left:
                return
            if left.isdisjoint(range(number, number + batch.num_rows)):
                number += batch.num_rows
                continue
            ids = lists_of(batch.column(COLUMNS[0]))
            values, entries = (nested_of(batch.column(name), place, name) for name in COLUMNS[1:])
            for row in range(batch.num_rows):
                if number in left:
                    left.discard(number)
                    where = f"{place.file}: row {place.row + row}"
                    value_PM = rows_of_bytes(values[row], self.coding.value_bytes, where, COLUMNS[1])
                    id_PM = rows_of_bytes(entries[row], self.coding.id_bytes, where, COLUMNS[2])
                    if len(value_PM) != len(id_PM) or len(value_PM) > len(ids[row]):
                        raise UsageError(
                            f"{where} has {len(ids[row])} ids, {len(id_PM)} positions with ids of entries and "
                            f"{len(value_PM)} with values; sample it again"
                        )
                    yield (
                        number,
                        Positions(
                            place=where,
                            ids_S=ids[row].astype(np.int64),
                            first=len(ids[row]) - len(value_PM),
                            ids_PK=self.coding.ids(id_PM),
                            logp_PK=self.coding.values(value_PM),
                        ),
                    )
                number += 1
