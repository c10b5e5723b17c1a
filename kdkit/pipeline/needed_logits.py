"""Which logits a run needs, and the cache in the store that they belong in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.data.rows import rows_of
from kdkit.logits.cache import CacheIdentity, LogitCache
from kdkit.logits.cache.manifest import MANIFEST
from kdkit.logits.cache.remote.mirror import mirror_of
from kdkit.logits.targets import keys_of
from kdkit.models import tokenizer_digest
from kdkit.plugins.fields import identity_of
from kdkit.store import logits_of

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.api.interfaces import OpenTeacher, Tokenizer
    from kdkit.api.values import Corpus, EncodedExample
    from kdkit.recipe import Recipe
    from kdkit.runs.run import Run


@attrs.frozen(kw_only=True, eq=False)
class Wanted:
    """The logits that a run needs.

    Attributes:
        identity: Of the cache that they belong in.
        rows: The rows that they are of.
        keys: Each row's id to its key in the cache.
        folder: The cache; the mirror of one at a URL.
        url: Where the cache is, if it is at a URL.
    """

    identity: CacheIdentity
    rows: list[EncodedExample]
    keys: dict[str, bytes]
    folder: Path
    url: str | None

    @classmethod
    def of(cls, run: Run, teacher: OpenTeacher, corpus: Corpus) -> Wanted:
        """Those of a run whose teacher is open."""
        recipe = run.recipe
        identity = CacheIdentity(
            teacher=teacher.identity,
            teacher_name=f"{recipe.name}: {recipe.names['teacher']}",
            tokenizer=tokenizer_digest(teacher.tokenizer),
            codec=recipe.names["codec"],
            codec_options=identity_of(recipe.codec),
            vocab_size=teacher.vocab_size,
        )
        rows = wanted_rows(recipe, teacher.tokenizer, corpus)
        logits, name = logits_of(recipe, run.store), identity.digest[:32]
        url = f"{logits}/{name}" if isinstance(logits, str) else None
        return cls(
            identity=identity,
            rows=rows,
            keys=keys_of(rows, teacher=identity.teacher, tokenizer=identity.tokenizer),
            folder=mirror_of(url, identity) if url is not None else run.store / "logits" / name,
            url=url,
        )

    def open_cache(self) -> LogitCache | None:
        """The cache as far as it is finished; None where it is not.

        Raises:
            Mismatch: It belongs to something else.
            DamagedData: It is not what was written.
        """
        return LogitCache.open(self.folder, self.identity) if is_finished(self.folder) else None


def wanted_rows(recipe: Recipe, tokenizer: Tokenizer, corpus: Corpus) -> list[EncodedExample]:
    """The rows whose logits some stage will read: training, validation, and those that are scored."""
    parts = (
        (corpus.train, 0),
        (corpus.validation, recipe.training.validation_rows),
        (corpus.held_out, recipe.evaluation.rows),
    )
    rows = {
        row.id: row
        for examples, at_most in parts
        for row in rows_of(examples, tokenizer, recipe.tokens, at_most=at_most).encoded
    }
    return list(rows.values())


def is_finished(folder: Path) -> bool:
    """Whether there is a finished cache in a folder."""
    return (folder / MANIFEST).exists()
