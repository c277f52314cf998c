"""Work on parts of one scan in several threads.

numpy, scipy and the codecs release the interpreter while they work. The parts are independent, so
no result depends on the number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import Final, TypeVar

_Result = TypeVar("_Result")

SLAB: Final = 2
"""Number of slices in a slab. Intermediate arrays of this size stay in the processor's cache."""

MOST_THREADS: Final = 8
"""Largest number of threads. A scan has about thirty slabs of a millisecond each, so more threads
would hardly start in time."""


def processors() -> int:
    """Count the processors that this process may use. A container may have fewer."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_threads(calls: Sequence[Callable[[], _Result]]) -> list[_Result]:
    """Make calls in parallel, as many at a time as there are processors (at most 8).

    The calling thread makes calls, too, so it may itself be one of several.

    Returns:
        The results of the calls, in order. If a call raises, its error is raised here when the
        others are done.
    """
    others = max(min(processors(), MOST_THREADS, len(calls)) - 1, 0)
    waiting = SimpleQueue[int | None]()
    for number in (*range(len(calls)), *[None] * (others + 1)):
        waiting.put(number)
    results: dict[int, _Result] = {}

    def work() -> None:
        for number in iter(waiting.get, None):
            results[number] = calls[number]()

    if others == 0:
        work()
    else:
        with ThreadPoolExecutor(others, thread_name_prefix="part") as pool:
            working = [pool.submit(work) for _ in range(others)]
            work()
            for one in working:
                one.result()
    return [results[number] for number in range(len(calls))]


def in_slabs(work: Callable[[slice], _Result], count: int, *, slab: int = SLAB) -> list[_Result]:
    """Call `work` for every slab of slices, in parallel.

    Args:
        work: Function of a range of slices. Several threads call it at once.
        count: Number of all slices.
        slab: Number of slices in a slab. The last slab may have fewer.

    Returns:
        The results of `work`, in the order of the slices.

    Examples:
        >>> in_slabs(lambda slab: (slab.start, slab.stop), 5)
        [(0, 2), (2, 4), (4, 5)]
    """
    starts = range(0, count, slab)
    return in_threads([partial(work, slice(n, min(n + slab, count))) for n in starts])
