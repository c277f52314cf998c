"""The worker process. Images may make it crash, hang or fill memory, and only this process dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal, Protocol

from pydicom.dataset import Dataset

from cmbnet.edge.events import Events
from cmbnet.errors import CmbnetError

_STOP_S = 2.0
DIED = "the worker died"
"""Start of the reason if the process ended before it answered."""
_LOAD_S = 180.0
"""Seconds for starting the process and loading the model on a busy machine."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier study of the patient."""

    study: str  # Study Instance UID
    images: Path  # Folder of its images
    result: Path  # Folder of its result


@dataclass(frozen=True, slots=True)
class Job:
    """One study for the worker."""

    images: Path  # Folder of its images
    out: Path  # Folder for the objects to send. It is made if it is missing.
    # Whether the answer to gaps is "incomplete", because more images may come
    patient: bool = False
    failure: str = ""  # Reason why the study is given up. Then the worker only reports it.
    # UIDs of the report of an earlier run, which this run supersedes
    previous: Dataset | None = None
    earlier: Earlier | None = None  # The study to compare with, if there is one


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a job."""

    # "done"; "refused", with or without objects that say so; "incomplete"; or "fault", which is
    # tried again
    outcome: Literal["done", "refused", "incomplete", "fault"]
    reason: str = ""  # Reason why it is not done. It names no patient.
    # Details for people: seconds, lesions, series
    details: dict[str, Any] = field(default_factory=dict)


class Processor(Protocol):
    """The program of a worker. It is pickled into the new process."""

    def open(self) -> None:
        """Load what all jobs need."""

    def __call__(self, job: Any) -> Answer:
        """Do a job, for example analyse a study and write the objects to send."""


class WorkerStopped(CmbnetError):
    """The node is stopping. The study stays as it is for the next start."""


@dataclass(eq=False)
class Worker:
    """A process that is started when needed, kept warm, and killed when it takes too long."""

    processor: Processor  # Program of the worker
    _: KW_ONLY
    timeout_s: float  # Time limit of each job
    memory_mb: int  # Limit of the private memory of the process
    events: Events  # Listeners of restarts
    what: str = "the study"  # What a job is about, for messages
    _process: BaseProcess | None = field(init=False, default=None)
    _pipe: Connection | None = field(init=False, default=None)
    _closed: bool = field(init=False, default=False)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def run(self, job: Any) -> Answer:
        """Run a job. There is an answer even if the process dies.

        Raises:
            WorkerStopped: If `close` is called meanwhile.
        """
        try:
            pipe = self.start()
            pipe.send(job)
            answer: Answer = _receive(pipe, self.timeout_s, self.what)
            return answer
        except TimeoutError as error:
            return self._failed(str(error))
        except (EOFError, OSError):
            return self._failed(f"{DIED} ({self._exit_code()})")

    def start(self) -> Connection:
        """Start the process, load what jobs need, and return the connection to the process.

        Raises:
            EOFError: If the process dies, or `close` was called.
            TimeoutError: If it takes too long.
        """
        if self._closed:
            raise EOFError("it was closed")
        process, pipe = self._process, self._pipe
        if pipe is None or process is None or not process.is_alive():
            # Not fork: this process has threads, whose locks a copy would inherit locked.
            context = multiprocessing.get_context("spawn")
            pipe, theirs = context.Pipe()
            process = context.Process(
                target=_serve,
                args=(theirs, self.processor, self.memory_mb << 20),
                name="cmbnet-worker",
                daemon=True,
            )
            process.start()
            self._process, self._pipe = process, pipe
            theirs.close()  # else our end would not tell that the process died
            _receive(pipe, _LOAD_S, "loading the model")
        return pipe

    def warm(self) -> None:
        """Load what jobs need before the first job, which learns of any fault."""
        try:
            self.start()
        except (EOFError, OSError):
            self._kill()

    def close(self) -> None:
        """End the process for good. A thread that waits for it gets `WorkerStopped`."""
        self._closed = True
        self._kill()

    def _kill(self) -> None:
        # `close` may come from another thread meanwhile: only one of them ends what there is.
        with self._lock:
            process, pipe = self._process, self._pipe
            self._process = self._pipe = None
        if process is not None:
            process.kill()
            process.join(_STOP_S)
        if pipe is not None:
            pipe.close()

    def _exit_code(self) -> str:
        process = self._process
        if process is None:
            return "it was stopped"
        process.join(_STOP_S)
        code = process.exitcode
        return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"

    def _failed(self, reason: str) -> Answer:
        if self._closed:
            raise WorkerStopped("the worker was stopped")
        self._kill()
        self.events("worker_restarted", reason=reason)
        return Answer("fault", reason)


def _receive(pipe: Connection, timeout_s: float, what: str) -> Any:
    if not pipe.poll(timeout_s):
        raise TimeoutError(f"{what} took longer than {timeout_s:g} s")
    return pipe.recv()


def _serve(pipe: Connection, processor: Processor, memory_bytes: int) -> None:
    """The life of the worker process."""
    import resource  # Windows has none

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the node tells us when to stop
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    _die_with(multiprocessing.parent_process())
    processor.open()
    _say_nothing()
    pipe.send(None)
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        pipe.send(_answer(processor, job))


def _say_nothing() -> None:
    """Silence all output after the model is loaded. Decoders and warnings may quote a header."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _answer(processor: Callable[[Any], Answer], job: Any) -> Answer:
    try:
        return processor(job)
    except CmbnetError as error:
        return Answer("fault", str(error))
    except MemoryError:
        return Answer("fault", "there was not enough memory")
    # What a library says of an image may quote the patient's name: only its kind is passed on.
    except Exception as error:
        return Answer("fault", f"unexpected {type(error).__name__}")


def _die_with(parent: BaseProcess | None) -> None:
    """End this process when the node ends, even if the node is killed."""

    def wait() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="die-with-node", daemon=True).start()
