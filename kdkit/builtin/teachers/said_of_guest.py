"""What is known of another tool's log-probabilities: what the recipe says of them, and what their first sequence shows.

Letters in names of arrays: P positions, K entries.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import numpy as np

from kdkit.api.values import KnownLogits
from kdkit.data.guests import checks
from kdkit.data.guests.opening import digested, open_guest
from kdkit.data.guests.spread import share_of_others
from kdkit.errors import MissingInput, UsageError
from kdkit.models import target_size
from kdkit.system.digests import digest_of
from kdkit.system.reading import file_digest

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.api.interfaces import Tokenizer
    from kdkit.data.guests.guest import Guest, LogpArray, Positions

REST, NONE = "rest", "none"
"""What the entries that were not kept have together: what is missing from 1, or nothing."""
_LOOKED_AT = 16


@attrs.frozen(kw_only=True)
class Said:
    """What a recipe says of another tool's log-probabilities; see the options of the teacher `imported`.

    Attributes:
        name: Where they lie, as the recipe has it.
        place: Where they lie.
        ids: The file of their sequences' ids, where they have none.
        temperature: That of the probabilities.
        tail: `REST` or `NONE`.
        about: Which token a position's are about.
        partial: Whether rows may lack some.
    """

    name: str
    place: Path
    ids: Path | None
    temperature: float
    tail: str
    about: str
    partial: bool

    def identity(self) -> str:
        """Digest of the files' bytes, and of what is said of them; where they lie does not count."""
        said = {each: getattr(self, each) for each in ("temperature", "tail", "about", "partial")}
        return digest_of(["imported", 1, [file_digest(file) for file in digested(self.place, self.ids)], said])

    def open(self, tokenizer: Tokenizer) -> Guest:
        """The log-probabilities, open for reading; only heads are read.

        Raises:
            MissingInput: They are not there.
            UsageError: They are of no known format, or over another vocabulary.
            DamagedData: They are cut or damaged.
        """
        begin = getattr(tokenizer, "bos_token_id", None)
        guest = open_guest(self.place, about=self.about, ids=self.ids, begin=begin)
        if guest.width is not None and guest.width < target_size(tokenizer):
            raise UsageError(
                f"{self.name} is over {guest.width:,} entries, but the tokenizer has ids up to "
                f"{target_size(tokenizer) - 1:,}; set teacher.tokenizer to the one that the logits were made with"
            )
        return guest

    def known(self, tokenizer: Tokenizer) -> KnownLogits:
        """What is known of them, as far as the first sequence tells.

        Raises:
            MissingInput: They are not there.
            UsageError: They are of no known format, or not over this vocabulary, or do not say what was left out.
            DamagedData: They are cut or damaged.
        """
        guest, width = self.open(tokenizer), target_size(tokenizer)
        positions = _first(guest)
        if positions is None:
            raise MissingInput(f"{self.name} has no log-probabilities; write it again")
        entries, said = None, f"all {guest.width or width:,} entries"
        if not guest.is_whole:
            _, logp_PK = checks.entries_of(positions, width=width)
            there_P = (logp_PK > -math.inf).sum(axis=1)
            entries = int(there_P[there_P > 0].min())
            self.check_tail(logp_PK[there_P > 0])
            said = f"the {entries} largest of {width:,} entries and the mass of the others,"
            if entries >= width:
                entries, said = None, f"all {width:,} entries"
            elif self.tail == NONE:
                said = f"the {entries} largest of {width:,} entries, taken for all there is,"

        def error_at(temperature: float) -> str:
            low, high, here = _shares(positions, width, ratio=temperature / self.temperature)
            return (
                f"the other entries' share of a token, {here:.3f} there, would be anything from {low:.3f} to "
                f"{high:.3f} at {temperature:g}"
            )

        return KnownLogits(
            in_words=f"{guest.what} in {self.name}, {said} at temperature {self.temperature:g}",
            temperature=self.temperature,
            entries=entries,
            error_at=error_at,
        )

    def check_tail(self, logp_PK: LogpArray) -> None:
        """Refuse entries that sum to 1 although others were left out, unless the recipe says so.

        Raises:
            UsageError: What the others have is lost.
        """
        if self.tail == REST and checks.leaves_nothing(logp_PK):
            raise UsageError(
                f"the probabilities kept in {self.name} sum to 1 at every token, so nothing says what the other "
                'entries had; set teacher.tail = "none" to train the student to give them nothing, or keep '
                "log-probabilities over the whole vocabulary"
            )


def _first(guest: Guest) -> Positions | None:
    """The first of a few sequences that has log-probabilities."""
    for _, positions in guest.read(range(_LOOKED_AT)):
        if (positions.logp_PK > -math.inf).any():
            return positions
    return None


def _shares(positions: Positions, width: int, *, ratio: float) -> tuple[float, float, float]:
    """Least and greatest mean share of the others at another temperature, and their share here."""
    logp_PK = positions.logp_PK
    if positions.ids_PK is not None:
        _, logp_PK = checks.entries_of(positions, width=width)
    else:
        assert positions.floored_P is not None
        floor_P1 = logp_PK.min(axis=1, keepdims=True)
        logp_PK = np.where((logp_PK == floor_P1) & (positions.floored_P[:, None] > 0), -np.inf, logp_PK)
    logp_PK = logp_PK[(logp_PK > -np.inf).any(axis=1)]
    rest_P, count_P = np.exp(checks.log_rest(logp_PK)), width - (logp_PK > -np.inf).sum(axis=1)
    low, high = share_of_others(logp_PK, rest_P, count_P, ratio=ratio)
    return low, high, float(rest_P.mean())
