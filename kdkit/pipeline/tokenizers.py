"""Tokenizers that are trained on the rows, kept by what they depend on: `tokenizers/KEY/` of the store.

KEY is a digest of the training rows, the teacher's options and the versions that train. Every stage of a run, and
every start of it, asks for the tokenizer; of a large corpus the training takes minutes. Beside the files of the
tokenizer lies `facts.json` with their digests, so that a damaged entry is made again.
"""

from __future__ import annotations

import errno
import importlib.metadata
from typing import TYPE_CHECKING, Any

from kdkit.data import corpus as corpora
from kdkit.errors import DamagedData
from kdkit.models import load_tokenizer
from kdkit.store.sharing import found_or_making
from kdkit.system.digests import digest_of
from kdkit.system.files import make_folder, publish, write_json
from kdkit.system.folders import delete, discard_folder
from kdkit.system.progress import Silent
from kdkit.system.reading import file_digest, read_json

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.values import Corpus
    from kdkit.recipe import Recipe
    from kdkit.system.progress import Progress

_FACTS = "facts.json"
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT)
_FORMAT = 1
"""Changed with whatever changes the tokenizers that `kdkit.models.train_bpe` makes."""


def tokenizer_of(recipe: Recipe, corpus: Corpus, store: Path, progress: Progress | None = None) -> Tokenizer:
    """The tokenizer of a recipe's teacher; one that is trained on the rows is trained once.

    Args:
        recipe: The recipe.
        corpus: Its rows.
        store: The folder that runs share.
        progress: Where it is told that an entry is damaged, or made by another run; by default nowhere.
    """
    progress = progress or Silent()
    if not getattr(recipe.teacher, "is_self_contained", False):
        return recipe.teacher.load_tokenizer(corpus)
    entry = store / "tokenizers" / _key(recipe, corpus)
    found = _look(entry, progress)
    if found is not None:
        return found
    try:
        with found_or_making(entry, what="tokenizer", note=progress.note, is_there=entry.is_dir) as is_there:
            if not is_there:
                _put(entry, recipe.teacher.load_tokenizer(corpus))
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        return recipe.teacher.load_tokenizer(corpus)
    found = _look(entry, progress)
    assert found is not None, f"{entry} was just made"
    return found


def _key(recipe: Recipe, corpus: Corpus) -> str:
    return digest_of(
        {
            "format": _FORMAT,
            "rows": corpora.digest_of_rows(corpus.train),
            "teacher": [recipe.names["teacher"], recipe.digested["teacher"]],
            "versions": {name: importlib.metadata.version(name) for name in ("tokenizers", "transformers")},
        }
    )[:32]


def _put(entry: Path, tokenizer: Tokenizer) -> None:
    folder = entry.with_name(f".{entry.name}.partial")
    discard_folder(folder)
    make_folder(folder)
    whole: Any = tokenizer
    whole.save_pretrained(folder)
    write_json(folder / _FACTS, {path.name: file_digest(path) for path in sorted(folder.iterdir())})
    publish(folder, entry)


def _look(entry: Path, progress: Progress) -> Tokenizer | None:
    if not entry.is_dir():
        return None
    try:
        expected = read_json(entry / _FACTS)
        found = {path.name: file_digest(path) for path in entry.iterdir() if path.name != _FACTS}
        if found != expected:
            raise ValueError("its files are not what was kept there")  # noqa: TRY301
        return load_tokenizer(str(entry))
    except (DamagedData, OSError, ValueError) as error:
        progress.note(f"{entry} is damaged ({error}); its tokenizer is trained again")
        delete([entry])
        return None
