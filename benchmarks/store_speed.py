"""Is the store ever what a run waits for? Decoding against a student's forward pass, capture against a teacher's.

    python benchmarks/store_speed.py [--json]

Weights are random, shapes true: codet5-small as the student, codet5-base as the teacher, vocabulary 32,100, sources of
about 200 tokens, targets of 20 to 60. Both sides of a ratio are measured one after the other on the same batch, several
times; figures are medians, ratios medians of the pairs' ratios.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time

import attrs
import torch
from transformers import T5Config, T5ForConditionalGeneration

from kdkit import plugins
from kdkit.api.interfaces.codecs import StateCodec
from kdkit.api.values import OutputHead, SparseTargets, StateBlock, TeacherBlock
from kdkit.cli.output import print_json, print_table
from kdkit.logits.bench import Material, Record, fit_candidate, parse_candidate
from kdkit.losses import alignment
from kdkit.training.tokenloss import CHUNK

VOCAB = 32_100
SMALL = {"d_model": 512, "num_layers": 6, "num_heads": 8, "d_ff": 2048, "d_kv": 64}
BASE = {"d_model": 768, "num_layers": 12, "num_heads": 12, "d_ff": 3072, "d_kv": 64}
SEED = 3
CODECS = ("u8-lz4", "u8-lz4:clip=12", "float:dtype=fp16", "topk", "sampled", "subspace:sample_tokens=1024")
LEARN_BATCHES = 4


@attrs.frozen(eq=False)
class Batch:
    """Padded ids, and how many of the target's are real."""

    source_BS: torch.Tensor
    mask_BS: torch.Tensor
    decoder_BT: torch.Tensor
    lengths: tuple[int, ...]

    @property
    def tokens(self):
        return sum(self.lengths)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--batches", type=int, default=2, help="batches that are measured (default 2)")
    parser.add_argument("--batch-size", type=int, default=8, help="rows a batch (default 8)")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each pair (default 5)")
    options = parser.parse_args()
    torch.manual_seed(SEED)
    draw = random.Random(SEED)
    batches = [make_batch(draw, options.batch_size) for _ in range(options.batches)]
    to_learn = [make_batch(draw, options.batch_size) for _ in range(LEARN_BATCHES)]
    teacher = make_model(BASE)
    with torch.inference_mode():
        coders = learn(teacher, to_learn)
        capture, stored = measure_capture(teacher, coders, batches, options.repeats)
        del teacher
        decoding = measure_decoding(make_model(SMALL), coders, batches, stored, options.repeats)
    if options.json:
        print_json({"threads": torch.get_num_threads(), "decoding": decoding, "capture": capture})
        return
    print_table(
        (
            "codec",
            "student's forward, ms/token",
            "decoding",
            "forward / decoding",
            "with the logits",
            "forward / it",
            "",
        ),
        [decoding_row(row) for row in decoding],
    )
    print()
    print_table(
        ("codec", "plain forward, ms/token", "capture", "plain / capture", ""),
        [
            (row["codec"], ms(row["plain_s"]), ms(row["capture_s"]), f"{row['ratio']:.3f}", verdict(row))
            for row in capture
        ],
    )
    print(f"{torch.get_num_threads()} threads; {sum(batch.tokens for batch in batches)} target tokens")


def make_model(shape):
    model = T5ForConditionalGeneration(T5Config(vocab_size=VOCAB, decoder_start_token_id=0, **shape))
    return model.eval()


def make_batch(draw, rows):
    sources = [draw.randint(150, 250) for _ in range(rows)]
    lengths = tuple(draw.randint(20, 60) for _ in range(rows))
    source_BS = torch.zeros(rows, max(sources), dtype=torch.int64)
    for row_S, length in zip(source_BS, sources, strict=True):
        row_S[:length] = torch.randint(3, VOCAB, (length,))
    decoder_BT = torch.randint(3, VOCAB, (rows, max(lengths)))
    return Batch(source_BS, (source_BS != 0).long(), decoder_BT, lengths)


def full_logits(model, batch):
    return model(
        input_ids=batch.source_BS, attention_mask=batch.mask_BS, decoder_input_ids=batch.decoder_BT, use_cache=False
    ).logits


def last_states(model, batch):
    """What goes into the output head; T5 scales it where the head is tied to the embeddings."""
    encoded_BSD = model.encoder(input_ids=batch.source_BS, attention_mask=batch.mask_BS).last_hidden_state
    states_BTD = model.decoder(
        input_ids=batch.decoder_BT,
        encoder_hidden_states=encoded_BSD,
        encoder_attention_mask=batch.mask_BS,
        use_cache=False,
    ).last_hidden_state
    return states_BTD * model.config.d_model**-0.5


def rows_of(output_BTX, batch):
    return [row_TX[:length] for row_TX, length in zip(output_BTX.numpy(), batch.lengths, strict=True)]


def learn(teacher, batches):
    """The codecs, taught on batches that are not measured."""
    first = batches[0]
    states_BTD = last_states(teacher, first)
    if not torch.allclose(teacher.lm_head(states_BTD), full_logits(teacher, first), atol=1e-3):
        raise SystemExit("the model's logits are not what its head makes of these states")
    records = [
        Record(id="sample", states_TD=row) for batch in batches for row in rows_of(last_states(teacher, batch), batch)
    ]
    material = Material(
        name="random weights",
        vocab_size=VOCAB,
        head=OutputHead(weight_VD=teacher.lm_head.weight.detach().numpy()),
        learnt_from="",
        learn=lambda: iter(records),
        measure=lambda: iter(()),
        records=0,
    )
    installed = plugins.load()
    found = (fit_candidate(parse_candidate(spec, installed), material) for spec in CODECS)
    return {coder.candidate.label: coder.codec for coder in found}


def encode_states(codec, states_BTD, batch):
    """Each row's record and its tokens."""
    rows = rows_of(states_BTD, batch)
    return [(codec.encode_states(StateBlock(id="row", states_TD=row_TD)), len(row_TD)) for row_TD in rows]


def encode_logits(codec, logits_BTV, batch):
    """Each row's record and its tokens."""
    rows = rows_of(logits_BTV, batch)
    return [(codec.encode(TeacherBlock(id="row", logits_TV=row_TV)), len(row_TV)) for row_TV in rows]


def measure_capture(teacher, codecs, batches, repeats):
    """The capture of a batch against the plain forward pass with full logits; and the records of the last repeat.

    A codec that takes hidden states is measured from the token ids on; of another the encoding is added to the plain
    pass, which is what its capture begins with.
    """
    pairs, stored = {name: [] for name in codecs}, [{} for _ in batches]
    for index, batch in repeated(repeats, batches, lambda batch: capture_once(teacher, codecs, batch, {})):
        for name, pair in capture_once(teacher, codecs, batch, stored[index]).items():
            pairs[name].append([side / batch.tokens for side in pair])
    found = []
    for name, sides in pairs.items():
        ratio = statistics.median(plain / capture for plain, capture in sides)
        plain_s, capture_s = (statistics.median(side) for side in zip(*sides, strict=True))
        found.append({"codec": name, "plain_s": plain_s, "capture_s": capture_s, "ratio": ratio, "met": ratio >= 0.95})
    return found, stored


def capture_once(teacher, codecs, batch, records):
    """By codec the seconds of the plain pass and of the capture."""
    plain, logits_BTV = timed(full_logits, teacher, batch)
    found = {}
    for name, codec in codecs.items():
        if isinstance(codec, StateCodec):
            forward, states_BTD = timed(last_states, teacher, batch)
            encoding, records[name] = timed(encode_states, codec, states_BTD, batch)
            found[name] = (plain, forward + encoding)
        else:
            encoding, records[name] = timed(encode_logits, codec, logits_BTV, batch)
            found[name] = (plain, plain + encoding)
    return found


def measure_decoding(student, codecs, batches, stored, repeats):
    """Decoding a batch against the student's forward pass, without and with making logits of it."""
    triples = {name: [] for name in codecs}
    for index, batch in repeated(repeats, batches, lambda batch: decode_once(student, codecs, batch, stored[0])):
        for name, triple in decode_once(student, codecs, batch, stored[index]).items():
            triples[name].append([side / batch.tokens for side in triple])
    found = []
    for name, sides in triples.items():
        forward_s, decoding_s, whole_s = (statistics.median(side) for side in zip(*sides, strict=True))
        ratio = statistics.median(forward / decoding for forward, decoding, _ in sides)
        whole_ratio = statistics.median(forward / whole for forward, _, whole in sides)
        found.append(
            {
                "codec": name,
                "forward_s": forward_s,
                "decoding_s": decoding_s,
                "ratio": ratio,
                "with_logits_s": whole_s,
                "with_logits_ratio": whole_ratio,
                "met": min(ratio, whole_ratio) >= 1,
            }
        )
    return found


def decode_once(student, codecs, batch, records):
    """By codec the seconds of the student's pass, of decoding, and of decoding with making logits."""
    forward, _ = timed(full_logits, student, batch)
    found = {}
    for name, codec in codecs.items():
        decoding, _ = timed(codec.targets, records[name], vocab_size=VOCAB, device="cpu")
        whole, _ = timed(to_logits, codec, records[name])
        found[name] = (forward, decoding, whole)
    return found


def to_logits(codec, records):
    """Targets as the loss lines them up: logits in float32 of all but sparse ones, a chunk of tokens at a time."""
    targets = codec.targets(records, vocab_size=VOCAB, device="cpu")
    if isinstance(targets, SparseTargets):
        return
    rows = alignment.all_rows(targets)
    for start in range(0, len(rows.known_N), CHUNK):
        targets.logits(rows.between(start, start + CHUNK))


def repeated(repeats, batches, warm_up):
    """Number and batch, `repeats` times over all batches, after one untimed call."""
    warm_up(batches[0])
    return [(index, batch) for _ in range(repeats) for index, batch in enumerate(batches)]


def timed(call, *arguments, **options):
    """The seconds that a call takes, and what it gives."""
    began = time.perf_counter()
    result = call(*arguments, **options)
    return time.perf_counter() - began, result


def decoding_row(row):
    times = (ms(row[name]) for name in ("forward_s", "decoding_s", "with_logits_s"))
    forward, decoding, whole = times
    return (
        row["codec"], forward, decoding, f"{row['ratio']:.1f}", whole, f"{row['with_logits_ratio']:.1f}", verdict(row)
    )  # fmt: skip


def verdict(row):
    return "met" if row["met"] else "MISSED"


def ms(each):
    return f"{each * 1000:.3f}"


if __name__ == "__main__":
    main()
