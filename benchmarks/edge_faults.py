"""The edge node's fault table: every fault test with its counts, then fifty kills.

    python -m benchmarks.edge_faults                # all of it, some ten minutes
    python -m benchmarks.edge_faults --rounds 0     # the faults only
    python -m benchmarks.edge_faults --no-faults    # the kills only

The faults are tests: pytest runs them, and this prints the counts that each put into its record. A
round of kills starts a node in a process of its own, sends it a study as a scanner does, kills it
by SIGKILL at a moment drawn at random - up to half a second after it was first in a state that is
drawn, too, so that reception, processing and delivery are all hit - and starts it again.

Exit code 1 if a test failed, or if anything was lost, torn, or left half-way by a kill.
"""

from __future__ import annotations

import argparse
import datetime
import logging
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.edge.records import State
from tests.helpers.edge_kill import KillReport, kill_round

FAULT_TESTS = tuple(
    f"tests/integration/test_edge_{name}.py"
    for name in ("faults", "corrections", "intruders", "disk", "large", "clock", "tls")
)
_ROOT = Path(__file__).parents[1]
_KILLED_IN = (State.RECEIVED, State.READY, State.RUNNING, State.RESULT_WRITTEN, State.SENT)
_LONGEST_DELAY_S = 0.5


def run_faults(only: str = "") -> bool:
    """Run the fault tests and print a row for each; whether all passed.

    Args:
        only: Names of tests to run, as pytest's ``-k`` takes them.
    """
    with tempfile.TemporaryDirectory(prefix="cmbnet-edge-") as folder:
        record = Path(folder) / "record.xml"
        words = ["-q", f"--junitxml={record}", "-o", "junit_family=xunit1", "-k", only]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *words, *FAULT_TESTS],
            cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        rows = fault_rows(record)
    _say("\n| fault | | counts |\n|---|---|---|")
    for row in rows:
        _say(f"| {' | '.join(row)} |")
    if done.returncode:
        _say(done.stdout[-4000:])
    return done.returncode == 0


def fault_rows(record: Path) -> list[tuple[str, str, str]]:
    """Fault, verdict and counts of every test in a JUnit record."""
    rows = []
    for case in ElementTree.parse(record).iter("testcase"):
        counts = [
            one.get("value", "") for one in case.iter("property") if one.get("name") == "counts"
        ]
        fault = re.sub(r"^test_", "", case.get("name", "")).replace("_", " ")
        rows.append((fault, _verdict(case), "; ".join(filter(None, counts))))
    return rows


def _verdict(case: ElementTree.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return "**FAILED**"
    skipped = case.find("skipped")
    return "survived" if skipped is None else f"not run: {skipped.get('message', '')}"


def run_kills(rounds: int, seed: int) -> bool:
    """Kill the node so many times and print the table; whether every round was good."""
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    draw = random.Random(seed)
    start = time.monotonic()
    reports = []
    for number in range(rounds):
        state, moment_s = draw.choice(_KILLED_IN), draw.uniform(0.0, _LONGEST_DELAY_S)
        with tempfile.TemporaryDirectory(prefix="cmbnet-edge-") as folder:
            report = kill_round(Path(folder), f"round-{number}", state=state, moment_s=moment_s)
        reports.append(report)
        said = "ok" if report.good else f"LOST {report}"
        _say(f"{number + 1:3} killed in {report.state_at_kill:15} {said}", error=True)
    if reports:
        _print_table(reports, time.monotonic() - start)
    return all(report.good for report in reports)


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
    _say(f"\n| kill -9, {seconds:.0f} s | |\n|---|---|")
    for name, count in rows.items():
        _say(f"| {name} | {count} |")
    for state, count in sorted(Counter(one.state_at_kill for one in reports).items()):
        _say(f"| killed in state {state or 'before the first image'} | {count} |")


def _say(line: str, *, error: bool = False) -> None:
    print(line, file=sys.stderr if error else sys.stdout, flush=True)


def main() -> None:
    """Run what is asked for and print its tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=50, help="kills")
    parser.add_argument("--seed", type=int, default=1, help="of the moments of the kills")
    parser.add_argument("--no-faults", action="store_true", help="kills only")
    parser.add_argument("-k", dest="only", default="", help="faults to try, as pytest takes them")
    options = parser.parse_args()
    day = datetime.datetime.now(datetime.UTC).date()
    _say(f"{RESEARCH_USE_ONLY}\n{day}, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} "
         "cores; a stand-in for the network")  # fmt: skip
    good = options.no_faults or run_faults(options.only)
    good = run_kills(options.rounds, options.seed) and good
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
