"""Which logits a run needs, the cache in the store that they belong in, and reading them from there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from kdkit.data.encoded_rows import EncodedRows
from kdkit.data.rows import more_of
from kdkit.data.splitting import drawn
from kdkit.logits.cache import CacheIdentity, LogitCache
from kdkit.logits.cache.manifest import MANIFEST
from kdkit.logits.cache.remote.mirror import mirror_of
from kdkit.logits.targets import CachedTargets, check_covers, keys_of
from kdkit.models import tokenizer_digest
from kdkit.plugins.fields import identity_of
from kdkit.store.rows import rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.interfaces import OpenTeacher, Tokenizer
    from kdkit.api.interfaces.codecs import AnyCodec
    from kdkit.api.options import Evaluation, Training
    from kdkit.api.values import Corpus, EncodedExample
    from kdkit.data.row_keys import RowKeys
    from kdkit.data.rows import Encoding
    from kdkit.runs.stage_facts import Captured


@attrs.frozen(kw_only=True, eq=False)
class NeededLogits:
    """The logits that a run needs.

    Attributes:
        identity: Of the cache that they belong in.
        rows: The rows that they are of.
        keys: Each row's id to its key in the cache.
        folder: The cache; the mirror of one at a URL.
        url: Where the cache is, if it is at a URL.
    """

    identity: CacheIdentity
    rows: EncodedRows
    keys: RowKeys
    folder: Path
    url: str | None

    @classmethod
    def of(
        cls,
        teacher: OpenTeacher,
        rows: EncodedRows,
        codec: AnyCodec,
        *,
        codec_name: str,
        teacher_name: str,
        place: Path | str,
    ) -> NeededLogits:
        """The logits needed of an open teacher.

        Args:
            teacher: The teacher.
            rows: The rows.
            codec: Encodes the logits.
            codec_name: Its name.
            teacher_name: What the cache calls the teacher.
            place: The folder, or the URL, where the logits of all teachers are kept.
        """
        identity = CacheIdentity(
            teacher=teacher.identity,
            teacher_name=teacher_name,
            tokenizer=tokenizer_digest(teacher.tokenizer),
            codec=codec_name,
            codec_options=identity_of(codec),
            vocab_size=teacher.vocab_size,
        )
        name = identity.digest[:32]
        url = f"{place}/{name}" if isinstance(place, str) else None
        return cls(
            identity=identity,
            rows=rows,
            keys=keys_of(rows, teacher=identity.teacher, tokenizer=identity.tokenizer),
            folder=mirror_of(f"{place}/{name}", identity) if isinstance(place, str) else place / name,
            url=url,
        )

    def open_cache(self) -> LogitCache | None:
        """The cache if it is finished; else None.

        Raises:
            Mismatch: It belongs to something else.
            DamagedData: It is not what was written.
        """
        return LogitCache.open(self.folder, self.identity) if is_finished(self.folder) else None

    def are_there(self) -> bool:
        """Whether the cache has all of them."""
        cache = self.open_cache()
        return cache is not None and bool(cache.holds(self.keys.keys_RK).all())


def needed_rows(
    corpus: Corpus, tokenizer: Tokenizer, encoding: Encoding, training: Training, evaluation: Evaluation
) -> EncodedRows:
    """The rows whose logits some stage will read: training, validation, and those that are scored."""
    parts = [(drawn(corpus.train, training.rows), 0), (corpus.validation, training.validation_rows)]
    if corpus.test:
        parts.append((corpus.test, evaluation.rows))
    else:  # then some of the same validation rows are scored
        parts[1] = (corpus.validation, more_of(training.validation_rows, evaluation.rows))
    return EncodedRows.joined(
        [rows_of(examples, tokenizer, encoding, at_most=at_most).encoded for examples, at_most in parts if examples]
    )


def captured_targets(
    captured: Captured, rows: Sequence[EncodedExample], *, codec: AnyCodec, device: str
) -> CachedTargets:
    """The logits of some rows, out of the cache that they were captured in.

    Args:
        captured: Where they are.
        rows: The rows.
        codec: The recipe's, which encoded them: its plugin need not be installed.
        device: Where the targets go.

    Raises:
        Mismatch: The cache lacks a row.
    """
    cache = LogitCache.open(Path(captured.cache), codec=codec)
    keys = keys_of(rows, teacher=captured.identity, tokenizer=captured.tokenizer)
    check_covers(cache, keys)
    return CachedTargets(cache=cache, keys=keys, device=device)


def is_finished(folder: Path) -> bool:
    """Whether there is a finished cache in a folder."""
    return (folder / MANIFEST).exists()
