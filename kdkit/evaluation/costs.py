"""What a student and its teacher cost to keep and to run."""

from __future__ import annotations

import gc
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from kdkit import models
from kdkit.api.values import Cost
from kdkit.evaluation.timing import measure
from kdkit.models.generation import predict
from kdkit.system.files import folder_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from kdkit.api.interfaces import TextModel
    from kdkit.api.values import Corpus
    from kdkit.data.rows import Rows
    from kdkit.evaluation.timing import Generate, Timing
    from kdkit.runs.run import Run


@contextmanager
def open_student(run: Run, folder: Path) -> Iterator[TextModel]:
    """A student that was trained, closed at the end."""
    with closing(run.recipe.student.open(folder, device=run.device)) as student:
        yield student


@contextmanager
def closing(model: TextModel) -> Iterator[TextModel]:
    """A model whose memory is free at the end, whoever still holds it."""
    try:
        yield model
    finally:
        model.module.to("meta")  # quicker than to look for all who hold it
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def student_cost(run: Run, held_out: Rows) -> Cost:
    """What the student costs: opened anew, so that its memory is seen."""
    gc.collect()  # what its training left is none of it
    folder, parameters = run.path / "student" / "best", 0

    @contextmanager
    def opened() -> Iterator[Generate]:
        nonlocal parameters
        with open_student(run, folder) as student:
            parameters = models.count_parameters(student.module)
            yield lambda rows: predict(student, rows, run.recipe.generation, device=run.device)

    timing = measure(opened, held_out.encoded, batch_size=run.recipe.generation.batch_size, device=run.device)
    return _cost(run, timing, folder, parameters)


def teacher_cost(run: Run, corpus: Corpus, held_out: Rows) -> dict[str, Cost]:
    """What the teacher costs, timed right after the student on the same rows; nothing where it is no model."""
    recipe, folder, parameters = run.recipe, run.teacher_folder, 0
    if folder is None:
        return {}

    @contextmanager
    def opened() -> Iterator[Generate]:
        nonlocal parameters
        teacher = recipe.teacher.open(folder, recipe.data, corpus, device=run.device)
        try:
            config, kind = recipe.teacher.model_config(teacher.tokenizer), recipe.teacher.model_kind
            assert kind is not None, "this teacher has a folder"
            parameters = kind.size_of(config).parameters
            yield lambda rows: teacher.generate(rows, recipe.generation)
        finally:
            teacher.close()

    timing = measure(opened, held_out.encoded, batch_size=recipe.generation.batch_size, device=run.device)
    return {"teacher": _cost(run, timing, folder, parameters)}


def _cost(run: Run, timing: Timing, folder: Path, parameters: int) -> Cost:
    """Size, and the spread of the times."""
    low, median, high = _quartiles(timing.per_sample) or (math.nan,) * 3
    latency_low, latency, latency_high = _quartiles(timing.alone) or (None,) * 3
    return Cost(
        parameters=parameters,
        bytes_on_disk=folder_bytes(folder, "*.safetensors") or folder_bytes(folder, "*.bin"),
        seconds_per_sample=median,
        seconds_low=low,
        seconds_high=high,
        batch_size=run.recipe.generation.batch_size,
        beams=run.recipe.generation.beams,
        latency=latency,
        latency_low=latency_low,
        latency_high=latency_high,
        peak_bytes=timing.peak_bytes,
    )


def _quartiles(seconds: Sequence[float]) -> tuple[float, float, float] | None:
    if not seconds:
        return None
    low, median, high = np.quantile(seconds, (0.25, 0.5, 0.75))
    return float(low), float(median), float(high)
