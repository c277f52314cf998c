"""Processes that share the work of this one, and that end when it ends."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from threading import Thread


def start_workers(jobs: int) -> ProcessPoolExecutor:
    """Start processes that wait for work; none of them outlives this one, not even a kill -9.

    What a worker is writing then is cut off: it must not have its final name yet.

    Args:
        jobs: Number of processes.
    """
    # Forking a process that runs threads, such as those of TensorFlow, can hang.
    return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    """End this process when its parent ends: after a kill -9 it would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        Thread(target=_wait_and_exit, args=(parent.sentinel,), daemon=True).start()


def _wait_and_exit(sentinel: int) -> None:
    """Leave at once, whatever is being done."""
    wait([sentinel])
    os._exit(1)
