"""Generated texts, kept for other runs: a file `texts/KEY.jsonl` of the store for each model and set of rows.

KEY is a digest of everything the texts depend on: the model's weights, its tokenizer, the rows and how texts are
searched for. The first line holds the digest of the others, which are those of a predictions file (see
`kdkit.store.predictions`); their seconds are those of whoever generated them first.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from kdkit.api.interfaces import RuledTexts
from kdkit.errors import DamagedData
from kdkit.models import decoding_digest, tokenizer_digest
from kdkit.plugins.fields import digested
from kdkit.store import predictions
from kdkit.store.sharing import found_or_making
from kdkit.system.digests import digest_of
from kdkit.system.files import make_folder, write_atomically
from kdkit.system.folders import delete
from kdkit.system.packages import plugin_digest
from kdkit.system.reading import LARGEST_ROWS, read_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.options import Generation
    from kdkit.api.values import EncodedExample, Prediction
    from kdkit.system.progress import Progress
    from kdkit.system.team import Team


def searched(generation: Generation) -> dict[str, Any]:
    """The options of generation, in the form that keys of the store cover: the decoder's start token counts."""
    table = digested(generation)
    return {"max_tokens": table.pop("max_new_tokens") + 1, **table}


def key_of(rows: Sequence[EncodedExample], generation: Generation, *, weights: str, tokenizer: str) -> str:
    """The key of a model's texts.

    Args:
        rows: What it writes for.
        generation: How.
        weights: Digest of what determines its logits.
        tokenizer: Digest of its tokenizer.
    """
    later = searched(generation)
    first = [later.pop(name) for name in ("beams", "max_tokens", "early_stopping", "batch_size")]
    asked = [[row.id, list(row.source_ids)] for row in rows]
    return digest_of([weights, tokenizer, first, asked, *([later] if later else [])])[:32]


def kept_as(weights: str, writer: object, component: object) -> str:
    """The text that stands for a model in the keys of its texts.

    Args:
        weights: Digest of what determines its logits.
        writer: The model or teacher, which may begin its texts by rules of its own.
        component: The student or teacher of the recipe that it is opened by: the code of a plugin's counts.
    """
    rules = writer.text_rules if isinstance(writer, RuledTexts) else ""
    return " ".join(filter(None, (weights, rules, plugin_digest(type(component)))))


def fill(
    path: Path,
    rows: Sequence[EncodedExample],
    generate: Callable[[Sequence[EncodedExample], Collection[str]], Iterator[Prediction]],
    *,
    name: str,
    tokenizer: Tokenizer,
    kept_as: str | None,
    store: Path,
    generation: Generation,
    progress: Progress,
    team: Team,
) -> None:
    """Write a model's predictions to a file of the run folder, from the store if it has them; else store them too.

    Args:
        path: The file.
        rows: What is predicted.
        generate: As of `kdkit.store.predictions.fill`.
        name: Who writes, for the bar.
        tokenizer: The model's.
        kept_as: Digest of what determines its logits; None where no other run has this model, or its texts are no work:
            the store is then left alone.
        store: The folder that runs share.
        generation: How texts are searched for.
        progress: Where progress is shown.
        team: The processes that do this.

    Raises:
        DamagedData: What the store has is not what was put there.
    """
    doing = f"{name} writes"

    def write(key: str = "") -> None:
        predictions.fill(
            path, rows, generate, progress=progress, name=doing, team=team, batch_size=generation.batch_size, key=key
        )

    if kept_as is None:
        write()
        return
    key = key_of(
        rows, generation, weights=kept_as, tokenizer=f"{tokenizer_digest(tokenizer)} {decoding_digest(tokenizer)}"
    )
    entry = store / "texts" / f"{key}.jsonl"

    with found_or_making(entry, what="texts", note=progress.note, is_there=entry.exists, team=team):
        team.lead_does(lambda: _take(entry, path, name=doing, note=progress.note))
        write(key)
        team.lead_does(lambda: _put(path, entry))


def _take(entry: Path, path: Path, *, name: str, note: Callable[[str], None]) -> None:
    """Copy the store's entry to the run folder; remove the run's own if the store has none.

    A file in the run folder may be of an earlier try, before which the model was another.
    """
    if not entry.exists():
        delete([path])
        return
    first, _, texts = read_bytes(entry, at_most=LARGEST_ROWS).partition(b"\n")
    if first != _first_line(texts):
        raise DamagedData(
            f"the stored texts {entry} are damaged; delete that file and run again to generate them again"
        )
    if path.exists() and read_bytes(path, at_most=LARGEST_ROWS) == texts:
        return
    make_folder(path.parent)
    write_atomically(path, texts)
    note(f"{name}: texts taken from {entry}")


def _put(path: Path, entry: Path) -> None:
    if not entry.exists():
        texts = read_bytes(path, at_most=LARGEST_ROWS)
        make_folder(entry.parent)
        write_atomically(entry, _first_line(texts) + b"\n" + texts)


def _first_line(texts: bytes) -> bytes:
    return json.dumps({"kdkit_texts": 1, "sha256": hashlib.sha256(texts).hexdigest()}).encode()
