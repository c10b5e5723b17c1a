"""A first recipe for a file of rows, with what each part of it was chosen by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from kdkit.data.text_ends import better_end
from kdkit.pipeline.beginning.choosing import LAYERS, MANY, layers_of, vocabulary
from kdkit.pipeline.smaller_codec import subspace_bytes
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from kdkit.pipeline.beginning.choosing import Lengths, Models
    from kdkit.pipeline.beginning.looking import Columns, Looked

FEW = 5_000
"""Rows below which a training repeats them often."""
BLOCK = 256
"""Tokens of a block of text."""


_ABOUT = {"teacher.config": "  # a new model; a trained one (`model = ...`) knows far more"}


@attrs.frozen(kw_only=True)
class _Line:
    """A line of a recipe: a key with its value, and why."""

    key: str
    value: Any
    why: str = ""

    def __str__(self) -> str:
        written = f"{self.key} = {_toml(self.value)}"
        return f"{written}  # {self.why}" if self.why else written


def _toml(value: Any) -> str:
    """A value on one line."""
    import tomli_w

    if isinstance(value, dict):
        return "{ " + ", ".join(str(_Line(key=key, value=each)) for key, each in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return tomli_w.dumps({"x": value}).partition(" = ")[2].strip()


def recipe_text(looked: Looked, columns: Columns, chosen: Models, lengths: Lengths, *, name: str) -> str:
    """The recipe as TOML, with comments that say what each part was chosen by."""
    rows, read = looked.count, _read(looked, columns, lengths)
    sections = {
        "data": _data(looked, columns),
        "tokens": _tokens(columns, chosen, lengths),
        "teacher": _teacher(looked, chosen),
        "teacher.config": _config(looked, chosen),
        "teacher.fine_tune": _fine_tune(looked, columns, chosen, lengths),
        "codec": _codec(looked, chosen, lengths),
        "student": _student(chosen),
        "loss": [
            _Line(key="alpha", value=0.5, why="share of the teacher; the rest is the labels"),
            _Line(key="temperature", value=2.0),
        ],
        "training": [
            _Line(key="epochs", value=_epochs(read), why=_rows_in_words(looked, columns, read)),
            _Line(key="batch_size", value=_batch(looked, columns, lengths)),
            _Line(key="learning_rate", value=5e-5 if chosen.student else 2e-4 if chosen.teacher else 1e-3),
            _Line(key="group_by_length", value=True),
        ],
        "generation": [
            _Line(key="beams", value=1, why="greedy texts"),
            _Line(key="batch_size", value=32),
        ],
        "evaluation": _evaluation(columns, rows),
    }
    parts = [
        f"# Written by `kdkit init` for {looked.path}, by its first {len(looked.rows):,} rows.",
        "#",
        f"#     kdkit plan {name}.toml --show 3     what it would do, and rows as the models read them",
        f"#     kdkit run {name}.toml",
        "",
        str(_Line(key="name", value=name)),
        str(_Line(key="description", value=_described(looked, chosen))),
        "",
    ]
    for section, lines in sections.items():
        if lines:
            parts += [f"[{section}]{_ABOUT.get(section, '')}", *map(str, lines), ""]
    return "\n".join(parts).rstrip() + "\n"


def _described(looked: Looked, chosen: Models) -> str:
    teacher = chosen.teacher or "a teacher from scratch"
    student = chosen.student or "a student of its layers"
    return f"{looked.path}: {teacher}, distilled into {student}."


def _data(looked: Looked, columns: Columns) -> list[_Line]:
    share = 0.1 if looked.count >= 500 else 0.2
    lines = [_Line(key="name", value=looked.dataset)]
    lines += [_Line(key=key, value=value) for key, value in looked.options.items()]
    lines += [_Line(key=key, value=value) for key, value in columns.options().items()]
    for split in ("validation", "test"):
        if split not in looked.options:
            lines.append(_Line(key=f"{split}_share", value=share, why="held out, by the id of each row"))
    return lines


def _tokens(columns: Columns, chosen: Models, lengths: Lengths) -> list[_Line]:
    places = _places(chosen.config)
    if columns.text is not None:
        lines = [_Line(key="max_length", value=min(BLOCK, places), why="tokens of a block")]
        if (end := better_end(chosen.tokenizer)) is not None:
            lines.append(
                _Line(key="document_end", value=end, why="as such models learn documents; the other ends turns")
            )
        return lines
    (read, most_read, longest_read), (written, most_written, longest_written) = lengths.source, lengths.target
    source, target = _room(most_read), _room(most_written)
    if source + target > places:
        target = min(target, places // 2)
        source = places - target
    return [
        _Line(key="max_source", value=source, why=f"rows have {read} (median) to {longest_read}"),
        _Line(key="max_target", value=target, why=f"rows have {written} (median) to {longest_written}"),
    ]


def _room(most: int) -> int:
    """Tokens for nearly all rows, and some more: a round number."""
    return max(16, -(-round(most * 1.1) // 8) * 8)


def _places(config: Any | None) -> int:
    found = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    return int(found) if isinstance(found, int) and found > 0 else 1 << 20


def _teacher(looked: Looked, chosen: Models) -> list[_Line]:
    lines = [_Line(key="name", value=chosen.component)]
    if chosen.teacher:
        return [*lines, _Line(key="model", value=chosen.teacher)]
    return [
        *lines,
        _Line(key="vocab_size", value=vocabulary(looked), why="of a tokenizer that is trained on the rows"),
    ]


def _config(looked: Looked, chosen: Models) -> list[_Line]:
    """The sizes of a new teacher; of one that is named none."""
    if chosen.teacher:
        return []
    width, layers = 256 if looked.count >= MANY else 128, LAYERS
    if chosen.kind.is_joined:
        config = {
            "model_type": "llama", "hidden_size": width, "intermediate_size": 3 * width, "num_hidden_layers": layers,
            "num_attention_heads": width // 32, "num_key_value_heads": width // 32,
        }  # fmt: skip
    else:
        config = {
            "model_type": "t5", "d_model": width, "d_ff": 2 * width, "d_kv": 32, "num_heads": width // 32,
            "num_layers": layers, "num_decoder_layers": layers, "dropout_rate": 0.0,
        }  # fmt: skip
    return [_Line(key=key, value=value) for key, value in config.items()]


def _fine_tune(looked: Looked, columns: Columns, chosen: Models, lengths: Lengths) -> list[_Line]:
    batch = _Line(key="batch_size", value=_batch(looked, columns, lengths))
    if not chosen.teacher:
        return [
            _Line(key="epochs", value=2 * _epochs(_read(looked, columns, lengths))),
            batch,
            _Line(key="learning_rate", value=1e-3),
            _Line(key="group_by_length", value=True),
        ]
    counts = layers_of(chosen)
    last = max(1, counts[max(counts)] // 3)
    return [
        _Line(key="layers", value=last, why="its last layers; leave the section out if it was trained on such rows"),
        _Line(key="epochs", value=1),
        batch,
        _Line(key="learning_rate", value=5e-5),
        _Line(key="group_by_length", value=True),
    ]


def _codec(looked: Looked, chosen: Models, lengths: Lengths) -> list[_Line]:
    """`subspace` where there is a head to learn it from, logits are not capped, and the rows have tokens enough."""
    tokens = lengths.tokens / lengths.count * looked.count
    size = subspace_bytes(chosen.config, vocabulary=len(chosen.tokenizer), tokens=tokens)
    if size is None:
        return []
    return [_Line(key="name", value="subspace", why=f"all logits of a token in about {round(size)} bytes")]


def _student(chosen: Models) -> list[_Line]:
    lines = [_Line(key="name", value=chosen.component)]
    if chosen.student:
        return [*lines, _Line(key="model", value=chosen.student)]
    counts = layers_of(chosen)
    if not chosen.teacher:
        count = next(iter(counts.values()))
        kept = list(range(count // 2))
        layers = {"layers": kept} if chosen.kind.is_joined else {"encoder_layers": kept, "decoder_layers": kept}
        return [*lines, _Line(key="from_teacher", value=layers, why=f"half of its {count} layers")]
    share = 2 / 3 if chosen.kind.is_joined else 1 / 2
    keep = {stack: max(1, round(share * count)) for stack, count in counts.items()}
    if chosen.kind.is_joined:
        (count,), (kept_count,) = counts.values(), keep.values()
        why = f"of its {count} layers, those without which its loss rises most"
        return [*lines, _Line(key="from_teacher", value={"keep": kept_count}, why=why)]
    sides = {stack.removesuffix("_layers"): count for stack, count in keep.items()}
    why = "layers, those without which its loss rises most"
    return [*lines, _Line(key="from_teacher", value={"keep": sides}, why=why)]


def _read(looked: Looked, columns: Columns, lengths: Lengths) -> int:
    """About how many rows the models read: the blocks of texts, the turns of conversations."""
    each = lengths.tokens / BLOCK if columns.text is not None else lengths.read
    return max(looked.count, round(looked.count * each / lengths.count))


def _rows_in_words(looked: Looked, columns: Columns, read: int) -> str:
    if read == looked.count:
        return looked.rows_in_words
    return f"{looked.rows_in_words}, about {plural(read, 'block' if columns.text is not None else 'turn')}"


def _epochs(rows: int) -> int:
    return 10 if rows < FEW else 3 if rows < MANY else 1


def _batch(looked: Looked, columns: Columns, lengths: Lengths) -> int:
    """About 2,000 tokens a step; fewer where that would leave an epoch less than some twenty steps."""
    tokens = BLOCK if columns.text is not None else lengths.source[0] + lengths.target[0]
    most = min(2048 / max(tokens, 1), _read(looked, columns, lengths) / 30)
    return int(2 ** np.clip(np.floor(np.log2(most)), 1, 6))


def _evaluation(columns: Columns, rows: int) -> list[_Line]:
    if columns.text is not None:
        return [_Line(key="suites", value=[], why="no texts are written; loss, perplexity and agreement are scored")]
    lines = [_Line(key="suites", value=["text"], why="exact match and F1 of what the models write")]
    return [*lines, _Line(key="rows", value=500, why="texts are dear to write")] if rows >= FEW else lines
