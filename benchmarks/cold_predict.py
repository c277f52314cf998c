"""Time and memory of a cold ``cmbnet predict`` on one scan, and of start-up.

    python benchmarks/cold_predict.py SCAN.nii.gz [--repeats 5]

Every run is a process of its own, so that imports, model loading and writing all count. The
file is read once before the clock starts: the disk is not what is measured. Prints a Markdown
table with the median and the range of the wall time and the largest resident memory.
"""

from __future__ import annotations

import argparse
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
    parser.add_argument("scan", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    args.scan.read_bytes()

    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {args.scan.name}\n")
    print("| what | s, median (range) | peak MiB |\n|---|---|---|")
    row("python -c pass", [sys.executable, "-c", "pass"], args.repeats)
    row("import cmbnet", [sys.executable, "-c", "import cmbnet"], args.repeats)
    row("cmbnet --help", [sys.executable, "-m", "cmbnet", "--help"], args.repeats)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "cmbnet", "predict", str(args.scan)]
        row("cmbnet predict", [*command, "-o", folder, "--overwrite"], args.repeats)


if __name__ == "__main__":
    main()
