"""The thesis's way of a distillation step, from its description: everything padded, the teacher's logits as hex.

Letters: B batch, S source, T target, V vocabulary.
"""

from __future__ import annotations

import json
import time

import lz4.frame
import numpy as np
import torch
from torch.nn import functional

from kdkit.api.values import IGNORED, EncodedExample

BATCH = 2


def padded_batch(rows: list[EncodedExample], pad_id: int, source: int, target: int):
    """Sources, their mask and labels `[B, source]`, `[B, source]`, `[B, target]`."""
    source_BS = torch.full((len(rows), source), pad_id)
    labels_BT = torch.full((len(rows), target), IGNORED)
    for row, ids_S, labels_T in zip(rows, source_BS, labels_BT, strict=True):
        ids_S[: len(row.source_ids)] = torch.tensor(row.source_ids)
        labels_T[: len(row.target_ids)] = torch.tensor(row.target_ids)
    return source_BS, (source_BS != pad_id).long(), labels_BT


def record_padded(teacher, rows, pad_id: int, source: int, target: int, file) -> None:
    """Write each row's logits, padding and all: one grid for the array, 8 bits, one LZ4 frame, hex, a line a row."""
    source_BS, mask_BS, labels_BT = padded_batch(rows, pad_id, source, target)
    decoder_BT = teacher.prepare_decoder_input_ids_from_labels(labels_BT)
    with torch.inference_mode():
        logits_BTV = teacher(input_ids=source_BS, attention_mask=mask_BS, decoder_input_ids=decoder_BT).logits.numpy()
    with file.open("w", encoding="utf-8") as lines:
        for logits_TV in logits_BTV:
            low, high = float(logits_TV.min()), float(logits_TV.max())
            scale = (high - low) / 255 or 1.0
            zero_point = -low / scale
            whole_TV = np.clip(np.rint(logits_TV / scale + zero_point), 0, 255).astype(np.uint8)
            packed = lz4.frame.compress(whole_TV.tobytes(), compression_level=9)
            record = {"shape": whole_TV.shape, "scale": scale, "zero_point": zero_point, "data": packed.hex()}
            lines.write(json.dumps(record) + "\n")


class PaddedWay:
    """A training whose records are in memory as they stand in the file."""

    def __init__(self, module, pad_id: int, source: int, target: int, file) -> None:
        self.module, self.pad_id, self.source, self.target = module, pad_id, source, target
        self.records = [json.loads(line) for line in file.open(encoding="utf-8")]

    def train(self, rows, *, steps: int, rate: float, decay: float, clip: float, alpha: float, temperature: float):
        """The seconds of all steps but the first, and the mean loss of all. Every step has the same two rows."""
        optimizer = torch.optim.AdamW(self.module.parameters(), lr=rate, weight_decay=decay)
        self.module.train()
        losses = []
        began = 0.0
        for step in range(steps):
            if step == 1:
                began = time.perf_counter()
            loss = self._loss(rows, alpha, temperature)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), clip)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        return time.perf_counter() - began, sum(losses) / len(losses)

    def _loss(self, rows, alpha: float, temperature: float) -> torch.Tensor:
        source_BS, mask_BS, labels_BT = padded_batch(rows, self.pad_id, self.source, self.target)
        teacher_BTV = torch.stack([self._decoded(record) for record in self.records])
        output = self.module(input_ids=source_BS, attention_mask=mask_BS, labels=labels_BT)
        divergence_BT = functional.kl_div(
            functional.log_softmax(output.logits / temperature, dim=-1),
            functional.softmax(teacher_BTV / temperature, dim=-1),
            reduction="none",
        ).sum(dim=-1)
        mask_BT = (labels_BT != IGNORED).float()
        soft = (divergence_BT * mask_BT).sum() / mask_BT.sum() * temperature**2
        return alpha * soft + (1 - alpha) * output.loss

    def _decoded(self, record) -> torch.Tensor:
        raw = lz4.frame.decompress(bytes.fromhex(record["data"]))
        whole_TV = np.frombuffer(raw, dtype=np.uint8).reshape(record["shape"])
        return torch.from_numpy((whole_TV.astype(np.float32) - record["zero_point"]) * record["scale"])
