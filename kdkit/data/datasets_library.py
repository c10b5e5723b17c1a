"""Data sets as the library datasets reads them: folders that it saved, folders of data files, names of the hub."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kdkit.errors import MissingInput, UsageError
from kdkit.system.files import user_path
from kdkit.system.url import RemoteFolder, is_url
from kdkit.system.wording import first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

_SAVED = ("dataset_dict.json", "state.json")
"""Files of which a folder has one that `save_to_disk` wrote: of several splits, of one."""


def is_folder(path: str) -> bool:
    """Whether it is a folder, here or at a URL, and no name of the hub."""
    return is_url(path) or user_path(path).is_dir()


def splits_of(path: str, *, subset: str | None = None, revision: str | None = None) -> dict[str, Any]:
    """The splits of a data set by name, as the library has them.

    Args:
        path: A folder, or a name on the hub.
        subset: Of a data set of several configurations: which one.
        revision: Of a data set of the hub: branch, tag or commit.

    Raises:
        MissingInput: It is not there, or the library is not installed or does not read it.
    """
    library = library_for(path)
    with naming(path):
        whole = _whole(library, path, subset, revision)
    return dict(whole) if isinstance(whole, dict) else {str(whole.split or "train"): whole}


def _whole(library: Any, path: str, subset: str | None, revision: str | None) -> Any:
    if is_url(path):
        names = RemoteFolder.at(path).sizes()
        saved, place = any(each in names for each in _SAVED), path
        if not saved:
            raise MissingInput(f"{path} is not a folder that save_to_disk wrote; correct the URL")
    else:
        folder = user_path(path)
        saved, place = any((folder / each).is_file() for each in _SAVED), str(folder)
    if saved:
        return library.load_from_disk(place)
    if is_folder(path):
        return library.load_dataset(place, name=subset)
    return library.load_dataset(path, name=subset, revision=revision)


def library_for(path: str) -> Any:
    """The library.

    Raises:
        MissingInput: It is not installed.
    """
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
def naming(name: str) -> Iterator[None]:
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
