"""`kill -9` at random moments of a capture: what was acknowledged is there, once, and nothing comes out differently."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HELPERS = Path(__file__).parents[2] / "helpers"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="a capture is forked, and killed by a signal")
def test_no_kill_loses_or_repeats_or_changes_a_record(tmp_path):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HELPERS), str(HELPERS.parents[1])]),
        "OMP_NUM_THREADS": "1",
    }
    arguments = [sys.executable, str(HELPERS / "kill_captures.py"), str(tmp_path), "200", "7"]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True, env=environment)
    assert done.stderr == ""
    result = json.loads(done.stdout)
    assert result["kills"] >= 200
    assert (result["lost"], result["differing"]) == ([], 0)
    # That it was no easy game: kills hit half-written shards, and whole captures were finished between them.
    assert result["left temporaries"] > 20
    assert result["finished"] > 4
    assert result["acknowledged"] > 0
