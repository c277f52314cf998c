"""Kill the server of `cmbnet review` at random moments, and count the verdicts that are lost.

A client judges, adds, notes and finishes as fast as the server answers. The server is killed
(SIGKILL) after a random time, and started again. Each verdict that was acknowledged before the
kill must be there afterwards, and the files of a finished case must be whole.

    python benchmarks/review_kills.py RESULTS --kills 50
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from cmbnet.io import read_nifti
from cmbnet.review import Review

LONGEST_S = 1.5


class Server:
    """The command in a process of its own."""

    def __init__(self, results: Path, out: Path) -> None:
        command = [sys.executable, "-m", "cmbnet", "review", str(results), "-o", str(out)]
        self.process = subprocess.Popen(
            [*command, "--reader", "Ann"], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        found = re.search(r"http://\S+", self.process.stdout.readline())
        assert found is not None
        self.address = found[0]

    def ask(self, path: str, wish: dict[str, Any] | None = None) -> Any:
        """Ask the server; with a wish, act."""
        body = None if wish is None else json.dumps(wish).encode()
        with urllib.request.urlopen(f"{self.address}{path}", body, timeout=60) as answer:
            return json.load(answer)


class Client:
    """A reader in a hurry. `told` is the last state that the server acknowledged."""

    def __init__(self) -> None:
        self.count = 0
        self.told: dict[str, Any] | None = None

    def work(self, server: Server) -> None:
        """Act until the server is gone."""
        try:
            state = server.ask("cases/0")
            while True:
                state |= server.ask("cases/0", self.wish(state))
                self.told = dict(state)
        except (OSError, urllib.error.URLError, ValueError):
            return

    def wish(self, state: dict[str, Any]) -> dict[str, Any]:
        """Choose what to do next."""
        self.count += 1
        marks = [mark["id"] for mark in state["marks"]]
        wish: dict[str, Any] = {"revision": state["revision"], "seconds": 0.1}
        which = self.count % 6
        if which == 0:
            return wish | {"do": "note", "text": f"note {self.count}"}
        if which == 1 and len(marks) < 12:
            return wish | {"do": "add", "at": [self.count % 20, 40, 40]}
        if which == 2 and all(mark["judgement"] for mark in state["marks"]):
            return wish | {"do": "finish"}
        mark = marks[self.count % len(marks)]
        if which == 3:
            return wish | {"do": "mark_note", "mark": mark, "text": f"note {self.count}"}
        return wish | {"do": "judge", "mark": mark, "judgement": "accept"}


def lost(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Return whether what was acknowledged is missing. One action more may be there."""
    ahead = after["revision"] - before["revision"]
    if ahead not in (0, 1):
        return True
    kept = {mark["id"]: mark for mark in after["marks"]}
    differ = sum(kept.get(mark["id"]) != mark for mark in before["marks"])
    differ += len(kept) - len(before["marks"]) + (before["note"] != after["note"])
    return bool(differ > ahead)


def whole(folder: Path, state: dict[str, Any]) -> bool:
    """Return whether the files of a finished case are there and fit what was said."""
    review = Review.model_validate_json((folder / "verdicts.json").read_bytes())
    finished = {case.case: case for case in review.cases}
    if state["name"] not in finished:
        return not state["finished"]
    read_nifti(folder / state["name"] / "lesions.nii.gz")
    accepted = {str(mark["id"]) for mark in state["marks"] if mark["judgement"] == "accept"}
    return len(finished[state["name"]].verdicts) >= len(accepted)


def main() -> None:
    """Kill, start again, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, required=True, help="new folder of the reviews")
    given = parser.parse_args()
    draw, client, faults, at = random.Random(given.seed), Client(), [], []
    server = Server(given.results, given.out)
    for kill in range(given.kills):
        worker = threading.Thread(target=client.work, args=(server,))
        worker.start()
        worker.join(draw.uniform(0, LONGEST_S))
        server.process.kill()
        server.process.wait()
        worker.join()
        server = Server(given.results, given.out)
        state = server.ask("cases/0")
        if client.told is not None and lost(client.told, state):
            faults.append(f"kill {kill}: lost after {client.told['revision']} actions")
        if not whole(given.out / "Ann", state):
            faults.append(f"kill {kill}: files do not fit")
        client.told = state  # of an action that was killed before its answer, the log now tells
        at.append(state["revision"])
    server.process.terminate()
    print(f"{given.kills} kills, {client.count} actions asked for, {at[-1]} on the disk")
    print("\n".join(faults) or "nothing was lost")


if __name__ == "__main__":
    main()
