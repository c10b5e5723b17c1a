"""Log-probabilities as other tools keep them: small files of each format, written after its source's description."""

from __future__ import annotations

import io
import json
import math
import struct
import tarfile
from pathlib import Path

import causal_kit
import numpy as np
import tiny

V, K = 270, 6


def rows(count: int = 24, seed: int = 0):
    """Rows of prompts and completions as token ids."""
    return causal_kit.encoded(tiny.pairs(count, seed), max_source=24, max_target=8)


def sequences(count: int = 24, seed: int = 0) -> list[list[int]]:
    """Their ids, prompts and completions joined."""
    return [[*row.source_ids, *row.target_ids] for row in rows(count, seed)]


def logp_of(ids: list[int], *, width: int = V, temperature: float = 1.0) -> np.ndarray:
    """A distribution over the vocabulary for each id but the first, the next id likely: float64 `[S - 1, V]`."""
    logits = np.random.default_rng(sum(ids)).normal(size=(len(ids) - 1, width)) * 2
    logits[np.arange(len(ids) - 1), ids[1:]] += 6
    logits /= temperature
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def top(logp: np.ndarray, k: int = K) -> tuple[np.ndarray, np.ndarray]:
    """The ids and values of the k largest of each row, in falling order."""
    ids = np.argsort(-logp, axis=1)[:, :k]
    return ids, np.take_along_axis(logp, ids, axis=1)


def recipe(folder: Path, **changes) -> dict:
    """A recipe of a decoder-only student whose teacher is imported from `folder / "guest"`."""
    tokenizer = folder / "tokenizer"
    if not tokenizer.exists():
        causal_kit.tokenizer().save_pretrained(tokenizer)
    table = {
        "train": 16,
        "validation": 8,
        "teacher": {"name": "imported", "logits": str(folder / "guest"), "tokenizer": str(tokenizer)},
        "student": {"name": "hf-causal", "config": dict(causal_kit.LLAMA)},
        "codec": {"name": "topk", "k": K, "temperatures": [1.0]},
        "loss__temperature": 1.0,
        "training__epochs": 1,
        **tiny.NO_TEXTS,
    }
    return tiny.recipe_table(folder, **(table | changes))


def all_sequences() -> list[list[int]]:
    """Those of the recipe's rows."""
    return sequences(16, 0) + sequences(8, 1)


def write_plain(place: Path, rows_of_ids, *, k: int = K, names=("logprobs", "logprob_token_ids"), edit=None) -> None:
    """Parquet of ids and log-probabilities: a list for each id but the first."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = {"input_ids": [], names[0]: [], names[1]: []}
    for ids in rows_of_ids:
        entries, values = top(logp_of(ids), k)
        table["input_ids"].append(list(ids))
        table[names[0]].append(values.tolist())
        table[names[1]].append(entries.tolist())
    if edit is not None:
        edit(table)
    pq.write_table(pa.table(table), place)


def write_llama(place: Path, chunks, *, context: int, width: int = V, logp=logp_of) -> None:
    """A `--kl-divergence-base` file, after `tools/perplexity/perplexity.cpp` of ggml-org/llama.cpp.

    Chunks are padded with their last id to the context.
    """
    first = context // 2
    padded = [[*ids, *[ids[-1]] * (context - len(ids))] for ids in chunks]
    parts = [b"_logits_", struct.pack("<3i", context, width, len(padded))]
    parts += [np.array(ids, "<i4").tobytes() for ids in padded]
    for ids in padded:
        for row in logp(ids, width=width)[first : context - 1]:
            least = max(row.min(), row.max() - 16)
            scale = np.float32((row.max() - least) / 65535)
            codes = np.where(row > least, np.rint((row - least) / scale), 0).astype("<u2")
            parts += [np.array([scale, least], "<f4").tobytes(), codes.tobytes(), bytes(2 * (width % 2))]
    place.write_bytes(b"".join(parts))


CODING = {
    "d": V + 1,
    "k": K,
    "exact_k": 2,
    "exact_dtype": "float32",
    "polynomial_terms": [0, 1, "sqrt"],
    "term_dtype": "float32",
    "residual_bins": [{"scale_dtype": "float16", "element_bits": 8, "num_elements": K - 2}],
    "delta_encoding": True,
    "error_diffusion": False,
    "normalize_t": False,
}


def write_distillkit(folder: Path, rows_of_ids, *, coding=None, edit=None) -> None:
    """A folder of DistillKit's, after `distillkit/compression/` and `distillkit/sample_common.py` of arcee-ai/DistillKit."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import yaml

    coding = CODING | (coding or {})
    folder.mkdir(exist_ok=True)
    (folder / "compression_config.yaml").write_text(yaml.safe_dump(coding))
    bits = math.ceil(math.log2(coding["d"]))
    table = {"input_ids": [], "compressed_logprobs": [], "bytepacked_indices": []}
    for ids in rows_of_ids:
        entries, values = top(logp_of([*ids, 0]), coding["k"])  # a padding token, so that the last real one has a next
        table["input_ids"].append([*ids, 0])
        table["compressed_logprobs"].append([list(_distillkit_bytes(row, coding)) for row in values])
        table["bytepacked_indices"].append([list(_packed(row, bits)) for row in entries])
    if edit is not None:
        edit(table)
    kinds = [("input_ids", pa.list_(pa.uint64()))]
    kinds += [(name, pa.list_(pa.list_(pa.uint8()))) for name in list(table)[1:]]
    pq.write_table(pa.table(table, schema=pa.schema(kinds)), folder / "data_0.parquet")


def _packed(numbers, bits: int) -> bytes:
    """Numbers of so many bits, highest first, one after the other."""
    text = "".join(format(int(number), f"0{bits}b") for number in numbers)
    text += "0" * (-len(text) % 8)
    return bytes(int(text[at : at + 8], 2) for at in range(0, len(text), 8))


def _distillkit_bytes(values: np.ndarray, coding: dict) -> bytes:
    """The log-probabilities of a position: exact ones, a polynomial's coefficients, residuals in bins."""
    kinds = {"float16": "<f2", "float32": "<f4", "float64": "<f8"}
    numbers = np.diff(values, prepend=0) if coding["delta_encoding"] else values
    exact, rest = numbers[: coding["exact_k"]], numbers[coding["exact_k"] :]
    parts = [exact.astype(kinds[coding["exact_dtype"]]).tobytes()]
    if coding["polynomial_terms"]:
        points = np.linspace(0, 1, len(rest)) if coding["normalize_t"] else np.arange(len(rest), dtype=float)
        columns = [
            points**term if isinstance(term, int) else getattr(np, term)(points) for term in coding["polynomial_terms"]
        ]
        matrix = np.stack(columns, axis=1)
        coefficients = np.linalg.lstsq(matrix, rest, rcond=None)[0].astype(kinds[coding["term_dtype"]])
        parts.append(coefficients.tobytes())
        rest = rest - matrix @ coefficients.astype(float)
    for each in coding["residual_bins"]:
        some, rest = rest[: each["num_elements"]], rest[each["num_elements"] :]
        half = 1 if each["element_bits"] == 1 else 2 ** (each["element_bits"] - 1)
        scale = np.array(np.abs(some).max() / half or 1).astype(kinds[each["scale_dtype"]])
        if each["element_bits"] == 1:
            codes = np.clip(np.rint(some / scale.astype(float)), 0, 1)
        else:
            codes = np.clip(np.rint(some / scale.astype(float)), -half, half - 1) + half
        parts += [scale.tobytes(), _packed(codes, each["element_bits"])]
    return b"".join(parts)


def write_megatron(
    folder: Path, rows_of_ids, *, version: int = 2, ranks: int = 2, microbatch: int = 2, steps: int = 2, k: int = K
) -> Path:
    """A folder of Megatron-LM's tars and the file of their ids, after `megatron/training/distillation/` of its source.

    Of samples whose number is not one of whole batches the last is repeated.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch
    import zstandard

    folder.mkdir(exist_ok=True)
    batch, longest = ranks * microbatch * steps, max(map(len, rows_of_ids))
    samples = [*rows_of_ids, *[rows_of_ids[-1]] * (-len(rows_of_ids) % batch)]
    pq.write_table(pa.table({"input_ids": samples}), folder.parent / "ids.parquet")
    for rank in range(ranks):
        saver = {"k": k, "p": None, "min_k": 1, "save_dtype": "fp16"}
        if version == 2:
            saver |= {"mbs_save": microbatch, "dp_size_save": ranks, "gbs_save": batch, "format_version": 2}
        members = [("_meta.json", json.dumps({"hash": "0", "identifiers": {}, "saver": saver}).encode())]
        for iteration in range(len(samples) // batch):
            parts = []
            for step in range(steps):
                begin = iteration * batch + step * ranks * microbatch + rank * microbatch
                parts.append(_microbatch(samples[begin : begin + microbatch], longest, k, torch))
            table = dict(zip(("values", "indices_low", "bit_17"), map(list, zip(*parts, strict=True)), strict=True))
            if version == 2:
                table = {name: torch.cat(tensors, dim=1) for name, tensors in table.items()}
            stream = io.BytesIO()
            torch.save(table, stream)
            members.append((f"{iteration}.pt.zst", zstandard.ZstdCompressor().compress(stream.getvalue())))
        write_tar(folder / f"dp{rank}__{len(samples) // batch - 1}.tar", members)
    return folder.parent / "ids.parquet"


def _microbatch(samples, longest: int, k: int, torch):
    values, ids = np.full((longest, len(samples), k), -1e4), np.full((longest, len(samples), k), -1)
    for column, sample in enumerate(samples):
        entries, logp = top(logp_of(sample), k)
        ids[: len(entries), column], values[: len(logp), column] = entries, logp
    ids = torch.from_numpy(ids)
    return torch.from_numpy(values).half(), (ids & 0xFFFF).to(torch.uint16), (ids >> 16).to(torch.bool)


def write_tar(place: Path, members) -> None:
    """A tar of names and bytes."""
    with tarfile.open(place, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
