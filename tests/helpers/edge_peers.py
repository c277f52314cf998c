"""A PACS that can misbehave, a hurried node, and studies for both."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, Literal

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    Comprehensive3DSRStorage,
    SegmentationStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

from cmbnet.edge.config import EdgeConfig, parse_config
from cmbnet.edge.node import Node
from cmbnet.edge.records import State, Study
from tests.helpers.edge_processor import FakeProcessor, save, uid_of

SCANNER = "SCANNER"

sockets_left_open = pytest.mark.filterwarnings(
    # pynetdicom 3.0.4 drops the socket of a refused connection without closing it.
    r"ignore:Exception ignored in. <s.*ocket:pytest.PytestUnraisableExceptionWarning",
    r"ignore:unclosed <(socket|ssl):ResourceWarning",
)


@pytest.fixture(autouse=True)
def forget_sockets() -> Iterator[None]:
    """Let what is left open be found in the test that may leave it."""
    yield
    gc.collect()


def study_files(
    folder: Path, name: str, *, slices: int = 6, size: int = 16, first: int = 0
) -> list[Path]:
    """A study of slices, one file each; the same name gives the same UIDs and pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(first, first + slices):
        dataset = Dataset()
        dataset.SOPClassUID = MRImageStorage
        dataset.SOPInstanceUID = uid_of(f"{name}/{number}")
        dataset.Modality = "MR"
        dataset.PatientName = "PHANTOM^EDGE"
        dataset.PatientID = name
        dataset.StudyInstanceUID = uid_of(name)
        dataset.SeriesInstanceUID = uid_of(f"{name}/series")
        dataset.InstanceNumber = number + 1
        dataset.Rows = dataset.Columns = size
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 15, 0, 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.PixelData = Random(f"{name}/{number}").randbytes(2 * size * size)
        dataset["PixelData"].VR = "OW"
        paths.append(folder / f"{name}-{number:04d}.dcm")
        save(dataset, paths[-1])
    return paths


class FakePacs:
    """Takes results and commits to them, unless told otherwise. It forgets nothing.

    Args:
        node_port: Where to report commitment to.
    """

    ae_title = "PACS"

    def __init__(self, node_port: Callable[[], int], port: int = 0) -> None:
        self.mode: Literal["good", "refuse", "silent", "lose", "same"] = "good"
        self.stored: Counter[str] = Counter()
        self.studies: dict[str, str] = {}
        self.committed: Counter[str] = Counter()
        self.asked = 0
        self._node_port = node_port
        self._port = port
        self._server: Any = None

    @property
    def port(self) -> int:
        return self._port

    def start(self) -> None:
        ae = AE(self.ae_title)
        ae.maximum_associations = 50
        for uid in (SegmentationStorage, Comprehensive3DSRStorage, Verification):
            ae.add_supported_context(uid)
        ae.add_supported_context(StorageCommitmentPushModel)
        self._server = ae.start_server(
            ("127.0.0.1", self._port),
            block=False,
            evt_handlers=[(evt.EVT_C_STORE, self._store), (evt.EVT_N_ACTION, self._asked)],
        )
        self._port = int(self._server.server_address[1])

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def _store(self, event: Any) -> int:
        if self.mode == "refuse":
            return 0xA700
        self.stored[str(event.request.AffectedSOPInstanceUID)] += 1
        return 0x0000

    def _asked(self, event: Any) -> tuple[int, None]:
        self.asked += 1
        if self.mode != "silent":
            words = (event.action_information, event.assoc)
            threading.Thread(target=self._report, args=words).start()
        return 0x0000, None

    def _report(self, request: Dataset, asked_on: Any) -> None:
        report = Dataset()
        report.TransactionUID = request.TransactionUID
        kept = [
            item
            for item in request.ReferencedSOPSequence
            if str(item.ReferencedSOPInstanceUID) in self.stored and self.mode != "lose"
        ]
        report.ReferencedSOPSequence = kept
        for item in kept:
            self.committed[str(item.ReferencedSOPInstanceUID)] += 1
        kind = 1 if len(kept) == len(request.ReferencedSOPSequence) else 2
        how = (report, kind, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
        if self.mode == "same":
            time.sleep(0.3)
            asked_on.send_n_event_report(*how)
            return
        ae = AE(self.ae_title)
        ae.add_requested_context(StorageCommitmentPushModel)
        association = ae.associate(
            "127.0.0.1",
            self._node_port(),
            ae_title="CMBNET",
            ext_neg=[build_role(StorageCommitmentPushModel, scp_role=True)],
        )
        if association.is_established:
            association.send_n_event_report(*how)
            association.release()


def node_config(root: Path, *, port: int = 0, pacs_port: int, **changes: Any) -> EdgeConfig:
    """Settings of a hurried node."""
    values: dict[str, Any] = {
        "root": str(root),
        "listen": {"port": port, "allowed_callers": [SCANNER]},
        "settle": {"settle_s": 0.5, "patience_s": 3},
        "storage": {"reserve_mb": 1},
        "worker": {"timeout_s": 60, "memory_mb": 1024},
        "watch": {"port": None},
        "destinations": [
            {
                "name": "pacs",
                "ae_title": FakePacs.ae_title,
                "host": "127.0.0.1",
                "port": pacs_port,
                "retry_first_s": 0.2,
                "retry_longest_s": 1,
                "commitment_timeout_s": 5,
                "timeout_s": 20,
            }
        ],
    }
    for name, change in changes.items():
        old = values.get(name)
        values[name] = {**old, **change} if isinstance(old, dict) else change
    return parse_config(values)


def wait_for(node_or_journal: Any, study: str, *states: State, seconds: float = 120) -> Study:
    """Wait until a study is in one of some states.

    Raises:
        TimeoutError: It is not, after so many seconds.
    """
    journal = getattr(node_or_journal, "journal", node_or_journal)
    end = time.monotonic() + seconds
    found: Study | None = None
    while time.monotonic() < end:
        found = journal.study(study)
        if found is not None and found.state in states:
            return found
        time.sleep(0.05)
    raise TimeoutError(f"waited for {states}, got {found}")


def main(settings: Path, seconds: str) -> None:
    """A node in a process of its own, to be killed."""
    from cmbnet.edge.config import load_config

    node = Node(load_config(settings), processor=FakeProcessor(float(seconds)))
    node.start()
    sys.stdout.write(f"{node.receiver.port}\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
