"""The benchmark `execution_ceiling.py`, on a package of a few tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

from kdkit_assertions.splits import ByModule

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "execution_ceiling.py"
PACKAGE = "kdkit_ceiling"
TEST = """
def test_this():
    assert 1 + {number} == {sum}
    assert 1 + {number} > {number}

def test_that(nothing_of_the_kind):
    assert 1 + {number} != {number}
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the suite needs fork")
def test_the_ceiling_is_the_share_of_true_assertions_that_hold(tmp_path):
    folder = tmp_path / PACKAGE
    folder.mkdir()
    (folder / "__init__.py").touch()
    division = ByModule(validation_share=0.1, test_share=0.1, salt="")
    splits = {number: division.split_of(f"{PACKAGE}.test_{number}") for number in range(100)}
    chosen = [[number for number, split in splits.items() if split == name][:4] for name in ("train", "validation")]
    for number in chain(*chosen):
        (folder / f"test_{number}.py").write_text(TEST.format(number=number, sum=number + 1))
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--json", "--packages", PACKAGE, "--rows", "24", "--workers", "1"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found["confinement"]) == {"network", "processes", "files", "home", "room", "system_calls"}
    oracle, assertion = found["ceilings"]
    assert (oracle["task"], oracle["rows"]) == ("oracle", 24)
    assert (oracle["truth_holds"], oracle["not_runnable"]) == pytest.approx((2 / 3, 1 / 3))
    assert (assertion["task"], assertion["rows"]) == ("assertion", 12)
    assert assertion["truth_holds"] + assertion["not_runnable"] == pytest.approx(1)
    assert 0 < assertion["truth_holds"] < 1
