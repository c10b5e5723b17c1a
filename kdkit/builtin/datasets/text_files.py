"""The data set `text-files`: folders of plain text, each file a text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.api.options import option
from kdkit.api.values import SPLITS, Origin
from kdkit.data import Part, RowOptions
from kdkit.data.text_folders import ENDINGS, text_files, text_rows
from kdkit.system.files import user_path
from kdkit.system.front_matter import FILE, front_matter, licence_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.values import SplitName


@attrs.frozen(kw_only=True)
class TextFiles(RowOptions):
    """Files of plain text in folders, for decoder-only models; each has the fields `text`, `path` and `folder`."""

    train: str | tuple[str, ...] = option(
        "Folder of training texts, with the folders in it; or several, or patterns (notes/**/*.txt)."
    )
    validation: str | tuple[str, ...] | None = option(
        "The same of validation texts; by default, a share of the training texts.", default=None
    )
    test: str | tuple[str, ...] | None = option(
        "The same of test texts; by default, evaluation uses the validation texts.", default=None
    )
    endings: tuple[str, ...] = option("What the names of files in a folder end with that are read.", default=ENDINGS)
    text: str | None = option(
        "What is learned of a file: its text, or a template with it, such as `# {path}\\n{text}`. It is read in blocks "
        "(tokens.max_length), and the blocks of one text stay in one split.",
        default="text",
    )
    id: str | None = option("Field with each row's id.", default="path")

    def check_inputs(self) -> None:
        """Refuse folders that are not there, before anything heavy is imported.

        Raises:
            MissingInput: Names the first, and the option.
        """
        for split in SPLITS:
            self.parts(split)

    def origins(self) -> Sequence[Origin]:
        """Each folder, with the licence that a README.md there names."""
        found = []
        for name in (each for split in SPLITS for each in self._named(split)):
            licence = licence_in(front_matter(user_path(name))) if user_path(name).is_dir() else ""
            found.append(Origin(of=name, licence=licence, said_by=f"its {FILE}" if licence else ""))
        return found

    def parts(self, split: SplitName) -> Sequence[Part]:
        """Each folder, file or pattern of a split."""
        return [self._part(name, split) for name in self._named(split)]

    def _named(self, split: SplitName) -> tuple[str, ...]:
        named = getattr(self, split)
        return (named,) if isinstance(named, str) else named or ()

    def _part(self, name: str, split: SplitName) -> Part:
        files = text_files(name, option=split, endings=self.endings)
        return Part(name=name, rows=lambda reader: text_rows(files, skip=reader.skip))
