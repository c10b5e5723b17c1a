"""Writes `docs/architectures.md` from `docs/results/architectures.json`: `python docs/make_architectures.py`.

The file is what `benchmarks/architectures.py` has found; a test compares the page with it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("architectures.md")
RESULTS = Path(__file__).with_name("results") / "architectures.json"
WORKS = "works"
COLUMNS = {
    "config": "from `config`",
    "subspace": "`subspace`",
    "from_teacher": "`from_teacher`",
    "folder": "from a folder",
    "predict": "predict",
    "reopened": "reopened",
    "hard_loss": "hard loss",
}
CAUSAL_COLUMNS = {
    "subspace": "`subspace`",
    "from_teacher": "`from_teacher`",
    "folder": "from a folder",
    "reopened": "reopened",
    "hard_loss": "hard loss",
}
CAUSAL = """\
## Decoder-only models

SmolLM2 is of the type llama. Each type was tried from a prompt to a text: two runs, each with a training and a capture.

| column | what was tried |
|---|---|
| `subspace` | a run with a new, fine-tuned teacher and a student of some of its layers; codec `subspace` |
| `from_teacher` | the same run, with the codec `u8-lz4` where `subspace` refuses the type |
| from a folder | a run whose teacher is a folder with a tokenizer of that type's own class, and whose student is new |
| reopened | plain transformers opens these students, and `generate` writes the texts that `kdkit predict` writes |
| hard loss | the loss that each model reports for its labels is the one that kdkit trains and scores |
"""
OPENING = """\
# Architectures

This page says which models of transformers {version} work as teacher and as student: all its encoder-decoders, and the
[decoder-only](#decoder-only-models) ones that people use. Each was tried with tiny models of random weights by
`python benchmarks/architectures.py`; its output is [results/architectures.json](results/architectures.json). The page
is made from that file by `docs/make_architectures.py`, and a test compares the two. Three of the types run in the test
suite.

## Encoder-decoders

| column | what was tried |
|---|---|
| from `config` | a run with a new teacher, fine-tuned, and a new student, both from `config`; codec `u8-lz4` |
| `subspace` | the same with the codec `subspace` |
| `from_teacher` | the same with a student of the teacher's encoder layer 0 and decoder layer 1 |
| from a folder | a run whose teacher and student are folders with a tokenizer of that type's own class |
| predict | `kdkit predict` with the students of these runs |
| reopened | plain transformers opens these students, and `generate` writes the same texts |
| hard loss | the loss that each model reports for its labels is the one that kdkit trains and scores |
"""
CLOSING = """\
## Notes on some types

- **Mixtures of experts** (switch_transformers, nllb-moe). The hard loss is that of the target tokens. The terms
  that such models may add to balance their experts (`output_router_logits`) are left out. These types have a sparse
  block at every n-th place, so `from_teacher` can keep a sparse block only at such a place; otherwise the run is
  refused, and the message names layers that work. All rows of a batch share the room of an expert
  (`expert_capacity`), in generation too.
- **Soft caps** (t5gemma). Where a model does more to its head's output than to add a bias, kdkit takes the model's
  own logits, those of a whole batch at once. That needs more memory than a head in chunks (see
  [losses.md](losses.md)), and `subspace` learns from logits.
- **ProphetNet**. Its own loss includes predictions of later tokens; with `disable_ngram_loss = true`, as tried
  here, it is that of the target tokens. kdkit trains on the target tokens in both cases. Its head gives several
  streams, so kdkit takes the model's own logits here too.
- **Layers that differ**. Pegasus-X staggers the blocks of every other encoder layer, LED has an attention window
  for each layer, T5Gemma a kind of attention. `from_teacher` keeps these with their layers, and refuses an order of
  layers that the type cannot have.
- **BigBird-Pegasus**. With `attention_type = "block_sparse"` transformers changes to full attention for good at the
  first short batch. kdkit sets the configured kind again before each batch.
- **Pairs of models** (encoder-decoder, such as bert2bert). `config` holds a table for each side, `encoder = {{
  model_type = "bert", ... }}` and `decoder = {{ ... }}`; kdkit fills in vocabulary and special tokens.
- **Tokenizers**. Those of Marian, M2M100 and PLBart need the package sentencepiece, and FSMT's needs sacremoses.
  A Gemma tokenizer (t5gemma, t5gemma2) and Blenderbot's may put no end after a text; a run is then refused, since its
  models would never learn to stop. Set `"add_eos_token": true` where the folder configures its tokenizer, as here.

- **Tokenizers in folders of Qwen2.** transformers opens the tokenizer in any folder of the type qwen2 as Qwen2's own,
  whatever was saved there, and numbers then have other tokens. So a new model of that type needs a Qwen2 tokenizer
  (`teacher.tokenizer`); another is refused before anything is computed, for this type and any that has the same rule.
  The type qwen3 does not have it.
- **Layers of a hybrid** (Bamba, Jamba, LFM2, RecurrentGemma, Qwen3-Next). transformers has no cache for a model of
  recurrent layers alone, so a student that keeps no layer of attention writes its texts without one: every token
  reads the whole text again. Jamba and RecurrentGemma, whose kinds of layers repeat, were tried with all of their
  layers, the others with one of attention. MiniMax's layers decay by how many there are, so no student of fewer
  computes what they compute.

## Types that were not tried

transformers lists these among its encoder-decoders too:

"""


def render() -> str:
    """The page."""
    found = json.loads(RESULTS.read_text())
    parts = [
        OPENING.format(version=found["transformers"]),
        *_table(found["types"], COLUMNS),
        CAUSAL,
        *_table(found["decoder_only"], CAUSAL_COLUMNS),
        CLOSING.format(),
    ]
    return "\n".join(parts) + "\n".join(f"- {name}: {why}" for name, why in found["others"].items()) + "\n"


def _table(found: dict[str, Any], columns: dict[str, str]) -> list[str]:
    """A row for each type, and below them what was said instead."""
    notes: list[str] = []
    rows = [_row(name, results, columns, notes) for name, results in found.items()]
    head = f"| type | {' | '.join(columns.values())} |\n|---|{'---|' * len(columns)}"
    said = [f"{number}. {note}" for number, note in enumerate(notes, 1)]
    return [head, *rows, "", *said, *([""] if said else [])]


def _row(name: str, results: dict[str, Any], columns: dict[str, str], notes: list[str]) -> str:
    cells = []
    for column in columns:
        said = results[column]
        if said != WORKS and said not in notes:
            notes.append(said)
        cells.append("yes" if said == WORKS else f"no ({notes.index(said) + 1})")
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
