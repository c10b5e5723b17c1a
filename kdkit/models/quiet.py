"""Transformers without its own bars and warnings, and one thread of ours in it at a time."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ALONE = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Use transformers without its own progress bars and warnings, and with no other thread of ours in it.

    Bars and warnings would run through kdkit's, which says what is wrong itself. While transformers opens or makes a
    model it changes torch for the whole process (initial weights are left out, tensors have no data), so that a second
    thread would get a model without weights.
    """
    from transformers.utils import logging

    with _ALONE:
        shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            if shown:
                logging.enable_progress_bar()
