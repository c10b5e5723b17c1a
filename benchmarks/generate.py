"""How many samples a second a model writes: kdkit's generation against the thesis's.

    python benchmarks/generate.py [--json] [--data FOLDER --tokenizer FOLDER] [--rows 32] [--repeats 3]

Both sides search with 4 beams, early stopping and at most 512 tokens, as the thesis does, with the same weights:
codet5-small's shape, random. The thesis pads every source to 1,024 tokens and takes batches of 4 in the file's order;
kdkit sorts by length and pads to the longest of a batch. kdkit is measured with batches of 4 as well (the recipe's
own), and with larger ones.

Random weights never end a text. So the end token's logit is set, on all sides alike: it wins at the step at which the
row's real target ends, and loses before. Texts are therefore as long as real assertions are, and all beams of a row end
together; a trained model's do so within a few steps.

Times are taken in one process, side after side in each repeat, each repeat beginning with another; a ratio is the
median of the repeats' ratios. Memory is the peak of a process of its own for each side. Texts are compared: an
encoder's sums are not the same to the last bit at another width, and where two beams are nearly tied that can tip the
balance.
"""

from __future__ import annotations

import argparse
import statistics
import time

import attrs
import torch
from assertion_rows import (
    SMALL,
    TINY,
    VOCAB,
    add_arguments,
    check_arguments,
    make_model,
    make_rows,
    make_tokenizer,
)
from machine import RATIO_COLUMNS, apart, facts_line, machine_facts, peak_bytes, ratio_of, ratio_rows, round_robin

from kdkit import models
from kdkit.api.options import Generation
from kdkit.api.values import TokenBatch
from kdkit.cli.output import print_json, print_table
from kdkit.models.generation import predict

SEED = 5
THESIS = "the thesis's way"
TARGET = 3.0
NEVER, NOW = -1e4, 1e4


@attrs.frozen(kw_only=True)
class Setting:
    """What is measured: all that a process of its own needs to know.

    Attributes:
        tokenizer: Name of the tokenizer; None for one of `vocab_size` words.
        vocab_size: Width of the logits.
        shape: The model's.
        rows: Whose sources are read.
        padded: Source tokens to which the thesis pads.
        max_new_tokens: Of a text.
        beams: Of the search.
    """

    tokenizer: str | None
    vocab_size: int
    shape: dict
    rows: list
    padded: int
    max_new_tokens: int
    beams: int = 4


@attrs.frozen(kw_only=True)
class Pass:
    """The texts of all rows, and what they took.

    Attributes:
        seconds: Wall time.
        texts: By row.
        encoder_rows: Rows that went through the encoder.
        encoder_tokens: Their tokens, padding included.
        decoder_steps: Passes of the decoder.
    """

    seconds: float
    texts: dict[str, str]
    encoder_rows: int
    encoder_tokens: int
    decoder_steps: int


@attrs.frozen(kw_only=True, eq=False)
class EndingModel(models.Seq2SeqModel):
    """A model whose texts end where the rows' targets do; it counts what it computes.

    Attributes:
        lengths: Each row's id to the tokens of its target.
    """

    lengths: dict[str, int]
    _now: dict = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.module.register_forward_hook(self._end)
        self.module.get_encoder().register_forward_hook(self._count, with_kwargs=True)
        self._now.update(encoder_rows=0, encoder_tokens=0, decoder_steps=0)

    def write(self, batch, options):
        lengths_B = torch.tensor([self.lengths[row_id] for row_id in batch.ids])
        self._now["lengths_N"] = lengths_B.repeat_interleave(options.beams)
        return models.Seq2SeqModel.write(self, batch, options)

    def counts(self) -> dict[str, int]:
        """What has been computed since they were last asked for."""
        found = {name: self._now[name] for name in ("encoder_rows", "encoder_tokens", "decoder_steps")}
        self._now.update(dict.fromkeys(found, 0))
        return found

    def _end(self, _module, _arguments, output) -> None:
        written = output.past_key_values.get_seq_length()
        self._now["decoder_steps"] += 1
        ends_N = self._now["lengths_N"] <= written
        output.logits[:, -1, self.tokenizer.eos_token_id] = torch.where(ends_N, NOW, NEVER)

    def _count(self, _module, arguments, options, _output) -> None:
        ids_BS = options["input_ids"] if "input_ids" in options else arguments[0]
        self._now["encoder_rows"] += ids_BS.shape[0]
        self._now["encoder_tokens"] += ids_BS.numel()


class Sides:
    """The sides in one process, with one model."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        tokenizer = make_tokenizer(setting.tokenizer, setting.vocab_size)
        model = make_model(setting.shape, tokenizer, seed=SEED)
        lengths = {row.id: len(row.target_ids) for row in setting.rows}
        self.model = EndingModel(module=model.module, tokenizer=model.tokenizer, lengths=lengths)

    def run(self, side: str, rows) -> Pass:
        """The texts of some rows."""
        began = time.perf_counter()
        if side == THESIS:
            texts = dict(self._padded(rows))
        else:
            options = self._options(batch_size_of(side))
            texts = {each.id: each.text for each in predict(self.model, rows, options, device="cpu")}
        return Pass(seconds=time.perf_counter() - began, texts=texts, **self.model.counts())

    def _padded(self, rows):
        options = self._options(4)
        for start in range(0, len(rows), options.batch_size):
            chosen = rows[start : start + options.batch_size]
            source_BS = torch.full((len(chosen), self.setting.padded), self.model.tokenizer.pad_token_id)
            for row, ids_S in zip(chosen, source_BS, strict=True):
                ids_S[: len(row.source_ids)] = torch.tensor(row.source_ids)
            batch = TokenBatch(
                ids=tuple(row.id for row in chosen),
                source_ids_BS=source_BS,
                source_mask_BS=(source_BS != self.model.tokenizer.pad_token_id).long(),
                labels_BT=torch.zeros(len(chosen), 1, dtype=torch.int64),
            )
            yield from zip(batch.ids, self.model.generate(batch, options), strict=True)

    def _options(self, batch_size: int) -> Generation:
        return Generation(beams=self.setting.beams, max_new_tokens=self.setting.max_new_tokens, batch_size=batch_size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rows", type=int, default=32, help="rows (default 32)")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each side (default 3)")
    parser.add_argument(
        "--batch-sizes", type=int, nargs="+", default=[4, 16], help="of kdkit's sides (default 4, the recipe's, and 16)"
    )
    parser.add_argument("--quick", action="store_true", help="tiny model and rows: tries the benchmark itself")
    add_arguments(parser)
    options = parser.parse_args()
    check_arguments(parser, options)
    setting, names = make_setting(options), [THESIS, *map(side_of, options.batch_sizes)]
    facts = machine_facts(size=256 if options.quick else 2048)
    passes = apart(measure_times, setting, names, options.repeats)
    peaks = {name: apart(measure_memory, setting, name) for name in names}
    found = {
        "machine": facts,
        "setting": {
            "shape": setting.shape,
            "vocabulary": setting.vocab_size,
            "rows": len(setting.rows),
            "beams": setting.beams,
            "max_new_tokens": setting.max_new_tokens,
            "repeats": options.repeats,
            "lengths": "data" if options.data is not None else "drawn",
        },
        "sides": {name: side_facts(setting, passes, name, peaks[name]) for name in names},
        "ratios": {
            f"{name} / {THESIS}": ratio_of(
                speeds(setting, passes[name]), speeds(setting, passes[THESIS]), target=TARGET
            )
            for name in names[1:]
        },
    }
    if options.json:
        print_json(found)
    else:
        show(found)


def make_setting(options) -> Setting:
    quick = options.quick
    tokenizer = make_tokenizer(options.tokenizer, 300 if quick else VOCAB)
    rows = make_rows(options.rows, seed=SEED, data=options.data, tokenizer=tokenizer, scale=0.1 if quick else 1.0)
    return Setting(
        tokenizer=options.tokenizer,
        vocab_size=len(tokenizer),
        shape=TINY if quick else SMALL,
        rows=rows,
        padded=128 if quick else 1024,
        max_new_tokens=63 if quick else 511,
    )


def side_of(batch_size: int) -> str:
    return f"kdkit, batches of {batch_size}"


def batch_size_of(side: str) -> int:
    return int(side.rsplit(" ", 1)[1])


def measure_times(setting: Setting, names, repeats: int) -> dict:
    """Each side's passes, by repeat; before the first each writes for one row."""
    sides, found = Sides(setting), {name: [] for name in names}
    shortest = min(setting.rows, key=lambda row: len(row.target_ids))
    for name in names:
        sides.run(name, [shortest])
    for _, name in round_robin(names, repeats):
        found[name].append(sides.run(name, setting.rows))
    return found


def measure_memory(setting: Setting, name: str) -> int:
    """The peak of this process, which is a side's own, after the batches with the longest source and target."""
    longest = sorted(setting.rows, key=lambda row: -len(row.source_ids))
    batch_size = 4 if name == THESIS else batch_size_of(name)
    Sides(setting).run(name, longest[:batch_size])
    return peak_bytes()


def speeds(setting: Setting, passes) -> list[float]:
    return [len(setting.rows) / each.seconds for each in passes]


def side_facts(setting: Setting, passes, name: str, peak: int) -> dict:
    first, reference = passes[name][0], passes[THESIS][0]
    return {
        "seconds": [each.seconds for each in passes[name]],
        "samples_per_second": statistics.median(speeds(setting, passes[name])),
        "encoder_rows": first.encoder_rows,
        "encoder_tokens": first.encoder_tokens,
        "decoder_steps": first.decoder_steps,
        "texts_that_differ": sum(first.texts[row.id] != reference.texts[row.id] for row in setting.rows),
        "peak_bytes": peak,
    }


def show(found) -> None:
    """Both tables."""
    rows = found["setting"]["rows"]
    print_table(
        ("side", "samples/s", "encoder tokens", "decoder steps", f"other texts, of {rows}", "peak MB"),
        [
            (
                name,
                f"{side['samples_per_second']:.2f}",
                str(side["encoder_tokens"]),
                str(side["decoder_steps"]),
                str(side["texts_that_differ"]),
                f"{side['peak_bytes'] / 1e6:.0f}",
            )
            for name, side in found["sides"].items()
        ],
    )
    print()
    print_table(RATIO_COLUMNS, ratio_rows(found["ratios"]))
    print(facts_line(found["machine"]))


if __name__ == "__main__":
    main()
