"""The data set `hf-dataset`: what the library datasets reads, from a folder or from the hub."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.options import option
from kdkit.data import Part, RowOptions
from kdkit.data.arrow_rows import batch_rows
from kdkit.data.files import Row
from kdkit.errors import MissingInput, UsageError
from kdkit.system.files import user_path
from kdkit.system.url import RemoteFolder, is_url
from kdkit.system.wording import first_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kdkit.api.values import SplitName
    from kdkit.data import RowReader

_BATCH = 1000
_SAVED = ("dataset_dict.json", "state.json")
"""Files of which a folder has one that `save_to_disk` wrote: of several splits, of one."""


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
        library = _library(self.path)
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

    @property
    def _is_folder(self) -> bool:
        return is_url(self.path) or user_path(self.path).is_dir()

    def _read(self, named: str, split: SplitName, reader: RowReader) -> Iterator[Row]:
        name = f"{self.path} ({named})"
        found = self._split(named, split)
        columns = list(found.column_names)
        reader.check_columns(columns, name)
        chosen = [column for column in columns if column in reader.wanted]
        labels = {column: feature.names for column in chosen if hasattr(feature := found.features[column], "int2str")}
        with _naming(name):
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
        library = _library(self.path)
        with _naming(self.path):
            whole = self._whole(library)
        splits = list(whole) if isinstance(whole, dict) else [str(whole.split or "train")]
        if named not in splits:
            raise UsageError(f'{split} names the split "{named}", and {self.path} has {", ".join(splits)}')
        return whole[named] if isinstance(whole, dict) else whole

    def _whole(self, library: Any) -> Any:
        if is_url(self.path):
            names = RemoteFolder.at(self.path).sizes()
            saved, place = any(each in names for each in _SAVED), self.path
            if not saved:
                raise MissingInput(f"{self.path} is not a folder that save_to_disk wrote; correct the URL")
        else:
            folder = user_path(self.path)
            saved, place = any((folder / each).is_file() for each in _SAVED), str(folder)
        if saved:
            return library.load_from_disk(place)
        revision = None if self._is_folder else self.revision
        return library.load_dataset(place if self._is_folder else self.path, name=self.subset, revision=revision)


def _label(value: Any, names: Sequence[str]) -> Any:
    """The name of a class; None where a row has none."""
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None


def _library(path: str) -> Any:
    try:
        import datasets
    except ImportError:
        datasets = None
    if not hasattr(datasets, "load_from_disk"):  # a folder of that name in the working directory is imported too
        raise MissingInput(
            f'{path} is to be read by data.name = "hf-dataset", which needs the package datasets: '
            'pip install datasets, or write the data as Parquet for data.name = "table"'
        )
    return datasets


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Say in one sentence what the library raises within, and show no bars of its own meanwhile."""
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    except (MissingInput, UsageError):
        raise
    except Exception as error:
        raise MissingInput(
            f"{name} cannot be read by the library datasets ({first_line(error)}); correct data.path, data.subset or "
            "data.revision, or fetch it again"
        ) from error
    finally:
        if shown:
            datasets.enable_progress_bars()
