"""Measure the backends that `auto` chooses from, in a process of its own.

A runtime that crashes there costs no result, and its memory does not count for the caller.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Final

import numpy as np

from cmbnet.backends.base import Backend
from cmbnet.backends.probe import probe_stack
from cmbnet.backends.registry import RUNTIMES, contest_here, import_runtime, open_backend
from cmbnet.backends.speed import Contest, Speed, keep
from cmbnet.bundle import Bundle, load_bundle
from cmbnet.threads import processors

ROUND_S: Final = 0.1
"""Each backend runs for about this long, and at least twice."""

MOST_SLICES: Final = 24
"""The pipeline never hands more slices over at once."""

TIMEOUT_S: Final = 120.0


def measure_once(bundle: Bundle, *, threads: int | None = None) -> bool:
    """Measure the backends if there is a choice and it was not done before.

    One process measures at a time. Where nothing can be kept, or others keep the machine so busy
    that the figures would say nothing, nothing is measured.

    Returns:
        Whether there is a new measurement.
    """
    found = contest_here(bundle, threads or processors())
    if found is None or found.speeds or _busy():
        return False
    from filelock import FileLock, Timeout  # takes as long to import as a scan to read

    try:
        found.file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(found.file.with_suffix(".lock"), timeout=0):
            return keep(found.file, measure(bundle, found, threads=threads))
    except (OSError, Timeout, NotImplementedError):  # the last: a file system without locks
        return False


def _busy() -> bool:
    """Whether twice as much waits for the processors of the whole machine as there are of them."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return load > 2 * (os.cpu_count() or 1)


def measure(bundle: Bundle, found: Contest, *, threads: int | None = None) -> dict[str, Speed]:
    """Measure backends.

    Args:
        bundle: The model.
        found: Names of the backends.
        threads: Number of threads; by default that of the processors.

    Returns:
        From the names of backends to their speeds. If the process ends before its time, all have a
        fault.
    """
    words = [str(bundle.path), str(threads or processors()), *found.names]
    command = [sys.executable, "-m", "cmbnet.backends.measure", *words]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True
        )
        answer = json.loads(done.stdout.splitlines()[-1])
        return {name: Speed(**speed) for name, speed in answer.items()}
    except subprocess.TimeoutExpired:
        fault = f"the measurement took longer than {TIMEOUT_S:.0f} s"
    except (subprocess.CalledProcessError, ValueError, IndexError) as error:
        fault = f"the measurement failed: {error}"
    return dict.fromkeys(found.names, Speed(fault=fault))


def speeds_of(bundle: Bundle, names: tuple[str, ...], *, threads: int) -> Mapping[str, Speed]:
    """Measure backends in this process, in turns, so that other work here slows all alike."""
    speeds: dict[str, Speed] = {}
    ready: dict[str, Backend] = {}
    start_ms: dict[str, float] = {}
    for name in names:
        try:
            ready[name], start_ms[name] = _opened(bundle, name, threads)
        except Exception as error:  # of a runtime that may do whatever it likes
            speeds[name] = Speed(fault=" ".join(str(error).split()) or type(error).__name__)
    rounds_s: dict[str, list[float]] = {name: [] for name in ready}
    deadline = time.perf_counter() + ROUND_S * len(ready)
    count = min(2 * threads, MOST_SLICES)
    stacks = {n: np.repeat(probe_stack(b.shapes[-1]), count, axis=0) for n, b in ready.items()}
    while any(len(rounds) < 2 for rounds in rounds_s.values()) or time.perf_counter() < deadline:
        for name, backend in ready.items():
            start = time.perf_counter()
            backend.predict(stacks[name])
            rounds_s[name].append(time.perf_counter() - start)
    for name, backend in ready.items():
        backend.close()
        speeds[name] = Speed(1e3 * min(rounds_s[name]) / count, start_ms[name])
    return {name: speeds[name] for name in names}


def _opened(bundle: Bundle, name: str, threads: int) -> tuple[Backend, float]:
    """Open a backend with filled caches, run it once, and time import and loading in ms."""
    start = time.perf_counter()
    import_runtime(RUNTIMES[name])
    imported_s = time.perf_counter() - start
    _loaded(bundle, name, threads).close()
    start = time.perf_counter()
    backend = _loaded(bundle, name, threads)
    return backend, 1e3 * (imported_s + time.perf_counter() - start)


def _loaded(bundle: Bundle, name: str, threads: int) -> Backend:
    backend = open_backend(bundle, name, threads=threads)
    backend.predict(probe_stack(backend.shapes[-1]))
    return backend


def main() -> None:
    """The process that `measure` starts."""
    folder, threads, *names = sys.argv[1:]
    found = speeds_of(load_bundle(folder), tuple(names), threads=int(threads))
    sys.stdout.write(json.dumps({name: asdict(speed) for name, speed in found.items()}) + "\n")


if __name__ == "__main__":
    main()
