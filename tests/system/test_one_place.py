"""Files are read, parsed, written and deleted, and terminals written to, in one place each: none forgets a stranger."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import kdkit

SOURCE = Path(kdkit.__file__).parent
INSTEAD = {
    "reads": "read with kdkit.system.reading, which reads regular files only, and no more than fits",
    "parses": "parse with kdkit.system.parsing, which bounds depth and digits",
    "writes": "write with kdkit.system.files, which follows no link",
    "deletes": "delete with kdkit.system.folders, which follows no link",
    "prints": "print with kdkit.cli.output, which shows control characters",
}
METHODS = {
    **dict.fromkeys(("read_text", "read_bytes"), "reads"),
    **dict.fromkeys(("write_text", "write_bytes", "symlink_to"), "writes"),
}
FUNCTIONS = {
    **dict.fromkeys(("json.load", "json.loads", "tomllib.load", "tomllib.loads"), "parses"),
    **dict.fromkeys(
        ("np.load", "np.memmap", "np.fromfile", "torch.load", "load_file", "safe_open", "os.open"), "reads"
    ),
    **dict.fromkeys(("open", "os.link", "os.replace", "os.rename", "shutil.copyfile", "shutil.copytree"), "writes"),
    **dict.fromkeys(("shutil.rmtree", "shutil.move", "os.remove", "os.unlink"), "deletes"),
    **dict.fromkeys(("click.echo", "print"), "prints"),
}
MODE = re.compile("[rwax][bt+]*")
ALLOWED = {
    ("system/reading.py", "reads"),
    ("system/reading.py", "writes"),  # `open`, which has the opener that does not wait
    ("system/parsing.py", "parses"),
    ("system/files.py", "reads"),
    ("system/files.py", "writes"),
    ("system/folders.py", "deletes"),
    ("system/progress/lines.py", "prints"),
    ("cli/output.py", "prints"),
    # What the user names on the command line, which may be a pipe or a link.
    ("pipeline/prompts.py", "reads"),
    ("cli/predict.py", "writes"),
    ("cli/recipes.py", "writes"),
    # Not files of a folder: the output, /proc, a resource of the package, what another process of the team says.
    ("cli/__init__.py", "reads"),
    ("cli/__init__.py", "writes"),
    ("evaluation/timing.py", "reads"),
    ("evaluation/timing.py", "writes"),
    ("system/locks.py", "reads"),
    ("report/page/html.py", "reads"),
    ("system/team.py", "parses"),
    ("data/guests/megatron.py", "reads"),  # bytes in memory, of which only tensors are made
    ("recipe/positions.py", "parses"),  # a key in quotes of a document that is known to be sound
    # Files that were found to be regular just before.
    ("evaluation/row_scores.py", "reads"),
    ("training/checkpoint.py", "reads"),
    ("models/weights.py", "reads"),
    ("logits/bench/tensors.py", "reads"),
    ("store/columns.py", "reads"),
    ("data/growing.py", "reads"),  # a temporary file of this process alone
    # New folders of this process alone.
    ("models/open_model.py", "writes"),
    ("models/weights.py", "writes"),
    ("pipeline/plan_time.py", "writes"),  # a temporary folder's links to the store
}


def doings(tree: ast.AST):
    """What each call of a module does, and its line."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        last = name.rpartition(".")[2]
        if name in FUNCTIONS:
            yield FUNCTIONS[name], node.lineno
        elif isinstance(node.func, ast.Attribute) and last in METHODS:
            yield METHODS[last], node.lineno
        elif isinstance(node.func, ast.Attribute) and last == "open" and node.args:
            mode = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
            if isinstance(mode, str) and MODE.fullmatch(mode):
                yield "reads" if mode.startswith("r") else "writes", node.lineno


def test_whatever_touches_files_or_a_terminal_is_in_its_place():
    wrong, used = [], set()
    for path in sorted(SOURCE.rglob("*.py")):
        file = path.relative_to(SOURCE).as_posix()
        if file.startswith("testing/"):  # checks read what they themselves have written
            continue
        for doing, line in doings(ast.parse(path.read_text(encoding="utf-8"))):
            used.add((file, doing))
            if (file, doing) not in ALLOWED:
                wrong.append(f"kdkit/{file}:{line} {doing}: {INSTEAD[doing]}")
    assert wrong == []
    assert used >= ALLOWED, "what is allowed and not needed any more is taken out"
