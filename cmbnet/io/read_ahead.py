"""`ReadAhead`: read and decompress scans while the interpreter does other work.

Decompression works without the interpreter's lock, so a scan is read during imports.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from cmbnet.io.scan import LoadedScan


class ReadAhead:
    """A reader of scans in its own thread, in the order of the requests.

    `frame`, `series` and `phase_series` are as for `cmbnet.io.read_scan`.
    """

    def __init__(
        self, frame: int | None = None, series: str | None = None, phase_series: str | None = None
    ) -> None:
        self._wanted = {"series": series, "phase_series": phase_series}
        self._frame = frame
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self._reading: dict[Path, Future[LoadedScan]] = {}

    def begin(self, path: Path) -> None:
        """Begin to read a file. A second request does nothing."""
        if path not in self._reading:
            self._reading[path] = self._pool.submit(self._read, path)

    def take(self, path: Path) -> Callable[[], LoadedScan] | None:
        """Return a function that waits for a begun file, or None for other files."""
        future = self._reading.pop(path, None)
        return None if future is None else future.result

    def close(self) -> None:
        """Forget files that were begun and not taken."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._reading.clear()

    def _read(self, path: Path) -> LoadedScan:
        from cmbnet.io.scan import read_scan

        return read_scan(path, frame=self._frame, **self._wanted)
