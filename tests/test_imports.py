"""How little a light command imports."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "numpy", "matplotlib", "tokenizers", "safetensors", "accelerate"}


@pytest.mark.parametrize(
    "code",
    [
        "import kdkit",
        "from kdkit.cli import main; main(['--help'])",
        "from kdkit.cli import main; main(['plugins', 'list'])",
    ],
)
def test_light_commands_import_nothing_heavy(code):
    ending = "import atexit, json, sys; atexit.register(lambda: print('\\n' + json.dumps(list(sys.modules))))"
    shown = subprocess.run([sys.executable, "-c", f"{ending}\n{code}"], capture_output=True, text=True, timeout=60)  # noqa: PLW1510 - checked below
    assert shown.returncode == 0, shown.stderr
    imported = {name.split(".")[0] for name in json.loads(shown.stdout.splitlines()[-1])}
    assert "kdkit" in imported
    assert not imported & HEAVY
