"""One round of: start a node, send it a study, kill it with SIGKILL at some moment, start it again.

The scanner does what scanners do: it keeps an image until it was acknowledged, and sends it again.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import yaml
from pynetdicom import AE
from pynetdicom.sop_class import MRImageStorage  # type: ignore[attr-defined]

from cmbnet.edge.folders import Folders
from cmbnet.edge.journal_reader import JournalReader
from cmbnet.edge.records import State
from tests.helpers.edge_peers import SCANNER, FakePacs, node_config, study_files, wait_for
from tests.helpers.edge_processor import uid_of
from tests.helpers.orthanc import free_port


@dataclass(frozen=True, slots=True)
class KillReport:
    """What a round left.

    Args:
        acknowledged: Images that the scanner was told were kept, before or after the kill.
        on_disk: How many of those are whole in the spool.
        torn: Files in the spool that are not byte for byte what was sent.
        state_at_kill: Of the study, empty if it was unknown then.
        ends: How often the study became COMMITTED.
        committed: Objects of its last run that the PACS committed to keep.
        expected: Objects of its last run.
        others: Objects of other runs that the PACS got.
        again: Objects that were transferred more than once, under the same UID.
    """

    acknowledged: int
    on_disk: int
    torn: int
    state_at_kill: str
    ends: int
    committed: int
    expected: int
    others: int
    again: int

    @property
    def good(self) -> bool:
        """Whether nothing was lost, torn, or left half-way, and there is one set of results."""
        whole = self.acknowledged == self.on_disk > 0 and not self.torn
        return whole and self.ends == 1 and self.committed == self.expected > 0 == self.others


class _Scanner(threading.Thread):
    """Sends every file until it is acknowledged."""

    def __init__(self, files: list[Path], port: int) -> None:
        super().__init__(daemon=True)
        self.left = list(files)
        self.acknowledged: list[Path] = []
        self._port = port

    def run(self) -> None:
        while self.left:
            ae = AE(SCANNER)
            ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
            ae.add_requested_context(MRImageStorage)
            association = ae.associate("127.0.0.1", self._port, ae_title="CMBNET")
            while self.left and association.is_established:
                status = association.send_c_store(self.left[0])
                if status.get("Status") == 0:
                    self.acknowledged.append(self.left.pop(0))
                else:
                    break
                time.sleep(0.05)  # else all images come before any kill
            if association.is_established:
                association.release()
            else:
                time.sleep(0.1)


def kill_round(
    folder: Path, name: str, *, state: State = State.RECEIVED, moment_s: float, slices: int = 8
) -> KillReport:
    """Kill the node `moment_s` after the study was first seen in a state, or beyond it."""
    port = free_port()
    pacs = FakePacs(lambda: port)
    pacs.start()
    config = node_config(
        folder / "node",
        port=port,
        pacs_port=pacs.port,
        settle={"settle_s": 1.5},
    )
    settings = folder / "node.yaml"
    settings.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    files = study_files(folder / "scans", name, slices=slices)
    scanner = _Scanner(files, port)
    node = start_node(settings)
    try:
        scanner.start()
        _await(config.root, name, state)
        time.sleep(moment_s)
        kill_node(node)
        found = _state(config.root, name)
        node = start_node(settings)
        scanner.join(120)
        return _finish(config.root, name, scanner, pacs, found)
    finally:
        kill_node(node)
        pacs.stop()


def start_node(settings: Path, clock: Path | None = None) -> subprocess.Popen[bytes]:
    """A node in a process of its own; it listens when this returns.

    Args:
        settings: Of the node.
        clock: File of seconds by which its wall clock is wrong; see `tests.helpers.edge_clock`.

    Raises:
        RuntimeError: It does not listen.
    """
    program = ["tests.helpers.edge_peers", str(settings), "0.5"]
    if clock is not None:
        program = ["tests.helpers.edge_clock", *program[1:], str(clock)]
    node = subprocess.Popen(
        [sys.executable, "-m", *program],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    if node.stdout is None or not node.stdout.readline():
        raise RuntimeError("the node did not start")
    return node


def kill_node(node: subprocess.Popen[bytes]) -> None:
    """End it by SIGKILL, without a word."""
    node.kill()
    node.wait()
    if node.stdout is not None:
        node.stdout.close()


def _await(root: Path, name: str, state: State) -> None:
    """States follow one another in the order of their definition."""
    order = list(State)
    reader = JournalReader(Folders(root).journal)
    end = time.monotonic() + 120
    while time.monotonic() < end:
        study = reader.study(uid_of(name))
        if study is not None and order.index(study.state) >= order.index(state):
            break
        time.sleep(0.005)
    reader.close()


def _state(root: Path, name: str) -> str:
    reader = JournalReader(Folders(root).journal)
    found = reader.study(uid_of(name))
    reader.close()
    return str(found.state) if found else ""


def _finish(root: Path, name: str, scanner: _Scanner, pacs: FakePacs, state: str) -> KillReport:
    reader = JournalReader(Folders(root).journal)
    study = wait_for(reader, uid_of(name), State.COMMITTED, seconds=120)
    results = [one.sop_instance_uid for one in reader.results(study.study, study.run)]
    ends = [one for one in reader.transitions(study.study) if one.state is State.COMMITTED]
    reader.close()
    sent = {uid_of(f"{name}/{int(path.stem[-4:])}"): path for path in scanner.acknowledged}
    spool = Folders(root).spool / study.study
    kept = {path.stem.partition("~")[0]: path for path in spool.glob("*.dcm")}
    return KillReport(
        acknowledged=len(sent),
        on_disk=len(sent.keys() & kept.keys()),
        torn=sum(_pixels(kept[uid]) != _pixels(sent[uid]) for uid in sent.keys() & kept.keys()),
        state_at_kill=state,
        ends=len(ends),
        committed=sum(uid in pacs.committed for uid in results),
        expected=len(results),
        others=len(pacs.stored.keys() - set(results)),
        again=sum(count > 1 for count in pacs.stored.values()),
    )


def _pixels(path: Path) -> bytes:
    """The last element of a file, after which nothing may come."""
    return path.read_bytes()[-512:]
