"""Kill the node fifty times, and send it what is too large: counts of what was lost.

    python -m benchmarks.edge_faults --rounds 50
    python -m benchmarks.edge_faults --rounds 0 --large-mb 1024

A round starts a node in a process of its own, sends it a study as a scanner does, kills it by
SIGKILL at a moment drawn at random - up to half a second after it was first in a state that is
drawn, too, so that reception, processing and delivery are all hit - and starts it again.
Exit code 1 if anything was lost, torn, or left half-way. --large-mb sends one
object of that size and prints how the memory of the node grew.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pydicom
import yaml
from pydicom.uid import EnhancedMRImageStorage

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.edge.records import State
from cmbnet.edge.simulate import Peer, send_files
from tests.edge_kill import KillReport, kill_node, kill_round, start_node
from tests.edge_peers import SCANNER, node_config, study_files
from tests.orthanc import free_port

_KILLED_IN = (State.RECEIVED, State.READY, State.RUNNING, State.RESULT_WRITTEN, State.SENT)
_LONGEST_DELAY_S = 0.5


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--large-mb", type=int, default=0, help="size of an enhanced object")
    arguments = parser.parse_args()
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    draw = random.Random(arguments.seed)
    start = time.monotonic()
    reports = []
    for number in range(arguments.rounds):
        state, moment_s = draw.choice(_KILLED_IN), draw.uniform(0.0, _LONGEST_DELAY_S)
        with tempfile.TemporaryDirectory(prefix="cmbnet-edge-") as folder:
            report = kill_round(Path(folder), f"round-{number}", state=state, moment_s=moment_s)
        reports.append(report)
        said = "ok" if report.good else f"LOST {report}"
        print(f"{number + 1:3} killed in {report.state_at_kill:15} {said}", flush=True)
    if reports:
        _print_table(reports, time.monotonic() - start)
    if arguments.large_mb:
        _send_large(arguments.large_mb)
    sys.exit(0 if all(report.good for report in reports) else 1)


def _send_large(megabytes: int) -> None:
    """Send one enhanced object to a node in a process of its own."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="cmbnet-edge-") as folder:
        config = node_config(Path(folder) / "node", port=port, pacs_port=1)
        settings = Path(folder) / "node.yaml"
        settings.write_text(yaml.safe_dump(config.model_dump(mode="json")))
        node = start_node(settings)
        try:
            file = _large_file(Path(folder) / "large.dcm", megabytes)
            before_mb = _peak_mb(node.pid)
            start = time.monotonic()
            answers = send_files([file], Peer("127.0.0.1", port, "CMBNET", SCANNER))
            seconds = time.monotonic() - start
            after_mb = _peak_mb(node.pid)
        finally:
            kill_node(node)
    said = ", ".join(f"0x{status:04X}" for status in answers)
    print(f"{RESEARCH_USE_ONLY}\n| object of {megabytes} MiB: answer | {said} in {seconds:.1f} s |")
    print(f"| peak memory of the node before and after | {before_mb} and {after_mb} MB |")


def _large_file(path: Path, megabytes: int) -> Path:
    (small,) = study_files(path.parent, "large", slices=1)
    dataset = pydicom.dcmread(small)
    dataset.SOPClassUID = EnhancedMRImageStorage
    dataset.PixelData = bytes(megabytes << 20)
    dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    dataset.save_as(path)
    return path


def _peak_mb(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def _print_table(reports: list[KillReport], seconds: float) -> None:
    rows = {
        "rounds": len(reports),
        "images acknowledged": sum(one.acknowledged for one in reports),
        "of those not on disk": sum(one.acknowledged - one.on_disk for one in reports),
        "of those torn": sum(one.torn for one in reports),
        "studies that ended in one committed set of results": sum(one.good for one in reports),
        "studies committed more than once": sum(one.ends > 1 for one in reports),
        "result objects committed": sum(one.committed for one in reports),
        "result objects of other runs at the PACS": sum(one.others for one in reports),
        "result objects transferred again, same UID": sum(one.again for one in reports),
    }
    print(f"\n{RESEARCH_USE_ONLY}\n{seconds:.0f} s")
    for name, count in rows.items():
        print(f"| {name} | {count} |")
    for state, count in sorted(Counter(one.state_at_kill for one in reports).items()):
        print(f"| killed in state {state} | {count} |")


if __name__ == "__main__":
    main()
