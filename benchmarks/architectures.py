"""What works with every encoder-decoder of the installed transformers, tried with tiny models of random weights.

    python benchmarks/architectures.py docs/results/architectures.json [TYPE ...]

Of each type a run is made from a configuration, one with `subspace`, one with `from_teacher`, and one from folders that
hold a tokenizer of the type's own; then their students write, are opened by plain transformers, and their hard loss is
compared with the model's own. A type takes some 15 s of a core; with TYPEs only these are tried again. Some tokenizers
need the packages sentencepiece and sacremoses. `python docs/make_architectures.py` makes the page of the file.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Try the types, and write the file after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="the JSON file")
    parser.add_argument("types", nargs="*", help="model types; by default all")
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.path.insert(0, str(ROOT / "tests" / "helpers"))
    from architecture_runs import not_for_text, tried, types
    from transformers import __version__
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    found = json.loads(arguments.output.read_text()) if arguments.types else {}
    works = {name: each for name, each in found.get("types", {}).items() if name in types()}
    for name in arguments.types or types():
        gc.collect()
        gc.freeze()  # a run looks for garbage when it closes a model, and torch's modules are none
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            works[name] = tried(name, Path(folder))
        sys.stderr.write(f"{name}: {time.perf_counter() - began:.0f} s\n")
        table = {"transformers": __version__, "types": dict(sorted(works.items())), "others": not_for_text()}
        arguments.output.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
