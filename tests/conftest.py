"""What every test here has around it."""

from __future__ import annotations

import gc
import sys

import pytest

_imported = 0


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
