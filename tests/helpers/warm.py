"""What a process that tests fork has done before: a whole run, so that all is imported, drawn and found once."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from pathlib import Path

# What importing and running wrote: libraries warn once a process, so a child would not see it again.
with tempfile.TemporaryFile() as _said:
    _kept = [os.dup(1), os.dup(2)]
    os.dup2(_said.fileno(), 1)
    os.dup2(_said.fileno(), 2)
    try:
        import tiny

        from kdkit.evaluation import timing

        os.fsync = lambda descriptor: None  # as in conftest.py, with its reasons
        timing.ALONE, timing.BATCHES = 1, 1
        with tempfile.TemporaryDirectory() as _folder:
            tiny.run_here(Path(_folder))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os.dup2(_kept[0], 1)
        os.dup2(_kept[1], 2)
        os.close(_kept[0])
        os.close(_kept[1])
    _said.seek(0)
    SAID = _said.read().decode()
gc.collect()
gc.freeze()
