"""Worker processes that end when their parent ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from threading import Thread
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def start_workers(jobs: int) -> ProcessPoolExecutor:
    """Start processes that wait for work. They end with this process, even after a kill -9.

    A file that a worker is writing is then cut off. It must not have its final name yet.
    """
    # Forking a process that runs threads, such as those of TensorFlow, can hang.
    return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_end_with_parent)


def done_by(jobs: int, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield the result of each item as it is finished. One job is done in this process.

    If it is given up, no further item is begun.
    """
    if jobs <= 1:
        yield from map(work, items)
        return
    with start_workers(jobs) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _end_with_parent() -> None:
    """End this process when its parent ends. Otherwise it would wait for ever after a kill -9."""
    parent = parent_process()
    if parent is not None:
        Thread(target=_wait_and_exit, args=(parent.sentinel,), daemon=True).start()


def _wait_and_exit(sentinel: int) -> None:
    """End the process at once, whatever it is doing."""
    wait([sentinel])
    os._exit(1)
