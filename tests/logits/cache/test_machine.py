"""Any order of writing, dying, damaging, mending, joining and deleting, against a model of what must still be there.

The model knows which records were acknowledged, and which files were damaged since. Whatever happens: `verify` tells
the truth, no reader gets a wrong payload, and nothing that was acknowledged and is undamaged is ever lost.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import tempfile
from pathlib import Path

import attrs
import pytest
from cache_forgery import KINDS, states
from cache_kit import block, key, shards
from failing_disk import Died, Disk
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kdkit.errors import DamagedData, MissingInput
from kdkit.logits.cache import LogitCache, verify
from kdkit.logits.cache.format import read_shard
from kdkit.logits.cache.mending.merge import merge
from kdkit.logits.cache.mending.repair import repair
from kdkit.system.progress import Silent

NUMBERS = range(24)
KEYS = {key(number): number for number in NUMBERS}
SHARD_BYTES = 500


@attrs.frozen(kw_only=True)
class Damage:
    """What was done to a file, which lasts as long as the file stays as the damage left it.

    Attributes:
        path: The file.
        left: Its bytes then; None where it was deleted.
        numbers: The records that it may have cost.
        record: Whether only this one record of a shard is hurt, and the shard is whole otherwise.
    """

    path: Path
    left: bytes | None
    numbers: frozenset[int]
    record: bool

    @property
    def lasts(self) -> bool:
        return content(self.path) == self.left


def content(path):
    return path.read_bytes() if path.exists() else None


def numbers_in(path):
    return frozenset(KEYS[k.tobytes()] for k in read_shard(path).keys_N16)


class CacheMachine(RuleBasedStateMachine):
    kind = KINDS["fitted"]

    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="kdkit-machine-"))
        self.made = 0
        self.writer = None
        self.begin()
        reference = self.root / "reference"
        self.kind.fill(reference, NUMBERS)
        self.expected = self.kind.payloads(reference)

    def begin(self):
        """In a folder of its own each time."""
        self.made += 1
        self.folder = self.root / f"cache-{self.made}"
        self.acknowledged, self.pending, self.damages = set(), set(), []
        # The files that the manifest lists, with what was in them; None where there is no manifest.
        self.listed = None

    def teardown(self):
        if self.writer is not None:
            self.writer.__exit__(None, None, None)
        shutil.rmtree(self.root)

    # What the model knows.

    @property
    def manifest(self):
        return self.folder / "manifest.json"

    def lasting(self):
        self.damages = [damage for damage in self.damages if damage.lasts]
        return self.damages

    def hurt(self):
        return {number for damage in self.lasting() for number in damage.numbers}

    def is_damaged(self, path):
        return any(damage.path == path for damage in self.lasting())

    def learn_list(self):
        """What a manifest that was just written lists."""
        files = [self.folder / entry["file"] for entry in json.loads(self.manifest.read_bytes())["shards"]]
        self.listed = {path: numbers_in(path) for path in files}

    def acknowledge(self):
        self.acknowledged |= self.pending
        self.pending = set()

    # Writing.

    @initialize()
    def start(self):
        self.open_writer()

    @precondition(lambda self: self.writer is None)
    @rule()
    def open_writer(self):
        writer = self.kind.writer(self.folder, SHARD_BYTES)
        hurt = self.hurt()
        writer.__enter__()
        self.writer = writer
        self.kind.learn(writer)
        self.take_stock(hurt)

    def take_stock(self, hurt):
        """What a writer found must be all that was acknowledged and is undamaged, and nothing that never was."""
        present = {KEYS[k] for k in self.writer.done_keys}
        assert present >= self.acknowledged - hurt
        assert present <= self.acknowledged | self.pending  # what was sealed when the process died is there, or not
        self.acknowledged, self.pending = present, set()
        # A shard that is damaged and was kept has lost nothing but the teacher's name, which is for people.
        self.damages = [damage for damage in self.lasting() if damage.record and damage.path.exists()]
        if not self.manifest.exists():
            self.listed = None

    @precondition(lambda self: self.writer is not None)
    @rule(numbers=st.lists(st.sampled_from(NUMBERS), max_size=8))
    def add(self, numbers):
        for number in numbers:
            is_new = number not in self.acknowledged | self.pending
            if is_new:
                self.pending.add(number)
            assert self.writer.add_block(key(number), block(number)) == is_new
            if self.writer._growing is None:
                self.acknowledge()

    @precondition(lambda self: self.writer is not None)
    @rule()
    def seal(self):
        self.writer.seal()
        self.acknowledge()

    @precondition(lambda self: self.writer is not None)
    @rule()
    def finish(self):
        self.writer.finish()
        self.acknowledge()
        self.learn_list()
        assert self.listed.keys() == set(shards(self.folder))

    @precondition(lambda self: self.writer is not None)
    @rule()
    def leave(self):
        self.writer.__exit__(None, None, None)
        self.writer = None
        self.acknowledge()

    # Dying.

    @precondition(lambda self: self.writer is not None)
    @rule()
    def crash(self):
        self.bury(self.writer)

    @precondition(lambda self: self.writer is not None)
    @rule(act=st.sampled_from(["add", "seal", "finish"]), at=st.integers(0, 20), number=st.sampled_from(NUMBERS))
    def die_while_writing(self, act, at, number):
        acts = {"seal": self.seal, "finish": self.finish, "add": lambda: self.add([number, 23 - number])}
        listed, before = self.listed, content(self.manifest)
        try:
            with Disk(self.folder, at=at, for_good=True, kills=True).in_use():
                acts[act]()
        except Died:
            self.bury(self.writer)
            after = content(self.manifest)
            if after != before:
                self.learn_list()
            else:
                self.listed = listed

    @precondition(lambda self: self.writer is None and self.folder.exists())
    @rule(at=st.integers(0, 30))
    def die_while_opening(self, at):
        writer, hurt = self.kind.writer(self.folder, SHARD_BYTES), self.hurt()
        try:
            with Disk(self.folder, at=at, for_good=True, kills=True).in_use():
                writer.__enter__()
        except Died:
            self.give_up(hurt)
        else:
            self.writer = writer
            self.kind.learn(writer)
            self.take_stock(hurt)

    def give_up(self, hurt):
        """What was damaged may have been cleared away, or not yet; the rest must be there."""
        if not self.manifest.exists():
            self.listed = None
        self.pending |= self.acknowledged & hurt
        self.acknowledged -= hurt

    def bury(self, writer):
        """A process death: the system closes its files and lets go of its lock; what was buffered is nowhere."""
        if writer._growing is not None and writer._growing.is_open:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, writer._growing._file.fileno())
            os.close(nowhere)
            writer._growing._file.close()
        writer._lock.close()
        self.writer = None

    @precondition(lambda self: self.writer is None and self.folder.exists())
    @rule(raw=st.binary(max_size=20), name=st.sampled_from(["shard-00000.safetensors", "manifest.json", "other"]))
    def leave_a_temporary(self, raw, name):
        (self.folder / f".{name}.tmp").write_bytes(raw)

    # Damage.

    @precondition(lambda self: self.writer is None and self.folder.exists())
    @rule(data=st.data(), way=st.sampled_from(["flip", "flip", "cut", "delete"]))
    def damage(self, data, way):
        files = [path for path in [*shards(self.folder), *states(self.folder)] if not self.is_damaged(path)]
        if self.manifest.exists() and not self.is_damaged(self.manifest):
            files.append(self.manifest)
        if not files:
            return
        path = data.draw(st.sampled_from(files))
        raw, place = bytearray(path.read_bytes()), None
        numbers, record = self.at_stake(path), False
        if way == "delete":
            path.unlink()
        elif way == "cut":
            path.write_bytes(raw[: data.draw(st.integers(0, len(raw) - 1))])
        else:
            place = data.draw(st.integers(0, len(raw) - 1))
            # An unfinished capture cannot tell a newer version from a flipped digit.
            place += place == raw.find(b'"version":"') + 11 and path.name.startswith("shard")
            number = self.record_at(path, place)
            if number is not None:
                numbers, record = frozenset([number]), True
            raw[place] ^= 1 << data.draw(st.integers(0, 7))
            path.write_bytes(raw)
        if path == self.manifest and way == "delete":
            self.listed = None
        else:
            self.damages.append(Damage(path=path, left=content(path), numbers=numbers, record=record))

    def at_stake(self, path):
        if path == self.manifest:
            return frozenset()
        if path.name.startswith("shard"):
            return numbers_in(path)
        return frozenset(number for shard in self.users_of(path) for number in numbers_in(shard))

    def users_of(self, state):
        """The undamaged shards that need a state."""
        found = [path for path in shards(self.folder) if not self.is_damaged(path)]
        return [path for path in found if read_shard(path).state[:32] in state.name and read_shard(path).state]

    def record_at(self, path, place):
        if not path.name.startswith("shard"):
            return None
        shard = read_shard(path)
        ends = shard.offsets_M + shard.payload_start
        found = [i for i in range(shard.records) if ends[i] <= place < ends[i + 1]]
        return KEYS[shard.keys_N16[found[0]].tobytes()] if found else None

    # Looking.

    @rule()
    def verify_tells_the_truth(self):
        if self.listed is None:
            with pytest.raises(MissingInput):
                verify(self.folder)
            return
        faults = {fault.file for fault in verify(self.folder)}
        if self.is_damaged(self.manifest):
            assert faults == {"manifest.json"}
            return
        needed = {path.name for path in self.listed}
        damaged = {damage.path.name for damage in self.lasting()}
        expected = damaged & needed
        # A state is a part of the cache where a shard needs it that the manifest lists, be it whole or not.
        expected |= {name for name in damaged if name.startswith("state") and self.listed}
        assert faults == expected

    @rule()
    def no_reader_gets_a_wrong_payload(self):
        if self.listed is None:
            with pytest.raises(MissingInput):
                self.kind.open(self.folder)
            return
        lasting = self.lasting()
        if any(d.path == self.manifest or (d.path in self.listed and not d.record) for d in lasting):
            with pytest.raises(DamagedData):
                self.kind.open(self.folder)
            return
        cache = self.kind.open(self.folder)
        numbers = {number for inside in self.listed.values() for number in inside}
        assert {KEYS[k] for k in cache} == numbers
        hurt = {number for d in lasting if d.record for number in d.numbers}
        is_state_lost = any(d.path.name.startswith("state") for d in lasting)
        for number in numbers:
            if number in hurt:
                with pytest.raises(DamagedData, match="record"):
                    cache.get(key(number))
            else:
                assert cache.get(key(number)) == self.expected[key(number)]
            if number in hurt or is_state_lost:
                with pytest.raises(DamagedData):
                    cache.decode(key(number))
            else:
                assert cache.decode(key(number)).shape == (number % 5, cache.vocab_size)

    # Mending, joining, deleting.

    @precondition(lambda self: self.writer is None and self.folder.exists())
    @rule(dies_at=st.none() | st.integers(0, 80))
    def mend(self, dies_at):
        hurt, promised = self.hurt(), self.listed
        if not shards(self.folder) and not self.manifest.exists():
            with pytest.raises(MissingInput):
                repair(self.folder, progress=Silent())
            return
        before = content(self.manifest)
        try:
            with Disk(self.folder, at=dies_at, for_good=True, kills=True).in_use():
                repaired = repair(self.folder, progress=Silent())
        except DamagedData:
            # Not one shard, and not even the manifest can be read.
            assert self.acknowledged <= hurt
            return
        except Died:
            self.give_up(hurt)
            if self.listed is not None and content(self.manifest) != before:
                self.learn_list()
            return
        kept = {number for path in shards(self.folder) for number in numbers_in(path)}
        assert kept >= self.acknowledged - hurt
        assert kept <= self.acknowledged | self.pending
        assert len(kept) == repaired.kept
        assert repaired.finished == self.manifest.exists()
        assert not repaired.finished or promised is not None
        self.acknowledged, self.pending, self.damages = kept, set(), []
        self.listed = None
        if repaired.finished:
            assert verify(self.folder) == []
            self.learn_list()

    @precondition(lambda self: self.writer is None and self.folder.exists())
    @rule(numbers=st.sets(st.sampled_from(NUMBERS), max_size=8), is_first=st.booleans())
    def join(self, numbers, is_first):
        other, out = self.root / f"other-{self.made}", self.root / f"cache-{self.made + 1}"
        shutil.rmtree(other, ignore_errors=True)
        self.kind.fill(other, sorted(numbers))
        parts = [self.folder, other] if is_first else [other, self.folder]
        concerned = {self.manifest, *(self.listed or ())}
        is_damaged = any(d.path in concerned or d.path.name.startswith("state") for d in self.lasting())
        if self.listed is None or (is_damaged and (self.listed or self.is_damaged(self.manifest))):
            with pytest.raises(MissingInput if self.listed is None else DamagedData):
                merge(out, parts, progress=Silent())
            assert not out.exists()
            return
        merge(out, parts, progress=Silent())
        expected = numbers | {number for inside in self.listed.values() for number in inside}
        self.begin()
        assert self.folder == out
        assert verify(out) == []
        self.acknowledged = expected
        self.learn_list()
        assert {k: LogitCache.open(out).get(k) for k in map(key, expected)} == {
            k: self.expected[k] for k in map(key, expected)
        }

    @precondition(lambda self: self.writer is None)
    @rule()
    def delete(self):
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.begin()

    @invariant()
    def nothing_acknowledged_and_undamaged_is_gone(self):
        if not self.folder.exists():
            return
        there = {
            number
            for path in shards(self.folder)
            if not any(d.path == path and not d.record for d in self.lasting())
            for number in numbers_in(path)
        }
        assert there >= self.acknowledged - self.hurt()


class U8Machine(CacheMachine):
    kind = KINDS["u8-lz4"]


LIMITS = settings(max_examples=40, stateful_step_count=30, deadline=None, derandomize=True)
CacheMachine.TestCase.settings = U8Machine.TestCase.settings = LIMITS


@pytest.fixture(autouse=True)
def no_syncs(monkeypatch):
    """They take most of the time; what dies here is a process and not the power."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    yield
    gc.collect()


TestFittedCache = CacheMachine.TestCase
TestPlainCache = U8Machine.TestCase
