"""The record that processes of one sweep share: an optuna study in a journal or in a database.

Proposals are made of the run folders, never of this. It adds the one thing that they cannot tell: which trials others
have asked for and not begun. So it may be lost; what the run folders say is entered anew each time. Its study can be
looked at with optuna's own tools. Its values are losses: where more is better they are negative.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from kdkit.errors import KdkitError
from kdkit_optuna.proposing import Known, frozen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from optuna import Study
    from optuna.trial import FrozenTrial

    from kdkit.api import Outcome
    from kdkit_optuna.space import Space

ID = "kdkit_trial"
_CLAIM = "kdkit_claim"
_ASKED = "kdkit_asked"  # when; the times of optuna's own are those of the clock on the wall
# A trial that was asked for and has no run folder after this long: whoever asked is gone.
ABANDONED_SECONDS = 600
# A lock older than this was left by a process that is gone; no proposal takes so long.
_GRACE_SECONDS = 120
_TRIES, _PAUSE_SECONDS = 4, 0.3


class Record(Protocol):
    """Where a study lies."""

    def opened(self, outcomes: Sequence[Outcome]) -> AbstractContextManager[Shared]:
        """The study, brought up to what the run folders say."""
        ...

    def close(self) -> None:
        """No more of it."""
        ...


@attrs.define(kw_only=True)
class Shared:
    """The study that processes share."""

    space: Space
    study: Study
    pending: dict[str, Known] = attrs.field(factory=dict)

    def bring_up_to(self, outcomes: Sequence[Outcome]) -> None:
        """Enter what the run folders say and the study does not, and see what others have asked for."""
        by_key: dict[str, list[FrozenTrial]] = {}
        for trial in self.study.get_trials(deepcopy=False):
            by_key.setdefault(self._key(trial), []).append(trial)
        for outcome in outcomes:
            self._enter(outcome, by_key.pop(self.space.key_of(outcome.values), []))
        for key, trials in by_key.items():
            for trial in trials:
                if trial.state.is_finished():
                    continue
                if time.time() - trial.user_attrs.get(_ASKED, 0) > ABANDONED_SECONDS:
                    self._finish(trial, Known(values={}, state="failed"))
                else:
                    self.pending[key] = Known(values=self.space.values_of(trial.params), state="running")

    def claim(self, values: Mapping[str, Any]) -> bool:
        """Let others know that this trial is taken; whether none of them was faster."""
        mine = uuid.uuid4().hex
        self._add(Known(values=values, state="running"), {_CLAIM: mine, _ASKED: time.time()})
        key = self.space.key_of(values)
        same = [trial for trial in self.study.get_trials(deepcopy=False) if self._key(trial) == key]
        running = [trial for trial in same if not trial.state.is_finished()]
        first = min(running, key=lambda trial: trial.number)
        if first.user_attrs.get(_CLAIM) == mine:
            return True
        ours = next(trial for trial in running if trial.user_attrs.get(_CLAIM) == mine)
        self._finish(ours, Known(values=values, state="failed"))
        return False

    def _key(self, trial: FrozenTrial) -> str:
        return self.space.key_of(self.space.values_of(trial.params))

    def _enter(self, outcome: Outcome, trials: list[FrozenTrial]) -> None:
        known = Known.of(outcome)
        unfinished = [trial for trial in trials if not trial.state.is_finished()]
        if known.state == "running":
            if not unfinished:
                self._add(known, {ID: outcome.id})
            return
        said = any(_says(trial, known) for trial in trials)
        for trial in unfinished:
            if said:  # asked for twice
                self._finish(trial, Known(values={}, state="failed"))
                continue
            self.study._storage.set_trial_user_attr(trial._trial_id, ID, outcome.id)  # noqa: SLF001 - no public way
            self._finish(trial, known)
            said = True
        if not said:
            self._add(known, {ID: outcome.id})

    def _add(self, known: Known, attributes: Mapping[str, Any]) -> None:
        trial = frozen(self.space, known, attributes)
        if trial is not None:
            self.study.add_trial(trial)

    def _finish(self, trial: FrozenTrial, known: Known) -> None:
        from optuna.trial import TrialState

        state = TrialState.COMPLETE if known.state == "complete" else TrialState.FAIL
        self.study.tell(trial.number, known.loss, state=state, skip_if_finished=True)


def _says(trial: FrozenTrial, known: Known) -> bool:
    from optuna.trial import TrialState

    if known.state == "complete":
        return trial.state == TrialState.COMPLETE and trial.value == known.loss
    return trial.state == TrialState.FAIL


@attrs.frozen(kw_only=True)
class JournalRecord:
    """A study in a file. One process at a time reads and writes, on one machine or on many with a common file system.

    It is read anew each time: another process may have set it aside since.
    """

    space: Space
    name: str
    file: Path

    @contextmanager
    def opened(self, outcomes: Sequence[Outcome]) -> Iterator[Shared]:
        """The study, brought up to what the run folders say; no other process has it meanwhile.

        Raises:
            KdkitError: The file cannot be read or written.
        """
        from optuna.storages.journal import JournalFileOpenLock

        # A link, which is optuna's default, is no lock where there is no file behind it.
        lock = JournalFileOpenLock(f"{self.file}.asking", grace_period=_GRACE_SECONDS)
        with _explained(str(self.file)):
            self.file.parent.mkdir(exist_ok=True)
            lock.acquire()
            try:
                yield self._read(outcomes)
            finally:
                lock.release()

    def close(self) -> None:
        """Nothing is held open."""

    def _read(self, outcomes: Sequence[Outcome]) -> Shared:
        try:
            return self._replay(outcomes)
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever optuna meets in a journal that is not what was written
            aside = _free_name(self.file)
            self.file.replace(aside)
            warnings.warn(
                f"{self.file} is damaged ({type(error).__name__}: {error}); it is kept as {aside.name}, and a "
                "new one is made from the run folders",
                stacklevel=2,
            )
            return self._replay(outcomes)

    def _replay(self, outcomes: Sequence[Outcome]) -> Shared:
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

        _check_lines(self.file)
        backend = JournalFileBackend(str(self.file), lock_obj=JournalFileOpenLock(str(self.file)))
        shared = Shared(space=self.space, study=_study(JournalStorage(backend), self.name))
        shared.bring_up_to(outcomes)
        return shared


@attrs.frozen(kw_only=True)
class DatabaseRecord:
    """A study in a database."""

    space: Space
    name: str
    url: str = attrs.field(repr=False)
    _storage: list[Any] = attrs.field(factory=list, init=False, repr=False)

    @contextmanager
    def opened(self, outcomes: Sequence[Outcome]) -> Iterator[Shared]:
        """The study, brought up to what the run folders say; other processes may use it meanwhile.

        Raises:
            KdkitError: The database cannot be reached, or is none.
        """
        with _explained(*_without_password(self.url)):
            if not self._storage:  # making one looks at all tables
                self._storage.append(_database(self.url))
            shared = Shared(space=self.space, study=_study(self._storage[0], self.name))
            shared.bring_up_to(outcomes)
            yield shared

    def close(self) -> None:
        """Leave the database."""
        while self._storage:
            self._storage.pop().engine.dispose()


def name_of(space: Space, folder: Path, seed: int) -> str:
    """What a sweep's study is called; another space or seed has a study of its own."""
    digest = hashlib.sha256(repr((sorted(space.axes.items()), seed)).encode()).hexdigest()
    return f"{folder.name}-{digest[:12]}"


def _study(storage: Any, name: str) -> Study:
    import optuna

    try:
        return optuna.load_study(storage=storage, study_name=name)
    except KeyError:
        return optuna.create_study(storage=storage, study_name=name, load_if_exists=True)


def _database(url: str) -> Any:
    """The storage of a database; who comes while another makes its tables tries again."""
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import SQLAlchemyError

    for _ in range(_TRIES - 1):
        try:
            return RDBStorage(url)
        except SQLAlchemyError:
            time.sleep(_PAUSE_SECONDS)
    return RDBStorage(url)


def _check_lines(file: Path) -> None:
    """Refuse a journal with a line that is cut or no JSON, which optuna passes over where it is the last.

    Raises:
        ValueError: It has one.
    """
    content = file.read_bytes() if file.exists() else b""
    if content and not content.endswith(b"\n"):
        raise ValueError("its last line is cut")
    for number, line in enumerate(content.splitlines(), start=1):
        if not isinstance(json.loads(line), dict):
            raise ValueError(f"line {number} is not a record")  # noqa: TRY004 - of damaged data


def _free_name(file: Path) -> Path:
    names = (file.with_name(f"{file.name}.damaged-{number}") for number in range(1, 10**6))
    return next(name for name in names if not name.exists())


def _without_password(url: str) -> tuple[str, str]:
    """A database's URL as it may be shown, and its password."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except ArgumentError:
        return url.split("://", maxsplit=1)[0] + "://...", ""
    return parsed.render_as_string(hide_password=True), str(parsed.password or "")


@contextmanager
def _explained(what: str, secret: str = "") -> Iterator[None]:
    """Say what cannot be reached, and never a password."""
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (OSError, ImportError, RuntimeError, OptunaError, SQLAlchemyError) as error:
        cause = f"{type(error).__name__}: {error}".splitlines()[0]
        if secret:
            cause = cause.replace(secret, "***")
        raise KdkitError(
            f"the search's record {what} cannot be read or written ({cause}); correct sweep.search.storage"
        ) from None
