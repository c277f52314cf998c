"""The clock is set back while the node works: neither order nor safety rest on it."""

from __future__ import annotations

import time
from pathlib import Path

import yaml

from cmbnet.edge.config import EdgeConfig
from cmbnet.edge.folders import Folders
from cmbnet.edge.journal_reader import JournalReader
from cmbnet.edge.records import State, Study
from cmbnet.edge.simulate import Peer, send_files
from cmbnet.io.atomic import write_text_atomically
from tests.helpers.edge_kill import kill_node, start_node
from tests.helpers.edge_peers import (
    SCANNER,
    FakePacs,
    forget_sockets,
    node_config,
    sockets_left_open,
    study_files,
    wait_for,
)
from tests.helpers.edge_processor import uid_of
from tests.helpers.edge_site import Tell, tell_counts
from tests.helpers.orthanc import free_port

__all__ = ["forget_sockets"]  # a fixture that every test of this file uses

pytestmark = sockets_left_open

DAY_S = 86_400


def set_clock(file: Path, seconds: int) -> None:
    """At once: the node reads it all the time."""
    write_text_atomically(file, f"{seconds}")


def test_a_clock_set_back_by_days(tmp_path: Path, record_property: Tell) -> None:
    """Before, between and after two studies, with a late slice and a kill on the wrong day."""
    port, clock = free_port(), tmp_path / "clock"
    pacs = FakePacs(lambda: port)
    pacs.start()
    config = node_config(tmp_path / "node", port=port, pacs_port=pacs.port)
    settings = tmp_path / "node.yaml"
    settings.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    peer = Peer("127.0.0.1", port, "CMBNET", SCANNER)
    set_clock(clock, 0)
    node = start_node(settings, clock)
    try:
        send_files(study_files(tmp_path, "a", slices=4), peer)
        before = _committed(config, "a", run=1)
        set_clock(clock, -30 * DAY_S)
        send_files(study_files(tmp_path, "b", slices=4), peer)
        back = _committed(config, "b", run=1)
        send_files(study_files(tmp_path, "a", slices=2, first=4), peer)
        _committed(config, "a", run=2)
        kill_node(node)
        set_clock(clock, -60 * DAY_S)
        node = start_node(settings, clock)
        send_files(study_files(tmp_path, "c", slices=4), peer)
        _committed(config, "c", run=1)
    finally:
        kill_node(node)
        pacs.stop()
    reader = JournalReader(Folders(config.root).journal)
    studies = reader.last_studies(10)
    reader.close()
    assert before.changed_at - back.changed_at > 29 * DAY_S, "the clock was seen to go back"
    assert [one.study for one in studies] == [uid_of(name) for name in "cba"]
    assert [one.images for one in studies] == [4, 4, 6]
    images = {one.study: len(list((Folders(config.root).spool / one.study).iterdir()))
              for one in studies}  # fmt: skip
    assert images == {uid_of("a"): 6, uid_of("b"): 4, uid_of("c"): 4}, "nothing was purged"
    assert len(pacs.stored) == 8
    assert set(pacs.stored.values()) == {1}
    counts = {"days back": 60, "images on disk": sum(images.values()), "studies committed": 3}
    tell_counts(record_property, counts | {"result objects at the PACS": len(pacs.stored)})


def _committed(config: EdgeConfig, name: str, *, run: int) -> Study:
    """Wait for the result of a run."""
    reader = JournalReader(Folders(config.root).journal)
    end = time.monotonic() + 120
    while (study := wait_for(reader, uid_of(name), State.COMMITTED, seconds=120)).run < run:
        assert time.monotonic() < end
        time.sleep(0.05)
    reader.close()
    return study
