"""An enhanced object of more than 1 GB, streamed: memory stays flat, and a refusal has a reason."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from cmbnet.bundle import Bundle
from cmbnet.edge.config import WorkerSettings
from cmbnet.edge.process import StudyProcessor
from cmbnet.edge.records import State
from cmbnet.lesions import spacing_affine
from tests.helpers.dicom_series import tiny_swi, write_tiny
from tests.helpers.edge_peers import forget_sockets, sockets_left_open, wait_for
from tests.helpers.edge_site import Site, Tell, site_in, tell_counts

__all__ = ["forget_sockets"]  # a fixture that every test of this file uses

pytestmark = sockets_left_open

FRAMES, SIDE = 550, 1000
PIXEL_BYTES = 2 * FRAMES * SIDE * SIDE
MOST_GROWTH_MB = 100
SWI_SERIES = "5"


@pytest.fixture
def site(tmp_path: Path, record_property: Tell) -> Iterator[Site]:
    with site_in(tmp_path, record_property) as opened:
        yield opened
    shutil.rmtree(tmp_path / "node")  # pytest keeps the folders of its last runs


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An enhanced SWI whose pixels are a hole in the file: 550 slices of 1,000 x 1,000."""
    folder = tmp_path_factory.mktemp("large")
    volume = tiny_swi(affine=spacing_affine((2.0, 0.8, 0.8)))
    (small,) = (write_tiny(folder / "scan", enhanced=True, volume=volume) / SWI_SERIES).iterdir()
    dataset = pydicom.dcmread(small)
    first = dataset.PerFrameFunctionalGroupsSequence[0]
    x, y, z = map(float, first.PlanePositionSequence[0].ImagePositionPatient)
    groups = []
    for number in range(FRAMES):
        group = copy.deepcopy(first)
        group.PlanePositionSequence[0].ImagePositionPatient = [x, y, round(z + 0.1 * number, 3)]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = FRAMES, SIDE, SIDE
    del dataset.PixelData
    path = folder / "large.dcm"
    dataset.save_as(path)
    with path.open("ab") as file:
        file.write(b"\xe0\x7f\x10\x00OW\x00\x00" + PIXEL_BYTES.to_bytes(4, "little"))
        file.truncate(file.tell() + PIXEL_BYTES)
    return path


def peak_mb() -> int:
    """The most memory that this process, the node and its PACS, had since `forget_peak`."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found.group(1)) >> 10


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


SCANNER_CODE = """
import sys
from pathlib import Path
from pynetdicom import _config
_config.STORE_SEND_CHUNKED_DATASET = True
from cmbnet.edge.simulate import Peer, send_files
peer = Peer("127.0.0.1", int(sys.argv[2]), "CMBNET", "SCANNER")
print(*send_files([Path(sys.argv[1])], peer))
"""


def send_streamed(site: Site, file: Path) -> int:
    """By a process of its own, whose memory is not that of the node; the answer."""
    words = [sys.executable, "-c", SCANNER_CODE, str(file), str(site.node.receiver.port)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=300)
    return int(done.stdout)


def test_an_enhanced_object_of_a_gigabyte(
    site: Site, large: Path, tiny_bundle: Bundle, record_property: Tell
) -> None:
    """Under the limit of the settings it is kept; the reader refuses so many voxels by name."""
    site.open(
        processor=StudyProcessor(WorkerSettings(bundle=str(tiny_bundle.path), threads=1)),
        worker={"memory_mb": 2048, "timeout_s": 200},
        listen={"timeout_s": 300},
    )
    assert large.stat().st_size > 1e9
    forget_peak()
    before = peak_mb()
    assert send_streamed(site, large) == 0x0000
    growth = peak_mb() - before
    study = str(pydicom.dcmread(large, stop_before_pixels=True).StudyInstanceUID)
    ended = wait_for(site.node, study, State.COMMITTED, State.FAILED, seconds=200)
    assert ended.outcome == "refused"
    assert "voxels" in ended.reason
    assert growth < MOST_GROWTH_MB, "it goes to disk in pieces as it comes"
    tell_counts(record_property, {"MB sent": large.stat().st_size // 10**6,
                                  "MB that the node grew by": growth})  # fmt: skip


def test_an_enhanced_object_over_the_limit(site: Site, large: Path) -> None:
    """It is cut off while it comes, not when it is there; the reason is logged."""
    site.open(listen={"max_object_mb": 100})
    assert send_streamed(site, large) == 0xC000
    assert any("larger than 100 MiB" in one["reason"] for one in site.told("object_refused"))
    assert not list(site.node.spool.studies())
    assert not list(site.node.folders.incoming.iterdir())
