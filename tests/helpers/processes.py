"""What other processes do, as /proc tells it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def children_of(pid: int) -> list[str]:
    """Processes that the first thread of a process started."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def running(pid: str) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], timeout_s: float = 120.0) -> None:
    """Wait, for as long as a busy machine may need."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
