"""Time and memory of a cold ``cmbnet predict`` on one scan, and of start-up.

    python benchmarks/cold_predict.py [SCAN.nii.gz] [--repeats 5] [--model default]

A scan that does not exist is made first: a phantom of 384 x 448 x 72 voxels of 0.5 x 0.5 x 2 mm.

Every run is a process of its own, so that imports, model loading and writing all count. The
file is read once before the clock starts: the disk is not what is measured. Prints a Markdown
table with the median and the range of the wall time and the largest resident memory.
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


def run_once(command: list[str]) -> tuple[float, float]:
    """Wall time in s and peak resident memory in MiB of one process and its children."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return wall_s, usage.ru_maxrss / 1024


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


def row(name: str, command: list[str], repeats: int) -> None:
    """Run a command a number of times and print its line of the table."""
    runs = [run_once(command) for _ in range(repeats)]
    walls = [wall_s for wall_s, _ in runs]
    print(
        f"| {name} | {statistics.median(walls):.2f} ({min(walls):.2f}-{max(walls):.2f}) "
        f"| {max(memory for _, memory in runs):.0f} |"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scan", type=Path, nargs="?")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--model", default="default")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scan = args.scan or Path(folder) / "phantom-384x448x72.nii.gz"
        if not scan.exists():
            # In a process of its own: what this one holds in memory would count for its children.
            maker = multiprocessing.get_context("spawn").Process(target=make_scan, args=(scan,))
            maker.start()
            maker.join()
        scan.read_bytes()
        print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {scan.name}\n")
        print("| what | s, median (range) | peak MiB |\n|---|---|---|")
        row("python -c pass", [sys.executable, "-c", "pass"], args.repeats)
        row("import cmbnet", [sys.executable, "-c", "import cmbnet"], args.repeats)
        row("cmbnet --help", [sys.executable, "-m", "cmbnet", "--help"], args.repeats)
        command = [sys.executable, "-m", "cmbnet", "predict", str(scan), "--model", args.model]
        row("cmbnet predict", [*command, "-o", f"{folder}/out", "--overwrite"], args.repeats)


if __name__ == "__main__":
    main()
