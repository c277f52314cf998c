"""A disk that is full, or that fails in mid-object: nothing that was acknowledged is lost."""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
import yaml

from cmbnet.edge.folders import Folders
from cmbnet.edge.records import State
from cmbnet.edge.simulate import Peer, send_files
from tests.helpers.edge_kill import kill_node, start_node
from tests.helpers.edge_peers import (
    SCANNER,
    forget_sockets,
    node_config,
    sockets_left_open,
    study_files,
    wait_for,
)
from tests.helpers.edge_processor import uid_of
from tests.helpers.edge_site import Site, Tell, site_in, tell_counts
from tests.helpers.orthanc import free_port
from tests.helpers.small_disk import resize, small_disk_in

__all__ = ["forget_sockets"]  # a fixture that every test of this file uses

pytestmark = sockets_left_open

SLICES = 40
SLICE_BYTES = 2 * 512 * 512
SMALL_MB, LARGE_MB = 16, 96
"""A file system that holds three quarters of the study, and one that holds it and its results."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk_in(tmp_path, f"{SMALL_MB}m") as folder:
        yield folder


@pytest.fixture
def site(tmp_path: Path, small_disk: Path, record_property: Tell) -> Iterator[Site]:
    with site_in(tmp_path, record_property, root=small_disk / "node") as opened:
        yield opened


def make_room(site: Site) -> None:
    resize(site.root.parent, f"{LARGE_MB}m")


def send_until_kept(site: Site, files: list[Path], *, seconds: float = 120) -> None:
    """What was not acknowledged is sent again, as scanners do."""
    end = time.monotonic() + seconds
    while site.send(files) != {0: len(files)}:
        assert time.monotonic() < end
        time.sleep(0.2)


def wait_for_all(site: Site) -> None:
    """Until the result of the whole study is committed to."""
    end = time.monotonic() + 120
    while wait_for(site.node, uid_of("a"), State.COMMITTED, seconds=120).images < SLICES:
        assert time.monotonic() < end
        time.sleep(0.1)


def whole(site: Site, files: list[Path]) -> set[str]:
    """UIDs of the images in the spool, each of which must be what was sent."""
    sent = {str(pydicom.dcmread(path).SOPInstanceUID): path for path in files}
    folder = site.node.folders.spool / uid_of("a")
    kept = {path.stem.partition("~")[0]: path for path in folder.glob("*.dcm")}
    for uid, path in kept.items():
        assert pydicom.dcmread(path).PixelData == pydicom.dcmread(sent[uid]).PixelData
    return set(kept)


def test_a_disk_full_up_to_the_reserve(site: Site) -> None:
    """The reserve is not touched; results wait; with room again, all goes on."""
    site.open(storage={"reserve_mb": 6})
    files = site.study("a", slices=SLICES, size=512)
    answers = site.send(files)
    assert set(answers) == {0, 0xA700}
    assert answers[0] + answers[0xA700] == SLICES
    assert len(whole(site, files)) == answers[0] >= 10
    assert site.node.folders.free_bytes() > 3 << 20
    assert any("full up to its reserve" in one["reason"] for one in site.told("object_refused"))
    make_room(site)
    send_until_kept(site, files)
    wait_for_all(site)
    assert len(whole(site, files)) == SLICES


def test_a_disk_full_to_the_last_byte(site: Site) -> None:
    """No reserve: the file system itself refuses, in mid-object or in the journal."""
    site.open(storage={"reserve_mb": 0}, listen={"timeout_s": 10})
    files = site.study("a", slices=SLICES, size=512)
    answers = Counter(site.send(files))
    assert answers[0] < SLICES
    assert len(whole(site, files)) >= answers[0] >= 10
    make_room(site)
    send_until_kept(site, files)
    wait_for_all(site)
    assert len(whole(site, files)) == SLICES
    assert not list(site.node.folders.incoming.iterdir())


def test_more_studies_than_the_disk_holds_go_through_it(site: Site) -> None:
    """What is committed makes room for what comes, without a restart."""
    site.open(storage={"reserve_mb": 4})
    for name in "abcde":
        files = site.study(name, slices=10, size=512)
        end = time.monotonic() + 120
        while site.send(files) != {0: 10}:
            assert time.monotonic() < end
            site.node._housekeeping()
            time.sleep(0.2)
        wait_for(site.node, uid_of(name), State.COMMITTED)
    assert sum(len(files) for files in site.told("purged")) >= 2


def test_what_is_here_runs_where_nothing_more_is_taken(site: Site) -> None:
    """Below the reserve a result is what lets a study be purged."""
    site.open(storage={"reserve_mb": 1}, settle={"settle_s": 2})
    site.send(site.study("a"))
    site.node.spool.reserve_bytes = site.node.folders.free_bytes() * 3 // 2
    assert site.send(site.study("b")) == {0xA700: 6}
    wait_for(site.node, uid_of("a"), State.COMMITTED)


def test_a_run_leaves_no_links_that_keep_purged_pixels(site: Site) -> None:
    site.open()
    site.send(site.study("a"))
    wait_for(site.node, uid_of("a"), State.COMMITTED)
    assert not list(site.node.folders.work.iterdir())


def test_a_file_that_cannot_grow(tmp_path: Path, record_property: Tell) -> None:
    """A quota on file size, set on the running node: refused in mid-object, the next is kept."""
    port = free_port()
    config = node_config(tmp_path / "node", port=port, pacs_port=1)
    settings = tmp_path / "node.yaml"
    settings.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    (large,) = study_files(tmp_path, "large", slices=1, size=1100)  # 2.4 MB
    small = study_files(tmp_path, "small", slices=3)
    peer = Peer("127.0.0.1", port, "CMBNET", SCANNER)
    node = start_node(settings)
    try:
        resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        answers = send_files([large], peer) + send_files(small, peer)
        spool = Folders(config.root).spool
        kept = {path.stem.partition("~")[0] for path in spool.rglob("*.dcm")}
    finally:
        kill_node(node)
    tell_counts(record_property, {f"answers 0x{answer:04X}": n for answer, n in answers.items()})
    assert answers[0] == 3
    assert kept == {str(pydicom.dcmread(path).SOPInstanceUID) for path in small}
