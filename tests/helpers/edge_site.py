"""A node, its PACS and its scanner in one process, and what a fault left of their work."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cmbnet.edge.node import Node
from cmbnet.edge.records import State
from cmbnet.edge.simulate import Peer, send_files
from cmbnet.edge.worker import Processor
from tests.helpers.edge_peers import SCANNER, FakePacs, node_config, study_files
from tests.helpers.edge_processor import FakeProcessor, uid_of

Tell = Callable[[str, object], None]
"""pytest's `record_property`."""


class Site:
    """A node, its PACS, and its scanner.

    Args:
        folder: For what is sent.
        root: For the node; by default below the folder.
    """

    def __init__(self, folder: Path, root: Path | None = None) -> None:
        self.folder = folder
        self.root = root or folder / "node"
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.pacs = FakePacs(lambda: self.node.receiver.port)
        self.pacs.start()
        self.node: Node

    def open(self, *, processor: Processor | None = None, **changes: Any) -> Site:
        config = node_config(self.root, pacs_port=self.pacs.port, **changes)
        self.node = Node(
            config,
            hooks=[lambda name, study, details: self.heard.append((name, dict(details)))],
            processor=processor or FakeProcessor(),
        )
        self.node.start()
        return self

    def close(self) -> None:
        if hasattr(self, "node"):
            self.node.stop()
        self.pacs.stop()

    def peer(self, calling: str = SCANNER, called: str = "CMBNET") -> Peer:
        return Peer("127.0.0.1", self.node.receiver.port, called, calling)

    def send(self, files: list[Path]) -> dict[int, int]:
        return dict(send_files(files, self.peer()))

    def study(self, name: str, **how: Any) -> list[Path]:
        return study_files(self.folder / "scans", name, **how)

    def spooled(self, name: str) -> set[str]:
        folder = self.node.folders.spool / uid_of(name)
        return {path.stem.partition("~")[0] for path in folder.glob("*.dcm")}

    def told(self, name: str) -> list[dict[str, Any]]:
        return [details for heard, details in self.heard if heard == name]

    def counts(self) -> dict[str, int]:
        """What a fault left, as the table of `benchmarks.edge_faults` shows it; no zeros."""
        folders, studies = self.node.folders, self.node.journal.counts()
        ended = {State.COMMITTED, State.FAILED}
        happened = Counter(name for name, _ in self.heard)
        found = {text: happened[name] for name, text in _COUNTED.items()} | {
            "images on disk": _images(folders.spool) + _images(folders.quarantine),
            "studies committed": studies[State.COMMITTED],
            "studies without a result": studies[State.FAILED],
            "studies on their way": sum(n for state, n in studies.items() if state not in ended),
            "result objects at the PACS": len(self.pacs.stored),
            "of those sent again": sum(count > 1 for count in self.pacs.stored.values()),
        }
        return {text: count for text, count in found.items() if count}


_COUNTED = {
    "object_received": "images acknowledged",
    "object_duplicate": "duplicates acknowledged",
    "object_corrected": "corrections acknowledged",
    "object_refused": "objects refused",
    "object_conflict": "objects in conflict",
    "connection_refused": "connections refused",
    "association_refused": "associations refused",
    "delivery_failed": "failed deliveries",
    "worker_restarted": "workers killed",
    "purged": "studies purged",
}


def _images(folder: Path) -> int:
    return sum(1 for _ in folder.rglob("*.dcm"))


@contextmanager
def site_in(folder: Path, tell: Tell, root: Path | None = None) -> Iterator[Site]:
    """A site, to be opened; when it is closed, its counts are told."""
    opened = Site(folder, root)
    try:
        yield opened
        if hasattr(opened, "node"):
            tell_counts(tell, opened.counts())
    finally:
        opened.close()


def tell_counts(tell: Tell, counts: Mapping[str, object]) -> None:
    """Print what was counted, and put it into the record of the test."""
    line = ", ".join(f"{count} {text}" for text, count in counts.items()).replace("_", " ")
    sys.stdout.write(f"{line}\n")
    tell("counts", line)


def results_of(site: Site, name: str) -> list[str]:
    study = site.node.journal.study(uid_of(name))
    assert study is not None
    return [one.sop_instance_uid for one in site.node.journal.results(study.study, study.run)]
