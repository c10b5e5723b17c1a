"""Fills a logit cache: one process or several ask the teacher for the missing logits.

Several processes share the work as those of `kdkit capture --part` do: each captures a part, in a folder beside the
cache, and the lead takes the parts into it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np

from kdkit.data.encoded_rows import IdSet
from kdkit.errors import Busy
from kdkit.logits.cache import CacheWriter, LogitCache, Part, first_rows, take_parts
from kdkit.logits.cache.manifest import MANIFEST
from kdkit.logits.cache.remote.transfer import mirror, mirrored
from kdkit.logits.cache.state import NO_STATE, read_state
from kdkit.logits.encoder import TeacherEncoder
from kdkit.pipeline.estimate import check_space
from kdkit.pipeline.needed_logits import is_finished
from kdkit.runs.stage_facts import Captured, PartCaptured
from kdkit.store import found_or_making
from kdkit.system.signals import graceful
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kdkit.api.interfaces import OpenTeacher
    from kdkit.api.interfaces.codecs import AnyCodec, CodecState
    from kdkit.data.row_keys import RowKeys
    from kdkit.logits.cache.parts import Chosen
    from kdkit.pipeline.needed_logits import NeededLogits
    from kdkit.system.progress import Progress
    from kdkit.system.team import Team


@attrs.frozen(kw_only=True, eq=False)
class CacheFilling:
    """Fills the cache with the logits that a run needs.

    Attributes:
        needed: The logits.
        teacher: Computes them; it is open.
        codec: Encodes them.
        shard_bytes: How big a file of the cache is at most.
        progress: Where progress is shown.
        team: The processes of the run.
    """

    needed: NeededLogits
    teacher: OpenTeacher
    codec: AnyCodec
    shard_bytes: int
    progress: Progress
    team: Team

    def fill(self) -> Captured:
        """Capture the logits that the cache lacks.

        Raises:
            UsageError: There is no room on the disk.
            DamagedData: A part of the cache, captured by another process, is damaged.
        """
        shared_out = self.team.size > 1 and self._fill_shares()
        return self.team.lead_does(lambda: self._fill_whole(fresh=shared_out))

    def fill_part(self, part: Part) -> PartCaptured:
        """Capture the missing logits of a part, in a folder beside the cache, where `fill` finds it.

        Raises:
            UsageError: There is no room on the disk.
        """
        needed, note = self.needed, self.progress.note
        if needed.url is not None:
            mirror(needed.url, needed.identity, note=note)
        own_R = part.owned(self.teacher.groups(needed.rows), needed.keys)
        shared = needed.open_cache()
        lacking_R = own_R & ~_held_by(shared, needed.keys)
        caches = [shared] if shared is not None else []
        folder = needed.folder
        if lacking_R.any() or shared is None:
            folder = part.folder(needed.folder)
            self._capture(folder, lacking_R, state=_last_state(shared))
            if needed.url is not None:
                # No folder is shared: what was captured here goes to where all parts can be had.
                with mirrored(needed.url, needed.identity, note=note):
                    self._take_parts()
                folder = needed.folder
            caches.append(LogitCache.open(folder, needed.identity))
        else:
            note(f"capture: {plural(int(own_R.sum()), 'record')} of this part are already in {folder}")
        told = self._told(folder, caches, own_R)
        outputs = (str(folder.absolute() / MANIFEST),)
        return PartCaptured(**attrs.asdict(told), shared=str(needed.folder.absolute()), outputs=outputs)

    def _fill_shares(self) -> bool:
        """Capture the missing logits, each process a part; the lead has to take the parts into the cache afterwards.

        Returns:
            Whether it lacked anything.
        """
        if self.team.lead_does(self._has_all):
            return False
        needed, part = self.needed, Part(index=self.team.rank, count=self.team.size)
        shared = needed.open_cache()
        lacking_R = part.owned(self.teacher.groups(needed.rows), needed.keys) & ~_held_by(shared, needed.keys)
        if lacking_R.any():
            self._capture(part.folder(needed.folder), lacking_R, state=_last_state(shared))
        self.team.wait()
        return True

    def _has_all(self) -> bool:
        """Bring all that was captured before, here or elsewhere, into the cache; tells whether nothing is missing."""
        if self.needed.url is not None:
            mirror(self.needed.url, self.needed.identity, note=self.progress.note)
        self._take_parts()
        return self.needed.are_there()

    def _fill_whole(self, *, fresh: bool) -> Captured:
        if self.needed.url is None:
            return self._fill_folder(fresh=fresh)
        with mirrored(self.needed.url, self.needed.identity, note=self.progress.note):
            return self._fill_folder(fresh=fresh)

    def _fill_folder(self, *, fresh: bool) -> Captured:
        """Take the parts, and capture what is missing then; `fresh` says that this run has just captured some of it."""
        self._take_parts()
        needed, note = self.needed, self.progress.note
        own_R = np.ones(len(needed.rows), np.bool_)
        with found_or_making(needed.folder, what="logits", note=note, is_there=needed.are_there) as whole:
            if not whole:
                self._capture(needed.folder, own_R)
        if whole and not fresh:
            note(f"capture: {needed.keys.different} records are already in {needed.folder}")
        # Of this run's own rows; the cache may hold those of others too.
        told = self._told(needed.folder, [LogitCache.open(needed.folder, needed.identity)], own_R)
        return attrs.evolve(told, reused=whole and not fresh)

    def _told(self, folder: Path, caches: Sequence[LogitCache], own_R: Chosen) -> Captured:
        """The process's own records in some caches, the one in `folder` among them."""
        keys = self.needed.keys
        left_RK = keys.keys_RK[keys.first_of(np.flatnonzero(own_R))]
        records = tokens = size = 0
        for cache in reversed(caches):
            held_R = cache.holds(left_RK)
            tokens_N, bytes_N = cache.sizes(left_RK[held_R])
            records, tokens, size = records + len(tokens_N), tokens + int(tokens_N.sum()), size + int(bytes_N.sum())
            left_RK = left_RK[~held_R]
        return Captured(
            identity=self.needed.identity.teacher,
            tokenizer=self.needed.identity.tokenizer,
            cache=str(folder.absolute()),
            codec=self.needed.identity.codec,
            records=records,
            tokens=tokens,
            bytes=size,
            bytes_per_token=round(size / tokens, 3) if tokens else None,
            url=self.needed.url,
        )

    def _take_parts(self) -> None:
        """Take into the cache what other processes captured; what one that is gone had sealed of its part as well."""
        folder, identity, note = self.needed.folder, self.needed.identity, self.progress.note
        for part in sorted(folder.parent.glob(f"{folder.name}.part-*-of-*")):
            if is_finished(part):
                continue
            try:
                with CacheWriter(part, identity, None, lock_seconds=0, note=note) as writer:
                    if writer.done_keys:
                        writer.finish()
            except Busy as error:
                note(str(error))
        if merged := take_parts(folder, identity, self.progress):
            note(f"capture: merged the parts beside {folder} into it: {merged.describe()}")

    def _capture(self, folder: Path, own_R: Chosen, *, state: CodecState | None = None) -> None:
        """Add missing logits to a cache; other readers see the cache unchanged meanwhile.

        All rows are named to the teacher: whatever is asked of them, it computes them in the same groups.

        Args:
            folder: The cache, or a part of it.
            own_R: The rows whose records are to be in it.
            state: What its codec has learnt, if that is known already.
        """
        rows, keys, identity = self.needed.rows, self.needed.keys, self.needed.identity
        with CacheWriter(folder, identity, self.codec, self.shard_bytes, note=self.progress.note) as writer:
            # A key that several rows share is captured of the first: so it is the same record however many processes
            # share the work.
            own_R = keys.alike(own_R)
            missing_R = own_R & first_rows(self.teacher.groups(rows), keys) & ~_done(writer, keys)
            missing, total = int(missing_R.sum()), int(own_R.sum())
            tokens = int(rows.target_lengths[missing_R].sum())
            check_space({folder: int(tokens * self.codec.bytes_per_token(identity.vocab_size))})
            with graceful() as stop:
                encoder = TeacherEncoder.of(self.teacher, self.codec, self.progress)
                if missing:
                    encoder.check(rows, keys)
                if missing and writer.needs_state:
                    writer.learn(state if state is not None else encoder.learn(rows, keys))
                done = IdSet(rows=rows, chosen_R=~missing_R)
                with self.progress.task("capture", total=total, unit="rows", done=total - missing) as task:
                    for _ in encoder.add_all(writer, rows, keys, done) if missing else ():
                        task.advance()
                        if stop:
                            writer.seal()
                            raise stop.leave(f"sealed {len(writer.done_keys)} records of {total} rows")
            writer.finish()


def _held_by(cache: LogitCache | None, keys: RowKeys) -> Chosen:
    """Of which rows a cache has the records."""
    return np.zeros(len(keys), np.bool_) if cache is None else cache.holds(keys.keys_RK)


def _done(writer: CacheWriter, keys: RowKeys) -> Chosen:
    """Of which rows a writer has the records already."""
    done = writer.done_keys
    return np.fromiter((bool(done) and keys.at(row) in done for row in range(len(keys))), np.bool_, len(keys))


def _last_state(cache: LogitCache | None) -> CodecState | None:
    """The state of a cache's codec, if it has one: every process that adds to the cache uses the same state."""
    if cache is None or not cache.manifest.shards or cache.manifest.shards[-1].state == NO_STATE:
        return None
    return read_state(cache.folder, cache.manifest.shards[-1].state)
