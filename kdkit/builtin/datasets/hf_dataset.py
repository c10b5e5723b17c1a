"""The data set `hf-dataset`: what the library datasets reads, from a folder or from the hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.options import option
from kdkit.api.values import Origin
from kdkit.data import Part, RowOptions
from kdkit.data.arrow_rows import batch_rows
from kdkit.data.datasets_library import is_folder, library_for, naming, splits_of
from kdkit.data.files import Row
from kdkit.errors import UsageError
from kdkit.system.files import user_path
from kdkit.system.front_matter import FILE, front_matter, licence_in
from kdkit.system.url import is_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kdkit.api.values import SplitName
    from kdkit.data import RowReader

_BATCH = 1000


@attrs.frozen(kw_only=True)
class HfDataset(RowOptions):
    """A data set of the library datasets: a folder that it saved, a folder of data files, or a name of the hub."""

    path: str = option(
        "Folder that `save_to_disk` wrote (here or at a URL), folder of data files, or name of a data set of the hub."
    )
    subset: str | None = option("Of a data set of several configurations: which one.", default=None)
    revision: str | None = option("Of a data set of the hub: branch, tag or commit.", default=None)
    train: str = option("The split of it that trains.", default="train")
    validation: str | None = option(
        "The split of it that validates; without one, a share of the training rows.", default=None
    )
    test: str | None = option(
        "The split of it that is held out for evaluation; without one, that is the validation rows.", default=None
    )

    def is_here(self) -> bool:
        """Whether it is in a folder, or has been fetched from the hub."""
        if self._is_folder:
            return True
        library = library_for(self.path)
        try:
            library.load_dataset_builder(
                self.path,
                name=self.subset,
                revision=self.revision,
                download_config=library.DownloadConfig(local_files_only=True),
            )
        except Exception:  # noqa: BLE001 - whatever the library says of what it does not have
            return False
        return True

    def parts(self, split: SplitName) -> Sequence[Part]:
        """The split that is named for it."""
        named = getattr(self, split)
        return [Part(name=f"{self.path} ({named})", rows=lambda reader: self._read(named, split, reader))]

    def origins(self) -> Sequence[Origin]:
        """The data set, with the licence that its README.md names, in its folder or in the hub's cache."""
        if is_url(self.path):
            return [Origin(of=self.path)]
        if self._is_folder:
            found = licence_in(front_matter(user_path(self.path)))
            return [Origin(of=self.path, licence=found, said_by=f"its {FILE}" if found else "")]
        from huggingface_hub import try_to_load_from_cache

        card = try_to_load_from_cache(self.path, FILE, repo_type="dataset", revision=self.revision)
        found = licence_in(front_matter(Path(card).parent)) if isinstance(card, str) else ""
        return [Origin(of=self.path, licence=found, said_by=f"its {FILE} on the hub" if found else "", hub=self.path)]

    @property
    def _is_folder(self) -> bool:
        return is_folder(self.path)

    def _read(self, named: str, split: SplitName, reader: RowReader) -> Iterator[Row]:
        name = f"{self.path} ({named})"
        found = self._split(named, split)
        columns = list(found.column_names)
        reader.check_columns(columns, name)
        chosen = [column for column in columns if column in reader.wanted]
        labels = {column: feature.names for column in chosen if hasattr(feature := found.features[column], "int2str")}
        with naming(name):
            arrow = found.select_columns(chosen).with_format("arrow")
            tables = (table.combine_chunks() for table in arrow.iter(batch_size=_BATCH))
            batches = (batch for table in tables for batch in table.to_batches())
            for number, place, values in batch_rows(batches, name, skip=reader.skip):
                for column, names in labels.items():
                    values[column] = _label(values[column], names)
                yield Row(number, place, values)

    def _split(self, named: str, split: SplitName) -> Any:
        """One split of it.

        Raises:
            MissingInput: It is not there.
            UsageError: It has no such split.
        """
        splits = splits_of(self.path, subset=self.subset, revision=self.revision)
        if named not in splits:
            raise UsageError(f'{split} names the split "{named}", and {self.path} has {", ".join(splits)}')
        return splits[named]


def _label(value: Any, names: Sequence[str]) -> Any:
    """The name of a class; None where a row has none."""
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None
