"""What imports what: the layers of kdkit, and how little a light command needs."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import kdkit

PACKAGE = Path(kdkit.__file__).parent
HEAVY = {"torch", "transformers", "numpy", "matplotlib", "tokenizers", "safetensors", "accelerate"}
# A module imports only from its own layer and those below. What is not named here is of layer 3.
LAYERS = {
    "errors": 0, "values": 0, "canonical": 0, "files": 0, "texts": 0,
    "interfaces": 1, "hookspecs": 1, "options": 1, "progress": 1,
    "plugins": 2, "components": 2, "recipe": 2,
    "stages": 4, "plan": 5, "pipeline": 5, "recapture": 5, "sweep": 6, "cli": 7, "__main__": 7,
}  # fmt: skip
# Components and their tests' kit may use anything but what drives them.
BESIDE = {"builtin", "testing"}


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


def imports(tree: ast.Module, module: str) -> set[str]:
    """The kdkit modules that a module imports, those for type checkers left out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("kdkit.")}


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_module_imports_only_from_its_own_layer_and_those_below(file):
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    own = parts[0]
    for name in imports(ast.parse(file.read_text(encoding="utf-8")), str(file)):
        other = name.split(".")[1]
        if not ((PACKAGE / other).is_dir() or (PACKAGE / f"{other}.py").is_file()):
            assert other == "__version__", f"{file} imports {name}, which is not there"
            continue
        if own in BESIDE:
            assert LAYERS.get(other, 3) <= 3, f"{name} drives components; they must not know it"
            continue
        assert other not in BESIDE, f"{name} is reached through hooks only"
        assert LAYERS.get(other, 3) <= LAYERS.get(own, 3), f"{own} is below {name}"
        if own == other == "stages" and parts != ("stages", "__init__"):
            raise AssertionError(f"a stage imports another: {name}")


def test_the_import_test_sees_imports_in_functions_and_not_those_for_type_checkers():
    source = (
        "if TYPE_CHECKING:\n    import kdkit.a\ndef f():\n    from kdkit.b import c\nfrom kdkit import d\nimport os\n"
    )
    assert imports(ast.parse(source), "m") == {"kdkit.b.c", "kdkit.d"}
