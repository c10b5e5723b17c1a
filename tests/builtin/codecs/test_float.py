"""What floats of two bytes cannot hold is refused."""

from __future__ import annotations

import numpy as np
import pytest

from kdkit.api.values import TeacherBlock
from kdkit.builtin.codecs.float_ import Float
from kdkit.errors import UsageError


@pytest.mark.parametrize(("dtype", "offset"), [("bf16", 1e6), ("bf16", -1e6), ("fp16", 6e4)])
def test_rows_too_far_from_0_for_a_dtype_are_refused_and_not_stored_as_others(dtype, offset):
    logits_TV = (np.random.default_rng(0).standard_normal((3, 50)) * 3).astype(np.float32)
    Float(dtype=dtype).encode(TeacherBlock(id="near", logits_TV=logits_TV))
    said = rf"rounded to {dtype}, the logits of target token 0 of example 'far' become another distribution: .*{dtype}"
    with pytest.raises(UsageError, match=said):
        Float(dtype=dtype).encode(TeacherBlock(id="far", logits_TV=logits_TV + np.float32(offset)))
