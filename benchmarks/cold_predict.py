"""Time and memory of a cold ``cmbnet predict`` on one scan, and of start-up.

    python benchmarks/cold_predict.py [SCAN.nii.gz] [--repeats 5] [--model default] [--cases 20]
        [--versus PYTHON]

A scan that does not exist is made first: a phantom of 384 x 448 x 72 voxels of 0.5 x 0.5 x 2 mm.

Every run is a process of its own, so that imports, model loading and writing all count. The
file is read once before the clock starts: the disk is not what is measured. Prints a Markdown
table with the median and the range of the wall time and of the CPU time, and the largest resident
memory. With --cases, one process also analyses that many links to the scan, and its times are
divided by their number. With --versus, the cmbnet of another environment takes turns with this one,
so that both see the same load of the machine.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def run_once(command: list[str]) -> tuple[float, float, float]:
    """Wall and CPU time in s and peak resident memory in MiB of one process and its children."""
    start = time.perf_counter()
    # In a folder without a cmbnet, so that each Python imports its own.
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=tempfile.gettempdir(),
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def make_scan(scan: Path) -> None:
    """A phantom with microbleeds on the grid that the bars are stated for."""
    from cmbnet.io import write_nifti
    from cmbnet.phantom import Protocol, make_case

    protocol = Protocol(
        "bench", field_t=3.0, te_ms=20, tr_ms=28, flip_deg=15, pixel_mm=0.5, slice_mm=2.0,
        acquired_mm=0.5, shape=(72, 448, 384),
    )  # fmt: skip
    case = make_case(5, positive=True, protocol=protocol, lesion_count=8)
    write_nifti(case.image, scan, dtype=case.image.data.dtype)


def rows(name: str, arguments: list[str], pythons: list[str], repeats: int, cases: int = 1) -> None:
    """Run a command a number of times by each Python in turns, and print its lines of the table."""
    runs: dict[str, list[tuple[float, float, float]]] = {python: [] for python in pythons}
    for _ in range(repeats):
        for python, done in runs.items():
            done.append(run_once([python, *arguments]))
    for python, done in runs.items():
        walls, processor, memory = zip(*done, strict=True)
        times = " | ".join(
            f"{statistics.median(values) / cases:.2f} "
            f"({min(values) / cases:.2f}-{max(values) / cases:.2f})"
            for values in (walls, processor)
        )
        of = f", {python}" if len(pythons) > 1 else ""
        print(f"| {name}{of} | {times} | {max(memory):.0f} |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scan", type=Path, nargs="?")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--model", default="default")
    parser.add_argument("--cases", type=int, default=0)
    parser.add_argument("--versus")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scan = (args.scan or Path(folder) / "phantom-384x448x72.nii.gz").resolve()
        if not scan.exists():
            # In a process of its own: what this one holds in memory would count for its children.
            maker = multiprocessing.get_context("spawn").Process(target=make_scan, args=(scan,))
            maker.start()
            maker.join()
        scan.read_bytes()
        print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {scan.name}\n")
        print("| what | wall s, median (range) | CPU s | peak MiB |\n|---|---|---|---|")
        pythons = [sys.executable, *([args.versus] if args.versus else [])]
        rows("python -c pass", ["-c", "pass"], pythons, args.repeats)
        rows("import cmbnet", ["-c", "import cmbnet"], pythons, args.repeats)
        rows("cmbnet --help", ["-m", "cmbnet", "--help"], pythons, args.repeats)
        predict = ["-m", "cmbnet", "predict", "--model", args.model, "--overwrite"]
        rows("cmbnet predict", [*predict, str(scan), "-o", f"{folder}/out"], pythons, args.repeats)
        if args.cases:
            many = Path(folder) / "many"
            many.mkdir()
            for number in range(args.cases):
                (many / f"case-{number}.nii.gz").symlink_to(scan)
            command = [*predict, str(many), "-o", f"{folder}/out"]
            name = f"{args.cases} cases, one process, per case"
            rows(name, command, pythons, args.repeats, args.cases)


if __name__ == "__main__":
    main()
