"""Whole scans a second of a Triton server, against a local loop on the same bundle.

    python benchmarks/triton_throughput.py triton+grpc://localhost:8001 SCAN.nii.gz BUNDLE

BUNDLE is what the server answers from: REPOSITORY/cmbnet/1/bundle. Prints a Markdown table; the
ratio is what counts, because both share the machine. Answers must be equal, or it says so.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cmbnet.backends import open_backend
from cmbnet.bundle import load_bundle
from cmbnet.deploy.triton.client import TritonScanner
from cmbnet.io import read_nifti
from cmbnet.predict import predict_volume


def seconds_per_scan(work: Callable[[], object], scans: int, clients: int) -> float:
    """Wall time per scan; one that does not count comes first."""
    work()
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda _: work(), range(scans)))
    return (time.perf_counter() - start) / scans


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("scan")
    parser.add_argument("bundle")
    parser.add_argument("--scans", type=int, default=8)
    options = parser.parse_args()
    volume = read_nifti(options.scan)
    bundle = load_bundle(options.bundle)
    backend = open_backend(bundle)
    scanner = TritonScanner(options.url)
    here = predict_volume(volume, bundle, backend, force=True)
    there = scanner.scan(volume, force=True)
    equal = np.array_equal(here.finding.labels, there.labels)
    local = seconds_per_scan(
        lambda: predict_volume(volume, bundle, backend, force=True), options.scans, 1
    )
    print(f"scan {volume.shape} (z, y, x), {backend.info.name}:{backend.info.precision}")
    print(f"labels equal to the local ones: {'yes' if equal else 'NO'}\n")
    print("| what | s a scan | throughput against the local loop |")
    print("|---|---|---|")
    print(f"| local loop | {local:.2f} | 1.00 |")
    for clients in (1, 4):
        served = seconds_per_scan(lambda: scanner.scan(volume, force=True), options.scans, clients)
        print(f"| Triton, {clients} client(s) | {served:.2f} | {local / served:.2f} |")
    scanner.close()
    backend.close()


if __name__ == "__main__":
    main()
