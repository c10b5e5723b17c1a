"""What works with models of the installed transformers, tried with tiny ones of random weights.

    python benchmarks/architectures.py docs/results/architectures.json [TYPE ...]

These are all its encoder-decoders, and the decoder-only ones that people use. Of each type a run is made from a
configuration, one with `subspace`, one with `from_teacher`, and one from folders that hold a tokenizer of the type's
own; then their students write, are opened by plain transformers, and their hard loss is compared with the model's own.
A type takes some 15 s of a core; with TYPEs only these are tried again. Some tokenizers need the packages sentencepiece
and sacremoses. `python docs/make_architectures.py` makes the page of the file.
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
    from causal_architectures import CONFIGS, tried_causal
    from transformers import __version__
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    found = json.loads(arguments.output.read_text()) if arguments.types else {}
    kinds = {"types": (types(), tried), "decoder_only": (sorted(CONFIGS), tried_causal)}
    table = {
        "transformers": __version__,
        **{
            kind: {name: each for name, each in found.get(kind, {}).items() if name in kinds[kind][0]} for kind in kinds
        },
        "others": not_for_text(),
    }
    kind_of = {name: kind for kind, (names, _) in kinds.items() for name in names}
    for name in arguments.types or kind_of:
        kind = kind_of[name]
        gc.collect()
        gc.freeze()  # a run looks for garbage when it closes a model, and torch's modules are none
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            table[kind][name] = kinds[kind][1](name, Path(folder))
        table[kind] = dict(sorted(table[kind].items()))
        sys.stderr.write(f"{name}: {time.perf_counter() - began:.0f} s\n")
        arguments.output.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
