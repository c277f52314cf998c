"""Parts of one scan in threads: numpy, scipy and the codecs leave the interpreter to each other.

The parts are independent of one another, so no result depends on the number of threads.
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
"""Slices at a time: what is made on the way then stays in the cache."""

MOST_THREADS: Final = 8
"""A scan is some thirty slabs of a millisecond: more threads would hardly start in that time."""


def processors() -> int:
    """Processors that this process may run on; a container may have fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_threads(calls: Sequence[Callable[[], _Result]]) -> list[_Result]:
    """Make some calls side by side, as many at a time as there are processors (at most 8).

    This thread makes calls, too, so that it may itself be one of many.

    Returns:
        What they returned, in order. If one raises, so does this, after the others are done.
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
    """Call `work` for every slab of a number of slices, side by side.

    Args:
        work: Takes a range of slices; called in several threads at once.
        count: Slices in all.
        slab: Slices at a time; the last slab may have fewer.

    Returns:
        What `work` returned, in the order of the slices.

    Examples:
        >>> in_slabs(lambda slab: (slab.start, slab.stop), 5)
        [(0, 2), (2, 4), (4, 5)]
    """
    starts = range(0, count, slab)
    return in_threads([partial(work, slice(n, min(n + slab, count))) for n in starts])
