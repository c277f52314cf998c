"""The folder of a run: one process at a time, and only whole files, even on a full disk."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cmbnet.errors import CmbnetError, UsageError

_FULL = (errno.ENOSPC, errno.EDQUOT)


class DiskFull(CmbnetError):
    """The disk has no room for the files of a run."""


@contextmanager
def alone_in(run: Path) -> Iterator[None]:
    """Keep other processes out of a run. The system frees the lock when the process ends.

    Raises:
        UsageError: If another one is in it.
    """
    lock = FileLock(run / "run.lock", blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise UsageError(
            f"another process trains in {run}: wait for it or choose another folder",
            argument="output",
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def room_in(run: Path) -> Iterator[None]:
    """Turn the fault of a full disk into words; files under temporary names are removed.

    Raises:
        DiskFull: If what runs inside meets a full disk.
    """
    try:
        yield
    except OSError as error:
        # HDF5 loses the number and keeps the words.
        if error.errno not in _FULL and "No space left" not in str(error):
            raise
        for left in run.glob(".*.tmp*"):
            left.unlink(missing_ok=True)
        raise DiskFull(
            f"no space is left for {run}: the run is whole up to its last finished epoch; free "
            "some space and run the same command, which goes on from there"
        ) from error
