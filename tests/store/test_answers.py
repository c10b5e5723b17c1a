"""Answers that the store keeps come back to the bit, and are made again where they are damaged or cannot be kept."""

from __future__ import annotations

import numpy as np
import pytest
import team_kit
import tiny

from kdkit.store.answers import kept_or_made
from kdkit.system.team import ALONE

ANSWERS = {
    "sums": np.array([0.1, -0.0, np.nan, np.inf, 5e-324]),
    "counts": np.array([2**62, -1]),
    "right": np.array([True, False, True]),
    "none": np.empty((0, 3)),
}


class Asked:
    """A model that counts how often it is asked."""

    def __init__(self, store, key="k", team=ALONE):
        self.store, self.key, self.team, self.times, self.notes = store, key, team, 0, tiny.Notes()

    def make(self):
        self.times += 1
        return ANSWERS

    def __call__(self, key=None):
        found = kept_or_made(
            key or self.key, self.store, self.make, name="teacher", progress=self.notes, team=self.team
        )
        assert found.keys() == ANSWERS.keys()
        for name, array in ANSWERS.items():
            assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
            assert found[name].tobytes() == array.tobytes(), name
        return self.times


def test_what_was_answered_once_is_kept_to_the_bit(tmp_path):
    asked = Asked(tmp_path)
    assert [asked(), asked(), asked("other"), asked()] == [1, 1, 2, 2]
    entry = tmp_path / "answers" / "k.bin"
    assert asked.notes.notes == [f"teacher: answers taken from {entry}"] * 2


@pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: raw[:-9] + b"123456789", lambda _: b""])
def test_damaged_answers_are_made_again(tmp_path, damage):
    asked, entry = Asked(tmp_path), tmp_path / "answers" / "k.bin"
    asked()
    whole = entry.read_bytes()
    entry.write_bytes(damage(whole))
    assert asked() == 2
    assert asked.notes.notes == [f"{entry} is damaged; the model is asked again"]
    assert entry.read_bytes() == whole


def test_a_store_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "answers").write_bytes(b"no folder")
    asked = Asked(tmp_path)
    assert [asked(), asked()] == [1, 2]
    assert asked.notes.notes == []


def test_all_processes_of_a_team_have_all_answers_and_its_lead_keeps_them(tmp_path):
    members = {}

    def both(team):
        members[team.rank] = asked = Asked(tmp_path, team=team)
        return asked(), asked()

    assert team_kit.in_threads(both, 2) == [(1, 1), (1, 1)]
    assert len(members[0].notes.notes) == 1
    assert members[1].notes.notes == []
