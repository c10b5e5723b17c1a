"""Data sets of rows in files: which files each split is read from, and how several are mixed."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import attrs
from attrs import validators

from kdkit.api.options import option
from kdkit.api.values import SPLITS, Origin
from kdkit.data.files import files_of
from kdkit.data.jsonlines import open_lines
from kdkit.data.row_options import Part, RowOptions
from kdkit.errors import UsageError
from kdkit.system.files import user_path
from kdkit.system.front_matter import FILE, front_matter, licence_in
from kdkit.system.packages import version_of
from kdkit.system.reading import file_digest
from kdkit.system.url import is_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from kdkit.api.values import SplitName
    from kdkit.data.fields import RowReader
    from kdkit.data.files import Row

KEPT_FROM = 1 << 24
"""Bytes of files from which their rows are kept in the store."""


@attrs.frozen(kw_only=True)
class FileOptions(RowOptions):
    """The options of data sets in files."""

    train: str | tuple[str, ...] = option(
        "File of training rows; or several in a list, or by a pattern (part-*.jsonl). A file may be at a URL."
    )
    validation: str | tuple[str, ...] | None = option(
        "File or files of validation rows; by default, a share of the training rows.", default=None
    )
    test: str | tuple[str, ...] | None = option(
        "File or files of test rows; by default, evaluation uses the validation rows.", default=None
    )
    shares: tuple[float, ...] = option(
        "One number for each member of the list in train: they are mixed in these proportions, row by row, until one "
        "ends. Without it one follows the other.",
        default=(),
        neutral=(),
        check=validators.deep_iterable(validators.gt(0.0)),
    )

    def __attrs_post_init__(self) -> None:
        """Refuse options that contradict each other."""
        super().__attrs_post_init__()
        sources = 1 if isinstance(self.train, str) else len(self.train)
        if not sources or not self.train:
            raise UsageError("train names no file; give it one")
        if self.shares and len(self.shares) != sources:
            raise UsageError(
                f"shares has {len(self.shares)} numbers, and train names {sources}; give one for each, in their order"
            )

    @property
    def mix(self) -> Sequence[float]:
        """The shares by which the training files are mixed: the option `shares`."""
        return self.shares

    def check_inputs(self) -> None:
        """Refuse files that are not there, before anything heavy is imported.

        Raises:
            MissingInput: Names the first, and the option.
        """
        for split in SPLITS:
            for part in self.parts(split) if self.has(split) else ():
                if not is_url(part.name):
                    open_lines(user_path(part.name), option=split, name=part.name).close()

    def origins(self) -> Sequence[Origin]:
        """Each folder or URL that the files lie in, with the licence that a README.md there names."""
        folders = dict.fromkeys(
            Path(file).parent
            for split in SPLITS
            for part in (self.parts(split) if self.has(split) else ())
            if not is_url(file := part.name)
        )
        names = ", ".join(PurePath(part.name).name for part in self.parts("train"))
        found = {licence_in(front_matter(user_path(str(folder)))) for folder in folders} - {""}
        said = f"the {FILE} beside it" if found else ""
        return [Origin(of=names, licence=", ".join(sorted(found)), said_by=said)]

    def parts(self, split: SplitName) -> Sequence[Part]:
        """The files of a split."""
        named = getattr(self, split)
        sources = [files_of(name, option=split) for name in ([named] if isinstance(named, str) else named)]
        files = files_of([file for source in sources for file in source], option=split)
        labels = dict(zip(files, _labels(files), strict=True))
        return [
            Part(name=file, rows=_read(file, split), label=labels[file], source=number)
            for number, source in enumerate(sources)
            for file in source
        ]

    def inputs(self) -> Mapping[str, Any] | None:
        """The bytes of all files, and the versions of what reads them; None for little data, and for files at URLs.

        None too for a data set that is not kdkit's own: what its code makes of the rows is not known here.
        """
        names = [part.name for split in SPLITS if self.has(split) for part in self.parts(split)]
        if not type(self).__module__.startswith("kdkit.") or any(map(is_url, names)):
            return None
        paths = [user_path(name) for name in names]
        if not all(path.is_file() for path in paths) or sum(path.stat().st_size for path in paths) < KEPT_FROM:
            return None
        return {
            "files": [[name, file_digest(path)] for name, path in zip(names, paths, strict=True)],
            "readers": [file_digest(path) for path in sorted(Path(__file__).parent.glob("*.py"))],
            "versions": {name: version_of(name) for name in ("pyarrow", "zstandard")},
        }


def _read(file: str, split: SplitName) -> Callable[[RowReader], Iterable[Row]]:
    return lambda reader: reader.rows(file, split)


def _labels(files: Sequence[str]) -> list[str]:
    """The shortest ends of paths that tell files from each other; none for a file alone."""
    if len(files) == 1:
        return [""]
    parts = [PurePath(file).parts for file in files]
    for count in range(1, max(map(len, parts)) + 1):
        labels = ["/".join(each[-count:]) for each in parts]
        if len(set(labels)) == len(labels):
            return labels
    return list(files)
