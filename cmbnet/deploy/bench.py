"""Time every backend and precision of a bundle on one scan, each in a process of its own."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.backends import Backend, open_backend
from cmbnet.backends.registry import RUNTIMES
from cmbnet.bundle import Bundle, load_bundle
from cmbnet.errors import CmbnetError, UsageError
from cmbnet.predict import Prediction, Request, predict_file

WARM_RUNS = 3
"""Runs after the first, which is not counted. The fastest is kept: others use the machine too."""

TIMEOUT_S = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The timing of one backend and precision on one scan, in the fastest warm run."""

    backend: str  # Name of the backend, as the user gave it
    slices: int  # Number of slices that the network looked at
    crop: tuple[int, int]  # Rows and columns of a slice
    ms_per_slice: float  # Time of the network alone
    # Times of load, prepare, quality, network, native_grid, lesions, write
    stages_ms: dict[str, float]
    case_ms: float  # Sum of these times
    first_case_ms: float  # Time of the first run, with opening and warming up
    peak_mb: float  # Largest memory of the process, with that of the runtime
    artefact_kb: float  # Size of the files that it reads
    lesions: int  # Number of lesions that it found
    # Share of the machine's float32 arithmetic that the network reached, or None if its operations
    # are unknown
    share_of_peak: float | None = None
    # Multiplications and additions of one slice, or None if they are unknown
    operations: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The timings of all backends."""

    scan: tuple[int, int, int]  # Shape of the scan
    threads: int  # Number of threads of each backend
    peak_gflops: float  # Speed of a large float32 matrix product, measured before the backends
    # Timings of the backends and precisions that ran, the fastest case first
    timings: tuple[Timing, ...]
    failures: dict[str, str]  # Name and reason of each backend that did not run
    # Time per slice of plain Keras ``predict`` at the crop of the fastest backend, or None without
    # a Keras network or without tensorflow
    keras_predict_ms: float | None = None

    def to_json(self) -> str:
        """Return everything as JSON, with the notice."""
        return json.dumps({"notice": RESEARCH_USE_ONLY, **asdict(self)}, indent=2) + "\n"


def candidates(bundle: Bundle) -> list[str]:
    """List the backends and precisions that are installed and find an artefact."""
    names = []
    for runtime in RUNTIMES.values():
        precisions = {a.precision for kind in runtime.kinds for a in bundle.artefacts(kind)}
        if find_spec(runtime.package) is not None:
            names += [f"{runtime.name}:{precision}" for precision in sorted(precisions)]
    return names


def run_bench(
    bundle: Bundle,
    scan: Path,
    *,
    threads: int,
    report: Callable[[str], None],
    show: Callable[[str], None],
) -> Bench:
    """Time everything that runs here.

    `report` receives the name of each backend before it runs, `show` the heading, then the row of
    each backend once it was timed.

    Raises:
        UsageError: If no backend runs.
    """
    from cmbnet.deploy.arithmetic import peak_operations_per_s
    from cmbnet.deploy.bench_report import heading, row
    from cmbnet.io import read_nifti

    names = candidates(bundle)
    if not names:
        raise UsageError(f"nothing that is installed runs bundle {bundle.manifest.name}")
    peak = peak_operations_per_s()
    operations = _operations(bundle)
    shape = read_nifti(scan).shape
    show(heading(shape, threads, peak / 1e9))
    timings, failures = [], {}
    for name in names:
        report(f"timing {name} ...")
        try:
            timing = _in_own_process(bundle, scan, name, threads)
        except CmbnetError as error:
            failures[name] = str(error)
            show(f"{name} did not run: {error}")
        else:
            timings.append(_with_floor(timing, operations, peak))
            show(row(timings[-1]))
    if not timings:
        raise UsageError(f"no backend ran: {failures}")
    timings.sort(key=lambda timing: timing.case_ms)
    return Bench(
        scan=shape,
        threads=threads,
        peak_gflops=peak / 1e9,
        timings=tuple(timings),
        failures=failures,
        keras_predict_ms=_keras_predict_ms(bundle, timings[0]) if operations else None,
    )


def time_backend(bundle: Bundle, scan: Path, name: str, threads: int) -> Timing:
    """Time one backend in this process; see `Timing`."""
    start = time.perf_counter()
    backend = open_backend(bundle, name, threads=threads)
    with tempfile.TemporaryDirectory() as folder:
        case = Path(folder) / "case"
        _one_case(bundle, scan, backend, case)
        first_ms = 1e3 * (time.perf_counter() - start)
        runs = [_one_case(bundle, scan, backend, case) for _ in range(WARM_RUNS)]
    stages, prediction = min(runs, key=lambda run: sum(run[0].values()))
    backend.close()
    kind, _, precision = name.partition(":")
    read = [
        a
        for a in bundle.manifest.artefacts
        if a.kind in RUNTIMES[kind].kinds and a.precision == precision
    ]
    return Timing(
        backend=name,
        slices=prediction.slices,
        crop=prediction.crop,
        ms_per_slice=stages["network"] / max(prediction.slices, 1),
        stages_ms=stages,
        case_ms=sum(stages.values()),
        first_case_ms=first_ms,
        peak_mb=_peak_memory_mb(),
        artefact_kb=sum(f.bytes for a in read for f in (a, *a.companions)) / 1024,
        lesions=len(prediction.found.lesions),
    )


def _peak_memory_mb() -> float:
    """Return the largest memory of this process in MiB, or NaN if the system does not say.

    Not `resource.getrusage`, which counts what the process that started this one had.
    """
    status = Path("/proc/self/status")  # of Linux alone
    lines = status.read_text(encoding="ascii").splitlines() if status.exists() else []
    for line in lines:
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) / 1024
    return math.nan


def _one_case(
    bundle: Bundle, scan: Path, backend: Backend, folder: Path
) -> tuple[dict[str, float], Prediction]:
    """Run one whole case. Return the stages in ms, and the prediction."""
    from cmbnet.report import write_prediction

    prediction = predict_file(scan, bundle, backend, Request(force=True))
    stages = {name: 1e3 * seconds for name, seconds in prediction.timings_s.items()}
    start = time.perf_counter()
    write_prediction(prediction, folder)
    stages["write"] = 1e3 * (time.perf_counter() - start)
    return stages, prediction


def _in_own_process(bundle: Bundle, scan: Path, name: str, threads: int) -> Timing:
    """Time a backend in a process of its own, so that memory does not count for the next one."""
    values = _answer_of("cmbnet.deploy.bench", bundle.path, scan, name, threads)
    return Timing(**{**values, "crop": tuple(values["crop"])})


def _keras_predict_ms(bundle: Bundle, timing: Timing) -> float:
    found: float = _answer_of("cmbnet.deploy.plain_keras", bundle.path, *timing.crop, timing.slices)
    return found


def _answer_of(module: str, *request: object) -> Any:
    """Run a module of cmbnet and return the JSON in its last line."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", module, *map(str, request)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            # As `cmbnet predict` does: our matrices are so small that OpenBLAS's threads only spin.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"it was given up after {TIMEOUT_S:.0f} s") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise UsageError(lines[-1])
    return json.loads(done.stdout.splitlines()[-1])


def _operations(bundle: Bundle) -> Callable[[tuple[int, int]], int] | None:
    """Return a function from shape to operations, or None without a Keras network."""
    if not bundle.artefacts("keras") or find_spec("tensorflow") is None:
        return None
    from cmbnet.deploy.arithmetic import multiply_adds
    from cmbnet.deploy.source import at_shape, load_source

    model = load_source(bundle)
    return lambda shape: 2 * multiply_adds(at_shape(model, shape))


def _with_floor(
    timing: Timing, operations: Callable[[tuple[int, int]], int] | None, peak: float
) -> Timing:
    if operations is None:
        return timing
    count = operations(timing.crop)
    seconds = timing.ms_per_slice / 1e3
    share = count / peak / seconds if seconds > 0 else None
    return replace(timing, operations=count, share_of_peak=share)


def main() -> None:
    """Run as the process that `run_bench` starts for one backend."""
    folder, scan, name, threads = sys.argv[1:]
    try:
        timing = time_backend(load_bundle(folder), Path(scan), name, int(threads))
    except CmbnetError as error:
        sys.exit(f"{error}")
    sys.stdout.write(json.dumps(asdict(timing), default=_plain) + "\n")


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else str(value)


if __name__ == "__main__":
    main()
