"""Works ahead in one thread, in order: batches are decoded while the step before them runs."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    Item = TypeVar("Item")
    Result = TypeVar("Result")


@contextmanager
def ahead(load: Callable[[Item], Result], items: Iterable[Item], *, depth: int) -> Iterator[Iterator[Result]]:
    """What `load` makes of each item, in order; up to `depth` of them are made before they are asked for.

    An error in `load` is raised where its item is asked for. However the block ends, the thread ends with it.

    Args:
        load: Called in the thread, one item after the other.
        items: What it is called with.
        depth: How many results may wait; what memory is needed for.
    """
    waiting: deque[Future[Result]] = deque()
    left = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="kdkit-ahead") as thread:

        def results() -> Iterator[Result]:
            waiting.extend(thread.submit(load, item) for item in islice(left, depth))
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(thread.submit(load, item) for item in islice(left, 1))
                yield result

        try:
            yield results()
        finally:
            for future in waiting:
                future.cancel()
