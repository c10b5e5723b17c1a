"""What a student and its teacher cost to keep and to run."""

from __future__ import annotations

import contextlib
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

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from kdkit.api.interfaces import DataSource, Student, Teacher, TextModel
    from kdkit.api.options import Generation
    from kdkit.api.values import Corpus, EncodedExample
    from kdkit.evaluation.timing import Generate, Timing
    from kdkit.system.progress import Progress


@contextmanager
def closing(model: TextModel) -> Iterator[TextModel]:
    """A model whose memory is free at the end, whoever still holds it."""
    try:
        yield model
    finally:
        model.module.to("meta")  # quicker than to look for all who hold it
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def student_cost(
    student: Student,
    folder: Path,
    prompts: Sequence[EncodedExample],
    generation: Generation,
    *,
    device: str,
    progress: Progress | None = None,
) -> Cost:
    """What a student costs: opened again, so that its memory is seen.

    Args:
        student: The student.
        folder: Where it is.
        prompts: What it writes for while it is timed; without any it is not.
        generation: How.
        device: Where it is opened.
        progress: Where it is shown, if anywhere.
    """
    gc.collect()  # what its training left is none of it
    parameters = 0

    @contextmanager
    def opened() -> Iterator[Generate]:
        nonlocal parameters
        with closing(student.open(folder, device=device)) as model:
            parameters = models.count_parameters(model.module)
            yield lambda rows: predict(model, rows, generation, device=device)

    timing = measure(opened, prompts, batch_size=generation.batch_size, device=device, progress=progress)
    return _cost(timing, folder, parameters, generation)


def teacher_cost(
    teacher: Teacher,
    folder: Path,
    prompts: Sequence[EncodedExample],
    generation: Generation,
    *,
    data: DataSource,
    corpus: Corpus,
    device: str,
    progress: Progress | None = None,
) -> Cost:
    """What a teacher that is a model costs; to be timed right after the student, on the same rows."""
    parameters = 0

    @contextmanager
    def opened() -> Iterator[Generate]:
        nonlocal parameters
        with contextlib.closing(teacher.open(folder, data, corpus, device=device)) as model:
            config, kind = teacher.model_config(model.tokenizer), teacher.model_kind
            assert kind is not None, "this teacher has a folder"
            parameters = kind.size_of(config).parameters
            yield lambda rows: model.generate(rows, generation)

    timing = measure(opened, prompts, batch_size=generation.batch_size, device=device, progress=progress)
    return _cost(timing, folder, parameters, generation)


def _cost(timing: Timing, folder: Path, parameters: int, generation: Generation) -> Cost:
    """Size, and the spread of the times."""
    whole = models.find_folder(str(folder), weights=True)  # of adapters that were saved alone, with their base
    low, median, high = _quartiles(timing.per_sample) or (math.nan,) * 3
    latency_low, latency, latency_high = _quartiles(timing.alone) or (None,) * 3
    return Cost(
        parameters=parameters,
        bytes_on_disk=sum(file.stat().st_size for file in models.weight_files(whole)),
        seconds_per_sample=median,
        seconds_low=low,
        seconds_high=high,
        batch_size=generation.batch_size,
        beams=generation.beams,
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
