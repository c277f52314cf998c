"""The edge node under load: many studies in one run, its memory, times and rates.

    python -m benchmarks.edge_soak                   # everything, 500 small studies
    python -m benchmarks.edge_soak --part reception
    python -m benchmarks.edge_soak --part soak --fast    # without the model, 8 slices a study

The node is ``cmbnet edge run`` in a process of its own with the default model (--fast: the same
node and worker process with the tests' stand-in for the model); scanner and PACS are pynetdicom on
loopback; every study has UIDs of its own. The time of a study is from the answer to its last slice
until the PACS has SEG and SR, less the settle timer. Files lie under --work, which should be on a
disk, not in memory.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import yaml
from pydicom.dataset import Dataset

from cmbnet.edge.simulate import Peer, send_files
from cmbnet.errors import CmbnetError, UsageError
from cmbnet.phantom import make_case
from cmbnet.phantom.dicom import ScanHeader, Vendor, uid_of, write_dicom_series
from cmbnet.volume import Volume
from tests.helpers.edge_peers import SCANNER, FakePacs

_MOST_SENT = 10
_LEAST_FOR_SLOPE = 50
SETTLE_S = 1.0
FAST_SLICES = 8
START_S = 600.0
LONGEST_S = 1800.0
SR_CLASS = "1.2.840.10008.5.1.4.1.1.88.34"


class TimedPacs(FakePacs):
    """Notes when the report of each study came; the report is sent last."""

    def __init__(self, node_port: int) -> None:
        super().__init__(lambda: node_port)
        self.reported: dict[str, float] = {}
        self.came = threading.Condition()

    def _store(self, event: Any) -> int:
        answer = super()._store(event)
        if str(event.request.AffectedSOPClassUID) == SR_CLASS and answer == 0:
            with self.came:
                self.reported[str(event.dataset.StudyInstanceUID)] = time.monotonic()
                self.came.notify_all()
        return answer


@dataclass
class Site:
    """A node, its process, and the PACS it sends to."""

    peer: Peer
    pacs: TimedPacs
    pid: int

    def memory_mb(self) -> tuple[float, float]:
        """Resident memory of the node, and of the node with its worker."""
        sizes = [_resident_mb(pid) for pid in (self.pid, *_children(self.pid))]
        return sizes[0], sum(sizes)


@dataclass
class Load:
    """What a run of studies measured."""

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    memory_mb: list[tuple[int, float, float]] = field(default_factory=list)
    sent_again: int = 0


@contextmanager
def site(work: Path, *, settle_s: float = SETTLE_S, fast: bool = False) -> Iterator[Site]:
    """Start node and PACS; stop both."""
    node_port, watch_port = free_ports(2)
    pacs = TimedPacs(node_port)
    pacs.start()
    settings = {
        "root": str(work / "node"),
        "listen": {"port": node_port, "allowed_callers": [SCANNER], "timeout_s": 600},
        "settle": {"settle_s": settle_s, "patience_s": 600},
        "storage": {"reserve_mb": 500},
        "worker": {"timeout_s": 1200},
        "watch": {"port": watch_port},
        "destinations": [
            {"name": "pacs", "ae_title": pacs.ae_title, "host": "127.0.0.1", "port": pacs.port,
             "timeout_s": 600, "commitment_timeout_s": 600}
        ],
    }  # fmt: skip
    (work / "node.yaml").write_text(yaml.safe_dump(settings))
    with (work / "node.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *_program(fast=fast), str(work / "node.yaml")],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        _wait_until_ready(watch_port, process, work / "node.log")
        yield Site(Peer("127.0.0.1", node_port, "CMBNET", SCANNER), pacs, process.pid)
    finally:
        process.terminate()
        process.wait(60)
        pacs.stop()


def _program(*, fast: bool) -> list[str]:
    return ["benchmarks.edge_soak", "--serve"] if fast else ["cmbnet", "edge", "run"]


def serve(settings: Path) -> None:
    """The node of ``--fast``, until it is killed."""
    from cmbnet.edge.config import load_config
    from cmbnet.edge.node import Node
    from cmbnet.edge.watch import Watch
    from tests.helpers.edge_processor import FakeProcessor

    node = Node(load_config(settings), processor=FakeProcessor())
    watch = Watch(node.config, node.journal)
    node.events.add(watch)
    watch.start()
    node.start()
    threading.Event().wait()


def run_studies(
    where: Site, images: Sequence[Path], work: Path, *, count: int, in_flight: int
) -> Load:
    """Send studies, at most so many of them unanswered at a time."""
    load = Load()
    sent: dict[str, float] = {}
    base = [pydicom.dcmread(path) for path in images]
    start = time.monotonic()
    for number in range(1, count + 1):
        study, files = renamed(base, work, f"soak-{start}-{number}")
        _wait_for(where.pacs, sent, in_flight - 1)
        load.sent_again += _send_until_kept(files, where.peer)
        sent[study] = time.monotonic()
        if number % 10 == 0 or number == count:
            load.memory_mb.append((number, *where.memory_mb()))
        if number % 50 == 0:
            _say(f"  {number} studies, {time.monotonic() - start:.0f} s, {load.memory_mb[-1]}")
    _wait_for(where.pacs, sent, 0)
    load.seconds = time.monotonic() - start
    load.memory_mb.append((count, *where.memory_mb()))
    load.latencies_s = [where.pacs.reported[one] - at - SETTLE_S for one, at in sent.items()]
    return load


def _send_until_kept(files: Sequence[Path], peer: Peer) -> int:
    """As scanners do: what was not acknowledged is sent again; returns how often that was needed.

    On a starved machine pynetdicom's client gives up after 30 s without an answer.
    """
    for again in range(_MOST_SENT):
        with contextlib.suppress(UsageError):
            if send_files(files, peer)[0] == len(files):
                return again
    raise CmbnetError(f"a study was not taken in {_MOST_SENT} attempts")


def renamed(base: Sequence[Dataset], work: Path, name: str) -> tuple[str, list[Path]]:
    """The images of a study under other UIDs; the files replace those of the study before."""
    folder = work / "scanner"
    folder.mkdir(exist_ok=True)
    files = []
    for place, dataset in enumerate(base):
        dataset.StudyInstanceUID = uid_of(name)
        dataset.SeriesInstanceUID = uid_of(f"{name}/series")
        dataset.SOPInstanceUID = uid_of(f"{name}/{place}")
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        files.append(folder / f"{place}.dcm")
        dataset.save_as(files[-1])
    return uid_of(name), files


def small_scan(work: Path) -> list[Path]:
    """The SWI of a procedural phantom, a tiny protocol."""
    case = make_case(3, positive=True, anatomy="procedural")
    return _swi(case.image, work)


def full_scan(work: Path) -> list[Path]:
    """72 slices of 384 x 448, as the bar asks for: a phantom's head on that matrix."""
    from scipy.ndimage import zoom

    case = make_case(3, positive=True)
    factors = np.array((72, 448, 384)) / case.image.data.shape
    data = zoom(case.image.data, factors, order=1)
    affine = case.image.affine.copy()
    affine[:3, :3] /= factors
    return _swi(Volume(data.astype(np.float32), affine, source="full"), work)


def _swi(volume: Volume, work: Path) -> list[Path]:
    folder = work / f"scan-{volume.shape[0]}"
    write_dicom_series(volume, folder, vendor=Vendor.SIEMENS, scan=ScanHeader())
    return sorted((folder / "5").iterdir())


def soak(work: Path, count: int, *, fast: bool) -> None:
    """Many small studies; memory must stay flat."""
    images = small_scan(work)[: FAST_SLICES if fast else None]
    with site(work, fast=fast) as where:
        load = run_studies(where, images, work, count=count, in_flight=8)
    node = [(number, own) for number, own, _ in load.memory_mb]
    late = np.array([(n, own, both) for n, own, both in load.memory_mb if n >= count / 5])
    model = "a stand-in for the model" if fast else "the default model"
    _row(f"studies in one run, {model}", f"{count} of {len(images)} x {_matrix(images)}")
    _row("studies per hour", f"{count / load.seconds * 3600:.0f}")
    _row("studies sent again after a time-out of the scanner", str(load.sent_again))
    _row("latency, s, median (95 %, most)", _spread(load.latencies_s))
    _row("node, MiB: start, most, end",
         f"{node[0][1]:.0f}, {max(own for _, own in node):.0f}, {node[-1][1]:.0f}")  # fmt: skip
    _row("node and worker, MiB, most", f"{max(both for *_, both in load.memory_mb):.0f}")
    if count >= _LEAST_FOR_SLOPE:
        slopes = [float(np.polyfit(late[:, 0], late[:, column], 1)[0]) for column in (1, 2)]
        _row("slope from the first fifth on, MiB per 100 studies: node, both",
             f"{100 * slopes[0]:.1f}, {100 * slopes[1]:.1f}")  # fmt: skip


def full(work: Path, count: int) -> None:
    """Studies of the size of the bar: one at a time for latency, then without pause."""
    images = full_scan(work)
    with site(work) as where:
        run_studies(where, images, work, count=1, in_flight=1)  # the worker loads its model
        alone = run_studies(where, images, work, count=max(3, count // 3), in_flight=1)
        load = run_studies(where, images, work, count=count, in_flight=3)
    _row(f"latency of {_matrix(images)} x {len(images)}, s, median (95 %, most)",
         _spread(alone.latencies_s))  # fmt: skip
    _row("studies of that size per hour, reception going on", f"{count / load.seconds * 3600:.0f}")


def reception(work: Path, count: int) -> None:
    """How fast slices are taken: synced, one association."""
    base = pydicom.dcmread(small_scan(work)[0])
    base.Rows = base.Columns = 512
    base.PixelData = np.random.default_rng(0).integers(0, 4096, (512, 512), np.int16).tobytes()
    rates = []
    with site(work, settle_s=100_000) as where:
        for attempt in range(3):
            _, files = renamed([base] * count, work, f"reception-{attempt}")
            start = time.monotonic()
            answers = send_files(files, where.peer)
            rates.append(count / (time.monotonic() - start))
            if answers[0] != count:
                raise CmbnetError(f"reception: {dict(answers)}")
    shown = ", ".join(f"{rate:.0f}" for rate in rates)
    _row(f"512 x 512 int16 slices per second, {count} on one association", shown)


def writing(work: Path) -> None:
    """SEG and SR of 60 lesions on 72 slices of 384 x 448."""
    from cmbnet.io.dicom import read_dicom_series
    from cmbnet.lesions import find_lesions
    from cmbnet.lesions.rules import LesionRules
    from cmbnet.report.dicom import Algorithm, DicomResult, write_dicom_results

    volume, source = read_dicom_series(full_scan(work)[0].parent)
    probability = np.zeros(volume.shape, np.float32)
    random = np.random.default_rng(1)
    for place in range(60):
        z, y, x = 4 + place % 64, 120 + int(random.integers(200)), 100 + int(random.integers(180))
        probability[z : z + 2, y : y + 5, x : x + 5] = 0.9
    found = find_lesions(volume.with_data(probability), LesionRules())
    result = DicomResult(found.lesions, found.labels, Algorithm("soak", "ab" * 32))
    times = []
    for _ in range(5):
        wall, cpu = time.perf_counter(), time.process_time()
        write_dicom_results(result, source, work / "out")
        times.append((time.process_time() - cpu, time.perf_counter() - wall))
    cpu_s, wall_s = (statistics.median(column) for column in zip(*times, strict=True))
    _row(f"SEG and SR of {len(found.lesions)} lesions, s: CPU, wall", f"{cpu_s:.2f}, {wall_s:.2f}")


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now."""
    import socket

    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _wait_until_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise CmbnetError(f"the node did not start: {log.read_text()[-500:]}")


def _wait_for(pacs: TimedPacs, sent: dict[str, float], most: int) -> None:
    """Until at most so many studies are unanswered."""
    with pacs.came:
        if not pacs.came.wait_for(
            lambda: sum(one not in pacs.reported for one in sent) <= most, LONGEST_S
        ):
            raise CmbnetError(f"no result in {LONGEST_S:g} s")


def _resident_mb(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found.group(1)) / 1024 if found else 0.0


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    others = [
        path.read_text()
        for path in Path(f"/proc/{pid}/task").glob("*/children")
        if path.parent.name != str(pid)
    ]
    return [int(child) for child in " ".join([text, *others]).split()]


def _matrix(images: Sequence[Path]) -> str:
    header = pydicom.dcmread(images[0], stop_before_pixels=True)
    return f"{header.Columns} x {header.Rows}"


def _spread(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    late = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return f"{statistics.median(ordered):.1f} ({late:.1f}, {ordered[-1]:.1f})"


def _row(name: str, value: str) -> None:
    _say(f"| {name} | {value} |")


def _say(line: str) -> None:
    print(line, flush=True)


def main() -> None:
    """Run the parts that are asked for and print the rows of a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", choices=["soak", "full", "reception", "writing", "all"],
                        default="all")  # fmt: skip
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--full-studies", type=int, default=15)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--fast", action="store_true", help="soak without the model")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
    parts: dict[str, Callable[[Path], None]] = {
        "writing": writing,
        "reception": lambda work: reception(work, options.slices),
        "full": lambda work: full(work, options.full_studies),
        "soak": lambda work: soak(work, options.studies, fast=options.fast),
    }
    for name, part in parts.items():
        if options.part in (name, "all"):
            load = os.getloadavg()
            _say(f"{name}, load average {load[0]:.1f} before")
            with tempfile.TemporaryDirectory(prefix="cmbnet-soak-", dir=options.work) as folder:
                part(Path(folder))
            _say(f"{name}, load average {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main()
