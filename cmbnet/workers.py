"""Worker processes that end when their parent ends."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from threading import Thread


def start_workers(jobs: int) -> ProcessPoolExecutor:
    """Start processes that wait for work. They end with this process, even after a kill -9.

    A file that a worker is writing is then cut off. It must not have its final name yet.

    Args:
        jobs: Number of processes.
    """
    # Forking a process that runs threads, such as those of TensorFlow, can hang.
    return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    """End this process when its parent ends. Otherwise it would wait for ever after a kill -9."""
    parent = parent_process()
    if parent is not None:
        Thread(target=_wait_and_exit, args=(parent.sentinel,), daemon=True).start()


def _wait_and_exit(sentinel: int) -> None:
    """End the process at once, whatever it is doing."""
    wait([sentinel])
    os._exit(1)
