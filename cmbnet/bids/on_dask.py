"""The engine of many machines: Dask workers that share the folders of input and output.

A worker that dies, or that has other code or another model, loses nothing: its cases go to another
one. Nothing is doubled, because a case has one place, a lock and a mark when it is finished.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cmbnet import __version__, threads
from cmbnet.backends import open_backend
from cmbnet.bundle import load_bundle
from cmbnet.errors import CmbnetError, require
from cmbnet.io.case import Case
from cmbnet.io.digest import code_sha256
from cmbnet.predict import Request
from cmbnet.report.batch import Outcome, run_cases

if TYPE_CHECKING:
    from cmbnet.backends import Backend
    from cmbnet.bundle import Bundle

LOCAL: Final = "local"
"""The word for workers on this machine."""

_OPENING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Job:
    """What every task of a run needs. It travels to the workers."""

    model: str  # Folder of the bundle, or "default"
    bundle_sha256: str
    request: Request
    out_dir: Path  # Folder of the cases
    overwrite: bool
    code_sha256: str  # Of this package on the machine that asks

    def analyse(self, case: Case) -> Outcome:
        """Analyse a case on a worker. The model is loaded for the first case only."""
        from distributed import get_worker

        share = get_worker().state.nthreads
        if self.code_sha256 != _code():
            raise _other(f"cmbnet {__version__} on the worker is not that of the run")
        with _OPENING:
            bundle, backend = _opened(self.model, self.bundle_sha256, self.request.backend, share)
        if bundle.sha256 != self.bundle_sha256:
            raise _other(f"{self.model} on the worker is another model")
        (outcome,) = run_cases(
            [case],
            self.out_dir,
            bundle=bundle,
            backend=backend,
            request=self.request,
            overwrite=self.overwrite,
        )
        return outcome


class OtherWorker(Exception):
    """A worker that must not take part: its address, and why."""


def _other(reason: str) -> OtherWorker:
    from distributed import get_worker

    address = get_worker().address
    return OtherWorker(address, f"{reason} ({address}); install the same")


@cache
def _code() -> str:
    return code_sha256(".")


@cache
def _opened(model: str, sha256: str, backend: str, share: int) -> tuple[Bundle, Backend]:
    """Load a model into this worker, whose threads are then as many as its share of processors.

    A model that was replaced since has another hash, and is loaded, too.
    """
    threads.limit(share)
    bundle = load_bundle(model)
    return bundle, open_backend(bundle, backend, threads=share)


def run_on_dask(
    cases: Sequence[Case],
    job: Job,
    *,
    scheduler: str,
    workers: int,
    say: Callable[[str], None],
) -> Generator[Outcome, None, None]:
    """Analyse cases on Dask workers.

    Args:
        cases: The cases, whose paths the workers see, too.
        job: What is asked.
        scheduler: Address of a scheduler, such as ``tcp://host:8786``, or "local".
        workers: Number of local workers. They share the processors of this machine.
        say: Function that receives a sentence about each worker that must not take part.

    Yields:
        The outcome of each case when it is known. If the caller stops, no further case begins.

    Raises:
        MissingExtra: If distributed is not installed.
        CmbnetError: If the scheduler cannot be reached, or goes away. Finished cases stay.
    """
    require("distributed", extra="dask", purpose="to analyse on Dask workers")
    from distributed import as_completed

    # What becomes of the workers is told by the outcomes.
    for name in ("client", "nanny", "scheduler", "worker"):
        logging.getLogger(f"distributed.{name}").setLevel(logging.CRITICAL)
    with _client(scheduler, workers) as client:
        futures = {client.submit(job.analyse, case, pure=False): case for case in cases}
        others: set[str] = set()
        done = as_completed(futures)
        for future in done:
            case = futures.pop(future)
            error = future.exception() if future.status == "error" else None
            if isinstance(error, OtherWorker):
                address, reason = error.args
                if address not in others:
                    say(reason)
                others.add(address)
                left = [one for one in client.nthreads() if one not in others]
                if left:
                    # By name, or the other worker, which is idle, would steal it back.
                    again = client.submit(job.analyse, case, pure=False, workers=left)
                    futures[again] = case
                    done.add(again)
                    continue
            yield _outcome(future, case, scheduler)


def job_of(model: str, bundle: Bundle, request: Request, out_dir: Path, *, overwrite: bool) -> Job:
    """Describe a run for the workers."""
    where = model if model == "default" else str(Path(model).resolve())
    return Job(where, bundle.sha256, request, out_dir.resolve(), overwrite, _code())


@contextmanager
def _client(scheduler: str, workers: int) -> Iterator[Any]:
    """Connect to a scheduler, or start one with workers, which end with the run."""
    import dask
    from distributed import Client, LocalCluster

    if scheduler == LOCAL:
        with (
            # The profiler of each worker looks at its threads a hundred times a second.
            dask.config.set({"distributed.worker.profile.enabled": False}),
            LocalCluster(
                n_workers=workers,
                threads_per_worker=max(1, threads.processors() // workers),
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = Client(scheduler)
    except (OSError, ValueError) as error:
        raise CmbnetError(
            f"no Dask scheduler answers at {scheduler} ({error}); start one with `dask scheduler`",
            argument="dask",
        ) from error
    with client:
        yield client


def _outcome(future: Any, case: Case, scheduler: str) -> Outcome:
    if future.status == "cancelled":
        raise CmbnetError(
            f"the Dask scheduler {scheduler} went away; run again: finished cases are skipped"
        )
    if future.status == "error":
        error = future.exception()
        reason = f"{case.path}: the worker said {type(error).__name__}: {error}"
        if isinstance(error, OtherWorker):
            reason = error.args[1]
        return Outcome(case=case, status="failed", reason=reason)
    outcome: Outcome = future.result()
    return outcome
