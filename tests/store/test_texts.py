"""Texts in a run folder are those of the model that is asked, whatever an earlier try has left there."""

from __future__ import annotations

import pytest
import tiny

from kdkit.api.options import Generation
from kdkit.api.values import Prediction
from kdkit.store import predictions, texts
from kdkit.system.progress import Silent
from kdkit.system.team import ALONE

ROWS = tiny.encoded(4)[1]


def fill(folder, model: str, *, stop_after: int | None = None) -> list[str]:
    """The rows that a model was asked for."""
    asked = []

    def generate(rows, done):
        for row in rows:
            if row.id not in done:
                if len(asked) == stop_after:
                    raise KeyboardInterrupt
                asked.append(row.id)
                yield Prediction(id=row.id, text=model)

    texts.fill(
        folder / "run" / "teacher.jsonl",
        ROWS,
        generate,
        name="teacher",
        tokenizer=tiny.tokenizer(),
        kept_as=model,
        store=folder / "store",
        generation=Generation(),
        progress=Silent(),
        team=ALONE,
    )
    return asked


def written(folder) -> list[str]:
    return [prediction.text for prediction in predictions.read(folder / "run" / "teacher.jsonl")]


def test_what_another_model_left_unfinished_is_not_gone_on_with(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path, "old", stop_after=2)
    assert len(fill(tmp_path, "new")) == len(ROWS)
    assert written(tmp_path) == ["new"] * len(ROWS)
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["teacher.jsonl"]
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path, "third", stop_after=2)
    assert len(fill(tmp_path, "third")) == len(ROWS) - 2, "the same model goes on"


def test_finished_texts_of_another_model_are_replaced(tmp_path):
    fill(tmp_path, "old")
    fill(tmp_path, "new")
    assert written(tmp_path) == ["new"] * len(ROWS)
    assert fill(tmp_path, "old") == []
    assert written(tmp_path) == ["old"] * len(ROWS)
