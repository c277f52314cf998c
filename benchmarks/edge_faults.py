"""Kill the node fifty times, and send it what is too large: counts of what was lost.

    python -m benchmarks.edge_faults --rounds 50

A round starts a node in a process of its own, sends it a study as a scanner does, kills it by
SIGKILL at a moment drawn at random between the first image and the results' way to the PACS, and
starts it again. Exit code 1 if anything was lost, torn, or left half-way.
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

from cmbnet import RESEARCH_USE_ONLY
from tests.edge_kill import KillReport, kill_round


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--last-moment", type=float, default=4.0, help="seconds; more under load")
    arguments = parser.parse_args()
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    draw = random.Random(arguments.seed)
    start = time.monotonic()
    reports = []
    for number in range(arguments.rounds):
        moment_s = draw.uniform(0.0, arguments.last_moment)
        with tempfile.TemporaryDirectory(prefix="cmbnet-edge-") as folder:
            report = kill_round(Path(folder), f"round-{number}", moment_s=moment_s)
        reports.append(report)
        said = "ok" if report.good else f"LOST {report}"
        print(
            f"{number + 1:3} killed at {moment_s:4.2f} s in {report.state_at_kill or '-':15} {said}"
        )
    _print_table(reports, time.monotonic() - start)
    sys.exit(0 if all(report.good for report in reports) else 1)


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
    for state, count in sorted(Counter(one.state_at_kill or "-" for one in reports).items()):
        print(f"| killed in state {state} | {count} |")


if __name__ == "__main__":
    main()
