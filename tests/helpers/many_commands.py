"""Runs many commands in one process, each in a folder of its own, and says what each of them did.

Reads a list of {"arguments", "folder", "environment"} as JSON from standard input, and writes a list of {"code", "out",
"err", "heavy"} to standard output: heavy is what the command was the first to import of the libraries that take seconds.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import traceback

HEAVY = ("torch", "transformers", "datasets", "pyarrow", "numpy")


def main() -> None:
    commands = json.load(sys.stdin)
    told, real = [], sys.stdout
    from kdkit import cli

    for command in commands:
        os.chdir(command["folder"])
        before, environment = set(sys.modules), dict(os.environ)
        os.environ.update(command["environment"])
        out, err, code = io.StringIO(), io.StringIO(), None
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                cli.main(command["arguments"])
            except SystemExit as left:
                code = left.code
            except BaseException:  # noqa: BLE001 - shown as what a user would see
                err.write(traceback.format_exc())
        os.environ.clear()
        os.environ.update(environment)
        heavy = [name for name in HEAVY if name in sys.modules and name not in before]
        told.append({"code": code, "out": out.getvalue(), "err": err.getvalue(), "heavy": heavy})
    json.dump(told, real)


if __name__ == "__main__":
    main()
