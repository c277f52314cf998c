"""What must not lose anything: a node, a scanner and a PACS on loopback, and one fault each.

The network is replaced by a stand-in that writes objects at once: what it finds is not the matter.
`benchmarks/edge_faults.py` kills the node fifty times; here it is killed a few times.
"""

from __future__ import annotations

import socket
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pynetdicom import AE
from pynetdicom.sop_class import MRImageStorage, Verification  # type: ignore[attr-defined]

from cmbnet.edge.deliver import NotDelivered, echo
from cmbnet.edge.node import Node
from cmbnet.edge.records import State
from cmbnet.edge.simulate import send_files
from cmbnet.errors import UsageError
from tests.helpers.edge_kill import kill_round
from tests.helpers.edge_peers import (
    SCANNER,
    FakePacs,
    forget_sockets,
    node_config,
    sockets_left_open,
    wait_for,
)
from tests.helpers.edge_processor import FakeProcessor, uid_of
from tests.helpers.edge_site import Site, Tell, results_of, site_in, tell_counts

__all__ = ["forget_sockets"]  # a fixture that every test of this file uses

pytestmark = sockets_left_open

PATIENCE_S = 120.0
"""A machine that does much else may take its time."""


@pytest.fixture
def site(tmp_path: Path, record_property: Tell) -> Iterator[Site]:
    with site_in(tmp_path, record_property) as opened:
        yield opened


def test_a_study_goes_all_the_way_once(site: Site) -> None:
    site.open()
    files = site.study("a")
    assert site.send(files) == {0: 6}
    study = wait_for(site.node, uid_of("a"), State.COMMITTED)
    assert (study.outcome, study.run, study.images) == ("done", 1, 6)
    assert site.pacs.stored == dict.fromkeys(results_of(site, "a"), 1)
    assert len(site.pacs.stored) == 2


def test_the_same_study_twice_is_one_result(site: Site) -> None:
    site.open()
    files = site.study("a")
    site.send(files)
    wait_for(site.node, uid_of("a"), State.COMMITTED)
    assert site.send(files) == {0: 6}
    time.sleep(1.5)
    study = wait_for(site.node, uid_of("a"), State.COMMITTED)
    assert study.run == 1
    assert set(site.pacs.stored.values()) == {1}
    assert len(site.told("object_duplicate")) == 6


def test_late_slices_supersede_and_are_sent_once(site: Site) -> None:
    site.open()
    site.send(site.study("a", slices=4))
    wait_for(site.node, uid_of("a"), State.COMMITTED)
    before = results_of(site, "a")
    site.send(site.study("a", slices=2, first=4))
    wait_for(site.node, uid_of("a"), State.RECEIVED, State.READY, State.RUNNING)
    study = wait_for(site.node, uid_of("a"), State.COMMITTED)
    assert (study.run, study.images) == (2, 6)
    after = results_of(site, "a")
    assert not set(before) & set(after)
    assert site.pacs.stored == dict.fromkeys([*before, *after], 1)


def test_missing_slices_are_waited_for(site: Site) -> None:
    site.open(processor=FakeProcessor(needs=6), settle={"patience_s": 600})
    site.send(site.study("a", slices=3))
    end = time.monotonic() + PATIENCE_S
    while "3 of 6" not in _reason(site, "a"):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert wait_for(site.node, uid_of("a"), State.RECEIVED).run == 0
    assert not site.pacs.stored
    site.send(site.study("a", slices=3, first=3))
    assert wait_for(site.node, uid_of("a"), State.COMMITTED).images == 6


def test_missing_slices_are_reported_when_patience_is_over(site: Site) -> None:
    site.open(processor=FakeProcessor(needs=6), settle={"patience_s": 0.6})
    site.send(site.study("a", slices=3))
    assert wait_for(site.node, uid_of("a"), State.COMMITTED).images == 3


def _reason(site: Site, name: str) -> str:
    study = site.node.journal.study(uid_of(name))
    return "" if study is None else study.reason


def test_two_scanners_interleaved(site: Site) -> None:
    site.open()
    studies = {name: site.study(name, slices=12) for name in ("a", "b")}
    associations = []
    for _ in studies:
        ae = AE(SCANNER)
        ae.add_requested_context(MRImageStorage)
        associations.append(ae.associate("127.0.0.1", site.node.receiver.port, ae_title="CMBNET"))
    for pair in zip(*studies.values(), strict=True):
        for association, file in zip(associations, pair, strict=True):
            assert association.send_c_store(file).Status == 0
    for association in associations:
        association.release()
    for name in studies:
        assert wait_for(site.node, uid_of(name), State.COMMITTED).images == 12
    assert set(site.pacs.stored.values()) == {1}
    assert len(site.pacs.stored) == 4


def test_pacs_down_then_refusing_then_there(site: Site) -> None:
    site.pacs.stop()
    site.open()
    site.send(site.study("a"))
    wait_for(site.node, uid_of("a"), State.RESULT_WRITTEN)
    time.sleep(1)
    (delivery,) = site.node.journal.deliveries(uid_of("a"))
    assert delivery.tries >= 1
    assert "cannot be reached" in delivery.reason
    site.pacs.mode = "refuse"
    site.pacs.start()
    end = time.monotonic() + PATIENCE_S
    while "0xA700" not in site.node.journal.deliveries(uid_of("a"))[0].reason:
        assert time.monotonic() < end
        time.sleep(0.1)
    site.pacs.mode = "good"
    wait_for(site.node, uid_of("a"), State.COMMITTED)
    assert site.pacs.stored == dict.fromkeys(results_of(site, "a"), 1)


def test_pacs_that_never_commits_is_asked_again_and_nothing_is_purged(site: Site) -> None:
    site.pacs.mode = "silent"
    site.open(storage={"keep_days": 0})
    site.send(site.study("a"))
    wait_for(site.node, uid_of("a"), State.SENT)
    end = time.monotonic() + PATIENCE_S
    while site.pacs.asked < 2:
        assert time.monotonic() < end
        time.sleep(0.1)
    site.node.purge.step(everything=True)
    assert len(site.spooled("a")) == 6
    assert wait_for(site.node, uid_of("a"), State.SENT).state is State.SENT
    site.pacs.mode = "good"
    wait_for(site.node, uid_of("a"), State.COMMITTED)
    assert set(site.pacs.stored.values()) == {1}, "asked again, not sent again"
    assert site.node.purge.step(everything=True) == 1
    assert not site.spooled("a")


def test_pacs_that_commits_on_the_association_of_the_request_is_heard(site: Site) -> None:
    site.pacs.mode = "same"
    site.open()
    site.send(site.study("a"))
    wait_for(site.node, uid_of("a"), State.COMMITTED)
    assert site.pacs.asked == 1
    assert set(site.pacs.stored.values()) == {1}


def test_results_for_a_destination_that_was_renamed_go_to_the_new_one(site: Site) -> None:
    site.pacs.stop()
    site.open()
    site.send(site.study("a"))
    wait_for(site.node, uid_of("a"), State.RESULT_WRITTEN)
    site.node.stop()
    site.pacs.start()
    (old,) = site.node.config.model_dump(mode="json")["destinations"]
    site.open(destinations=[{**old, "name": "archive", "port": site.pacs.port}])
    wait_for(site.node, uid_of("a"), State.COMMITTED)
    assert site.told("destination_gone") == [{"results": 1}]
    assert set(site.pacs.stored.values()) == {1}


def test_pacs_that_begins_to_answer_and_goes_silent_is_given_up(site: Site) -> None:
    """It is tried again later, and the other destinations are not kept waiting."""
    site.open()
    (pacs,) = site.node.config.destinations
    with socket.create_server(("127.0.0.1", 0)) as server:
        silent = pacs.model_copy(update={"port": server.getsockname()[1], "timeout_s": 1})

        def answer() -> None:
            connection, _ = server.accept()
            connection.sendall(b"\x02\x00\x00")
            connection.recv(1 << 16)
            held.append(connection)

        held: list[socket.socket] = []
        with ThreadPoolExecutor(1) as pool:
            pool.submit(answer)
            with pytest.raises(NotDelivered, match="cannot be reached"):
                echo("CMBNET", silent)
        held[0].close()


def test_pacs_that_lost_the_objects_gets_them_again(site: Site) -> None:
    site.pacs.mode = "lose"
    site.open()
    site.send(site.study("a"))
    end = time.monotonic() + PATIENCE_S
    while not site.told("commitment"):
        assert time.monotonic() < end
        time.sleep(0.1)
    site.pacs.mode = "good"
    wait_for(site.node, uid_of("a"), State.COMMITTED)
    assert min(site.pacs.stored.values()) >= 2


def test_an_association_that_breaks_in_mid_object_leaves_nothing(site: Site) -> None:
    site.open()
    (file,) = site.study("a", slices=1, size=512)
    ae = AE(SCANNER)
    ae.add_requested_context(MRImageStorage)
    association = ae.associate("127.0.0.1", site.node.receiver.port, ae_title="CMBNET")
    transport: Any = association.dul.socket
    sock = transport.socket
    sent: list[int] = []
    real = sock.send

    class Cut:
        """Lets 100 kB through, then cuts the line."""

        def __getattr__(self, name: str) -> Any:
            return getattr(sock, name)

        def send(self, data: bytes) -> int:
            if sum(sent) > 100_000:
                sock.shutdown(socket.SHUT_RDWR)
                raise OSError("cut")
            sent.append(real(data))
            return sent[-1]

    transport.socket = Cut()
    association.send_c_store(file)
    end = time.monotonic() + PATIENCE_S
    while list(site.node.folders.incoming.iterdir()):
        assert time.monotonic() < end, "the torso was not removed"
        time.sleep(0.05)
    assert sum(sent) > 50_000
    assert not site.spooled("a")
    assert site.send([file]) == {0: 1}
    wait_for(site.node, uid_of("a"), State.COMMITTED)


def test_damaged_objects_are_refused_or_kept_but_stop_nothing(site: Site) -> None:
    """Bytes that no library would send: straight through the association."""
    site.open()
    good = site.study("a")
    raw = good[0].read_bytes()
    dataset_at = raw.index(b"\x08\x00\x16\x00UI", 132)
    body = raw[dataset_at:]
    bodies = {
        "zero bytes": b"",
        "no DICOM": b"GIF89a" * 100,
        "truncated header": body[:40],
        "noise": bytes(range(256)) * 20,
        "huge length": body[:8] + b"\xff\xff\xff\xff" + body[12:],
    }
    statuses = {name: _send_raw(site, body, good[0]) for name, body in bodies.items()}
    assert statuses.pop("zero bytes") is None, "there is nothing to answer"
    assert set(statuses.values()) <= {0xC000, 0xA900}, statuses
    # Pixels that are cut off are for the reader to see, and the study goes on.
    assert _send_raw(site, body[:-50], good[0]) == 0x0000
    assert site.send(good[1:]) == {0: 5}
    assert wait_for(site.node, uid_of("a"), State.COMMITTED, State.FAILED).images == 6
    assert not list(site.node.folders.incoming.iterdir())


def _send_raw(site: Site, body: bytes, like: Path) -> int | None:
    """C-STORE of any bytes under the UIDs of a file."""
    from io import BytesIO

    from pynetdicom.dimse_primitives import C_STORE

    header = pydicom.dcmread(like)
    ae = AE(SCANNER)
    ae.dimse_timeout = 5
    ae.add_requested_context(MRImageStorage, "1.2.840.10008.1.2.1")
    association = ae.associate("127.0.0.1", site.node.receiver.port, ae_title="CMBNET")
    assert association.is_established
    request = C_STORE()
    request.MessageID = 1
    request.AffectedSOPClassUID = header.SOPClassUID
    request.AffectedSOPInstanceUID = header.SOPInstanceUID
    request.Priority = 2
    request.DataSet = BytesIO(body)
    raw: Any = association
    dimse = raw.dimse
    raw._reactor_checkpoint.clear()  # as send_c_store does: else the reactor takes the answer
    while not raw._is_paused:
        time.sleep(0.01)
    dimse.send_msg(request, association.accepted_contexts[0].context_id)
    _, answer = dimse.get_msg(block=True)
    raw._reactor_checkpoint.set()
    association.release()
    return None if answer is None else int(answer.Status)


def test_an_object_of_another_name_is_refused(site: Site) -> None:
    site.open()
    first, second = site.study("a", slices=2)
    raw = first.read_bytes()
    assert _send_raw(site, raw[raw.index(b"\x08\x00\x16\x00UI", 132) :], second) == 0xA900
    assert not site.spooled("a")


def test_an_object_over_the_limit_is_cut_off_and_memory_stays_flat(site: Site) -> None:
    site.open(listen={"max_object_mb": 1})
    (large,) = site.study("a", slices=1, size=1200)  # 2.9 MB
    assert site.send([large]) == {0xC000: 1}
    assert site.send(site.study("b", slices=1, size=300)) == {0: 1}
    assert not site.spooled("a")
    assert any("larger than 1 MiB" in str(one["reason"]) for one in site.told("object_refused"))
    wait_for(site.node, uid_of("b"), State.COMMITTED)


def test_a_full_disk_is_answered_a700_and_over_when_there_is_room(site: Site) -> None:
    site.open(storage={"reserve_mb": 1})
    files = site.study("a")
    site.node.spool.reserve_bytes = site.node.folders.free_bytes() * 3 // 2
    assert site.send(files) == {0xA700: 6}
    assert not site.spooled("a")
    site.node.spool.reserve_bytes = 1
    assert site.send(files) == {0: 6}
    wait_for(site.node, uid_of("a"), State.COMMITTED)


def test_two_hundred_associations_at_once(site: Site) -> None:
    site.open(listen={"max_associations": 16})
    files = site.study("a")

    def one(number: int) -> str:
        ae = AE(SCANNER)
        ae.acse_timeout = ae.connection_timeout = 60
        ae.add_requested_context(MRImageStorage)
        association = ae.associate("127.0.0.1", site.node.receiver.port, ae_title="CMBNET")
        if not association.is_established:
            return "rejected"
        status = association.send_c_store(files[number % len(files)])
        association.release()
        return f"{status.get('Status', 0xC000):04X}"

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(one, range(200)))
    assert set(answers) <= {"0000", "rejected"}
    assert answers.count("0000") >= 16
    site.send(files)
    assert wait_for(site.node, uid_of("a"), State.COMMITTED).images == 6
    assert set(site.pacs.stored.values()) == {1}


@pytest.mark.parametrize(("calling", "called"), [("STRANGER", "CMBNET"), (SCANNER, "OTHER")])
def test_a_wrong_name_is_rejected(site: Site, calling: str, called: str) -> None:
    site.open()
    with pytest.raises(UsageError, match="no association"):
        send_files(site.study("a"), site.peer(calling, called))
    assert not site.spooled("a")
    assert site.told("association_refused")


def test_the_pacs_may_report_but_not_store(site: Site) -> None:
    site.open()
    files = site.study("a", slices=1)
    assert dict(send_files(files, site.peer(FakePacs.ae_title))) == {0x0124: 1}


@pytest.mark.parametrize("how", ["die", "hang", "raise", "eat"])
def test_a_poison_study_is_put_aside_with_a_report_and_the_next_goes_on(
    site: Site, how: Any
) -> None:
    site.open(
        processor=FakeProcessor(misbehave=how),
        worker={"timeout_s": 3, "memory_mb": 600, "tries": 2},
    )
    site.send(site.study("poison"))
    site.send(site.study("b"))
    study = wait_for(site.node, uid_of("poison"), State.COMMITTED, seconds=120)
    assert study.outcome == "failed"
    assert "processing failed 2 times" in study.reason
    assert "PHANTOM" not in study.reason
    assert len(results_of(site, "poison")) == 1, "the SR that says so"
    assert (site.node.folders.quarantine / uid_of("poison")).is_dir()
    assert not site.spooled("poison")
    assert wait_for(site.node, uid_of("b"), State.COMMITTED).outcome == "done"


def test_what_is_in_quarantine_comes_back_with_a_late_slice(site: Site) -> None:
    processor = FakeProcessor(misbehave="raise")
    site.open(processor=processor, worker={"tries": 1})
    site.send(site.study("poison", slices=3))
    wait_for(site.node, uid_of("poison"), State.COMMITTED)
    site.send(site.study("poison", slices=1, first=3))
    wait_for(site.node, uid_of("poison"), State.RECEIVED, State.READY, State.RUNNING)
    assert wait_for(site.node, uid_of("poison"), State.COMMITTED).images == 4


def test_a_node_of_the_same_folder_does_not_start_twice(site: Site) -> None:
    site.open()
    with pytest.raises(UsageError, match="another node runs"):
        Node(node_config(site.folder / "node", pacs_port=1))


def test_an_image_that_the_journal_could_not_take_is_not_forgotten(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.open()
    files = site.study("a")

    def broken(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(site.node.journal, "received", broken)
        assert site.send(files) == {0xA700: 6}
    # The scanner sends again: for the spool these are duplicates.
    assert site.send(files) == {0: 6}
    site.node._housekeeping()
    assert wait_for(site.node, uid_of("a"), State.COMMITTED).images == 6


def test_a_damaged_journal_costs_a_second_run_and_nothing_else(site: Site) -> None:
    site.open()
    site.send(site.study("a"))
    wait_for(site.node, uid_of("a"), State.COMMITTED)
    sent = dict(site.pacs.stored)
    site.node.stop()
    for path in site.node.folders.root.glob("journal.sqlite*"):
        path.write_bytes(b"no database" * 1000)
    site.open()
    wait_for(site.node, uid_of("a"), State.COMMITTED)
    assert set(site.pacs.stored) == set(sent), "the same objects under the same names"


@pytest.mark.parametrize("state", [State.RECEIVED, State.RUNNING, State.SENT])
def test_a_kill_at_some_moment_loses_nothing(
    tmp_path: Path, state: State, record_property: Tell
) -> None:
    report = kill_round(tmp_path, "a", state=state, moment_s=0.1)
    tell_counts(record_property, asdict(report))
    assert report.acknowledged == 8
    assert report.good, report


def test_echo(site: Site) -> None:
    site.open()
    ae = AE(SCANNER)
    ae.add_requested_context(Verification)
    association = ae.associate("127.0.0.1", site.node.receiver.port, ae_title="CMBNET")
    assert association.send_c_echo().Status == 0
    association.release()
