"""What every test here has around it."""

from __future__ import annotations

import gc
import signal
import sys

import pytest

_imported = 0

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
