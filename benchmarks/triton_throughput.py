"""Whole scans a second of a Triton server, against a local loop on the same bundle.

    python -m benchmarks.triton_throughput SCAN.nii.gz REPOSITORY [--url triton+grpc://HOST:8001]

REPOSITORY is what the server answers from, as `cmbnet export --triton` wrote it. Without a URL the
server of the tests is started on it (see tests/integration/triton_server.py). Prints a Markdown
table; the ratio is what counts, because both share the machine. Answers must be equal, or it says
so.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np

from cmbnet.backends import open_backend
from cmbnet.bundle import load_bundle
from cmbnet.deploy.triton.client import TritonScanner
from cmbnet.io import read_nifti
from cmbnet.predict import Request, predict_volume


def seconds_per_scan(work: Callable[[], object], scans: int, clients: int) -> float:
    """Wall time per scan; one that does not count comes first."""
    work()
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda _: work(), range(scans)))
    return (time.perf_counter() - start) / scans


@contextmanager
def server(repository: Path) -> Iterator[str]:
    """A server on the repository, as long as the block runs; its URL."""
    from tests.integration.triton_server import TritonServer

    with tempfile.TemporaryDirectory() as folder:
        running = TritonServer(repository, Path(folder) / "server.log")
        try:
            running.start()
            yield f"triton+grpc://127.0.0.1:{running.grpc}"
        finally:
            running.kill()


def measure(scan: str, repository: Path, url: str, scans: int) -> None:
    """Print the table."""
    volume = read_nifti(scan)
    bundle = load_bundle(repository / "cmbnet" / "1" / "bundle")
    backend = open_backend(bundle)
    scanner = TritonScanner(url)
    here = predict_volume(volume, bundle, backend, Request(force=True))
    there = scanner.scan(volume, Request(force=True))
    equal = np.array_equal(here.found.labels, there.labels)
    local = seconds_per_scan(
        lambda: predict_volume(volume, bundle, backend, Request(force=True)), scans, 1
    )
    print(f"scan {volume.shape} (z, y, x), {backend.info.name}:{backend.info.precision}")
    print(f"labels equal to the local ones: {'yes' if equal else 'NO'}\n")
    print("| what | s a scan | throughput against the local loop |")
    print("|---|---|---|")
    print(f"| local loop | {local:.2f} | 1.00 |")
    for clients in (1, 2, 4, 8):
        served = seconds_per_scan(lambda: scanner.scan(volume, Request(force=True)), scans, clients)
        print(f"| Triton, {clients} client(s) | {served:.2f} | {local / served:.2f} |")
    scanner.close()
    backend.close()


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scan")
    parser.add_argument("repository", type=Path)
    parser.add_argument("--url")
    parser.add_argument("--scans", type=int, default=8)
    options = parser.parse_args()
    with nullcontext(options.url) if options.url else server(options.repository) as url:
        measure(options.scan, options.repository, url, options.scans)


if __name__ == "__main__":
    main()
