"""The thesis's model input: focal code and test method under fixed headings, and what to cut when it is too long."""

from __future__ import annotations

from kdkit.api import Cut

FOCAL_HEADING = "FOCAL CODE:\n"
TEST_HEADING = "TEST METHOD:\n"
LEAST_FOCAL_TOKENS = 10


def assertion_prompt(focal: str, masked_test: str) -> tuple[str, tuple[Cut, ...]]:
    """What the model reads for a test, and the order in which it is shortened.

    The focal code goes first: it gets what the rest leaves, and is dropped with its heading when that is less than
    ten tokens. The test method is cut last, from its end.

    Args:
        focal: The code under test; may be empty.
        masked_test: The test method, its assertions masked.
    """
    if not focal.strip():
        source = f"{TEST_HEADING}{masked_test}"
        return source, (_whole(len(TEST_HEADING), len(source)),)
    introduction = f"{FOCAL_HEADING}{focal}\n\n"
    source = f"{introduction}{TEST_HEADING}{masked_test}"
    focal_cut = Cut(
        start=len(FOCAL_HEADING),
        end=len(FOCAL_HEADING) + len(focal),
        drop_start=0,
        drop_end=len(introduction),
        drop_below=LEAST_FOCAL_TOKENS,
    )
    return source, (focal_cut, _whole(len(introduction) + len(TEST_HEADING), len(source)))


def _whole(start: int, end: int) -> Cut:
    return Cut(start=start, end=end, drop_start=start, drop_end=end)
