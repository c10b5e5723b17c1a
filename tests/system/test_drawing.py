from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
from kdkit.system import drawing
with drawing.default_settings() as settings:
    import io
    from matplotlib.figure import Figure
    settings["svg.hashsalt"] = "x"
    figure, drawn = Figure(), io.StringIO()
    figure.add_subplot().plot([1, 2])
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    print(drawn.getvalue())
"""
UNREADABLE, BIG = b"\xff\xfe\n", b"lines.linewidth: 9\n"


def drawn(folder, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MPL", "MATPLOTLIB"))}
    command = [sys.executable, "-c", CODE]
    return subprocess.run(
        command, env={**clean, **environment}, cwd=folder, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("plain"))


def test_a_backend_of_a_notebook_is_not_looked_for(plain, tmp_path):
    (tmp_path / "rc").write_bytes(UNREADABLE)
    environment = {"MPLBACKEND": "module://a_notebook.backend", "MATPLOTLIBRC": str(tmp_path / "rc")}
    assert drawn(tmp_path, **environment) == plain


@pytest.mark.parametrize("settings", [UNREADABLE, BIG])
def test_settings_in_the_working_directory_change_nothing(plain, tmp_path, settings):
    (tmp_path / "matplotlibrc").write_bytes(settings)
    assert drawn(tmp_path) == plain


def test_settings_of_a_notebook_hold_for_the_notebook_alone():
    import matplotlib as mpl

    from kdkit.system import drawing

    with mpl.rc_context({"lines.linewidth": 9.0}):
        with drawing.default_settings() as settings:
            assert settings["lines.linewidth"] == 1.5
        assert mpl.rcParams["lines.linewidth"] == 9.0
