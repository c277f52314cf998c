"""Work on parts of one scan, or on neighbouring scans, in several threads.

numpy, scipy and the codecs release the interpreter while they work. The parts are independent, so
no result depends on the number of threads.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import Final, TypeVar

_Result = TypeVar("_Result")

Steps = Generator[None, None, _Result]
"""Work that stops between its stages, so that each stage may run in a thread of its own."""

SLAB: Final = 2
"""Number of slices in a slab. Intermediate arrays of this size stay in the processor's cache."""

MOST_THREADS: Final = 8
"""Largest number of threads. A scan has about thirty slabs of a millisecond each, so more threads
would hardly start in time."""


_LIMIT: list[int] = []
"""Number of processors that this process takes, where it has neighbours; otherwise empty."""


def limit(processors: int) -> None:
    """Take no more processors than this, because other processes of the work have the rest."""
    _LIMIT[:] = [processors]


def processors() -> int:
    """Count the processors that this process may use. A container may have fewer."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min([own or 1, *_LIMIT])


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


def finished(work: Steps[_Result]) -> _Result:
    """Do all stages of a work, and return its result."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: _Result = end.value
            return result


def in_stages(works: Iterable[Steps[_Result]], *, stages: int) -> Iterator[_Result]:
    """Do works whose stages overlap: each stage has a thread, which does one work after the other.

    No more works are begun at a time than there are stages.

    Args:
        works: They stop `stages` - 1 times, or end earlier.
        stages: Number of stages.

    Yields:
        The results, in order. What a work raises is raised here. Where the caller stops, no further
        work begins, and stages that run are finished.

    Examples:
        >>> def work(number):
        ...     yield
        ...     return 2 * number
        >>> list(in_stages(map(work, range(3)), stages=2))
        [0, 2, 4]
    """
    pools = [ThreadPoolExecutor(1, thread_name_prefix=f"stage-{n + 1}") for n in range(stages)]
    begun = deque[Future[list[_Result]]]()
    try:
        for work in works:
            if len(begun) == stages:
                yield begun.popleft().result()[0]
            done = pools[0].submit(_step, work, None)
            for pool in pools[1:]:
                done = pool.submit(_step, work, done)
            begun.append(done)
        while begun:
            yield begun.popleft().result()[0]
    finally:
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in pools:
            pool.shutdown()


def _step(work: Steps[_Result], before: Future[list[_Result]] | None) -> list[_Result]:
    """Do the next stage of a work; the list has its result as soon as there is one."""
    done = [] if before is None else before.result()
    if not done:
        try:
            next(work)
        except StopIteration as end:
            done = [end.value]
    return done
