"""Fixtures for tests of plugins.

pytest loads this at every start, so nothing heavy is imported before a fixture is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from kdkit.api.values import TeacherBlock


@pytest.fixture
def teacher_block() -> TeacherBlock:
    """Synthetic logits of 5 target tokens over a vocabulary of 50."""
    from kdkit.testing.blocks import synthetic_block

    return synthetic_block(5, 50)


@pytest.fixture
def make_teacher_block() -> Callable[..., TeacherBlock]:
    """`kdkit.testing.synthetic_block`."""
    from kdkit.testing.blocks import synthetic_block

    return synthetic_block
