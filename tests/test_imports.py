"""How little a light command imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = Path(__file__).parents[1] / "recipes" / "quickstart.toml"
HEAVY = {"torch", "transformers", "numpy", "matplotlib", "tokenizers", "safetensors", "accelerate"}


def imported_by(code, *, expected=0):
    """The packages that are imported once some code is done."""
    ending = "import atexit, json, sys; atexit.register(lambda: print('\\n' + json.dumps(list(sys.modules))))"
    shown = subprocess.run([sys.executable, "-c", f"{ending}\n{code}"], capture_output=True, text=True, timeout=60)  # noqa: PLW1510 - checked below
    assert shown.returncode == expected, shown.stderr
    imported = {name.split(".")[0] for name in json.loads(shown.stdout.splitlines()[-1])}
    assert "kdkit" in imported
    return imported


@pytest.mark.parametrize(
    "code",
    [
        "import kdkit",
        "from kdkit.cli import main; main(['--help'])",
        "from kdkit.cli import main; main(['plugins', 'list'])",
        f"import kdkit; kdkit.load_recipe({str(RECIPE)!r})",
        "import kdkit.pipeline.run",
    ],
)
def test_light_commands_import_nothing_heavy(code):
    assert not imported_by(code) & HEAVY


@pytest.mark.parametrize(
    ("verb", "mistake"),
    [("run", "training.lr=1"), ("plan", "loss.alpha=2"), ("plan", 'codec={name="topk", temperatures=[1.0]}')],
)
def test_a_mistake_in_a_recipe_is_named_before_anything_heavy_is_imported(verb, mistake):
    arguments = [verb, str(RECIPE), "-o", mistake]
    imported = imported_by(f"from kdkit.cli import main; main({arguments!r})", expected=2)
    assert not imported & (HEAVY - {"numpy"})
