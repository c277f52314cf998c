"""Reading of received objects in a process of its own, which an object may hang or kill."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cmbnet.edge.contents import Contents, contents_of, read_values
from cmbnet.edge.events import Events
from cmbnet.edge.worker import DIED, Answer, Worker


class _Program:
    """The program of the process, see `cmbnet.edge.worker.Processor`."""

    def open(self) -> None:
        """Nothing is loaded."""

    def __call__(self, job: tuple[Any, ...]) -> Answer:
        read, *how = job
        try:
            return Answer("done", details={"read": read(*how)})
        except OSError as error:  # its text would name the file, and so perhaps a UID
            return Answer("refused", str(error.strerror))
        except ValueError as error:
            return Answer("refused", str(error))


def _worker() -> Worker:
    # In this time an object of the largest size is read on a slow disk.
    return Worker(_Program(), timeout_s=60.0, memory_mb=256, events=Events(), what="the object")


@dataclass(eq=False)
class ObjectReader:
    """Reads objects in another process. Threads may share one; each waits for its turn."""

    worker: Worker = field(init=False, default_factory=_worker)
    _turn: threading.Lock = field(init=False, default_factory=threading.Lock)

    def start(self) -> None:
        """Start the process in the background, so that the first object need not wait."""
        threading.Thread(target=self._warm, name="identify", daemon=True).start()

    def values(self, path: Path, keywords: tuple[str, ...]) -> dict[str, str]:
        """See `cmbnet.edge.contents.read_values`.

        Raises:
            ValueError: If the file is not readable, takes too long, or kills the process twice.
            WorkerStopped: If the node is stopping.
        """
        found: dict[str, str] = self._ask(read_values, path, keywords)
        return found

    def contents(self, path: Path) -> Contents:
        """See `cmbnet.edge.contents.contents_of`. It raises as `values` does."""
        found: Contents = self._ask(contents_of, path)
        return found

    def close(self) -> None:
        """End the process for good."""
        self.worker.close()
        with self._turn:  # whoever had it might have begun another
            self.worker.close()

    def _warm(self) -> None:
        with self._turn:
            self.worker.warm()

    def _ask(self, *job: Any) -> Any:
        with self._turn:
            answer = self.worker.run(job)
            if answer.reason.startswith(DIED):  # perhaps not of this object
                answer = self.worker.run(job)
        if answer.outcome != "done":
            raise ValueError(answer.reason)
        return answer.details["read"]
