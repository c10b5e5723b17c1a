"""What every test here has around it."""

from __future__ import annotations

import gc
import os
import signal
import sys

import pytest
from hypothesis import HealthCheck, settings

_imported = 0

# The same examples in every run, so that what passed here passes there, however busy the machine is;
# `--hypothesis-profile=default` draws others, and twice as many.
settings.register_profile(
    "alike", derandomize=True, max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("alike")


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests of processes that die, hang or wait for each other leave a core free."""
    return (os.cpu_count() or 1) + 1


# Under nohup, in a background job and in many CI runners the process starts with signals ignored, and so would all that
# it starts. What a run does with a signal is tested as in a terminal; a test of an ignored one ignores it itself.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(_number, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _modules_are_not_searched_for_garbage():
    """A run collects garbage when it closes a model. Searching torch's and transformers' modules each time takes a
    third of a second, and a test's run is over in two: so what was imported is set aside once it is there.
    """
    global _imported  # noqa: PLW0603 - of this process
    if len(sys.modules) > _imported + 50:
        _imported = len(sys.modules)
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _disks_are_not_waited_for():
    """A run waits for the disk some 260 times, which is most of a test's wall time where disks are slow. Only tests of
    a power cut need to know that it does, and those watch or replace the call themselves.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True)
def _few_rows_are_timed():
    """What a model costs in time takes a quarter of a tiny run, and no test looks at how exact it is."""
    timing = sys.modules.get("kdkit.evaluation.timing")
    if timing is not None:
        timing.ALONE, timing.BATCHES = 1, 1
