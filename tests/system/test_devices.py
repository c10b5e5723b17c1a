"""Which device a run uses, and how its processor treats tiny numbers."""

from __future__ import annotations

import pytest
import torch

from kdkit.errors import KdkitError, UsageError
from kdkit.system.devices import enough_memory, flushing_denormals, pick


def test_the_processor_is_there():
    assert pick("cpu") == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match='device = "cuda"'):
        pick("cuda")


def test_tiny_numbers_are_zero_within_the_block_and_nowhere_else():
    tiny = torch.tensor([1e-40])
    with flushing_denormals():
        assert float(tiny * 0.5) == 0
    assert float(tiny * 0.5) > 0


@pytest.mark.parametrize(("device", "current"), [("cuda", []), ("cuda:1", [1])])
def test_a_gpu_that_is_named_by_its_number_becomes_the_current_one(monkeypatch, device, current):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert pick(device) == device
    assert chosen == current
    with pytest.raises(UsageError, match="torch finds 2 here"):
        pick("cuda:2")


@pytest.mark.parametrize(
    "fail",
    [
        lambda: torch.empty(2**60),
        lambda: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")),
        lambda: next((_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory.\nMore"))),
        lambda: bytearray(2**62),
    ],
)
def test_memory_that_runs_out_is_one_sentence(fail):
    with (
        pytest.raises(KdkitError, match=r"memory ran out in stage x \(.*lower training.batch_size") as error,
        enough_memory("stage x"),
    ):
        list(fail())
    assert error.value.exit_code == 1
    assert "generation.batch_size" in str(error.value)
    assert "\n" not in str(error.value)


def test_other_errors_are_not_about_memory():
    with pytest.raises(RuntimeError, match="shape") as error, enough_memory("stage x"):
        raise RuntimeError("shape")
    assert not isinstance(error.value, KdkitError)
