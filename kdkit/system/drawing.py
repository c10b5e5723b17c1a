"""Uses matplotlib without the user's settings, so that a drawing is the same wherever it is made."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib import RcParams

VARIABLES = ("MPLBACKEND", "MATPLOTLIBRC")


@contextmanager
def default_settings() -> Iterator[RcParams]:
    """A context in which matplotlib has its own defaults, which the block may change; import it within, not before.

    Nothing depends on the user's settings: neither on a matplotlibrc, which may be one that matplotlib cannot read, nor
    on MPLBACKEND, which notebooks set for every command that they start.
    """
    with _nothing_set():
        import matplotlib as mpl
    with mpl.rc_context():
        mpl.rcdefaults()
        yield mpl.rcParams


@contextmanager
def _nothing_set() -> Iterator[None]:
    """Let matplotlib be imported as if its user had set nothing; it reads settings at its first import only."""
    if "matplotlib" in sys.modules:
        yield
        return
    own = {name: os.environ.pop(name, None) for name in VARIABLES}
    with tempfile.TemporaryDirectory() as empty, ExitStack() as held:
        (Path(empty) / "matplotlibrc").touch()
        os.environ["MATPLOTLIBRC"] = empty
        if Path("matplotlibrc").exists():  # a file in the working directory comes before the environment
            held.enter_context(chdir(empty))
        try:
            yield
        finally:
            del os.environ["MATPLOTLIBRC"]
            os.environ.update({name: value for name, value in own.items() if value is not None})
