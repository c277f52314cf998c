"""The journal: legal changes only, late ones change nothing, a kill loses nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from cmbnet.edge.events import Events
from cmbnet.edge.journal import Journal
from cmbnet.edge.journal_reader import JournalReader
from cmbnet.edge.records import DeliveryState, Finished, ResultFile, State

A, B = "1.2.3", "1.2.4"
SR = ResultFile("1.2.840.10008.5.1.4.1.1.88.34", "2.25.1", "1.2.3/1/sr.dcm")


def done(digest: str = "d1", sop: str = "2.25.1") -> Finished:
    file = ResultFile(SR.sop_class_uid, sop, f"1.2.3/{digest}/sr.dcm")
    return Finished("done", digest, 24, (file,), details={"lesions": 3})


class Wall:
    """A clock that can be set back."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def journal(tmp_path: Path, wall: Wall) -> Iterator[Journal]:
    opened = Journal(tmp_path / "journal.sqlite", wall=wall)
    yield opened
    opened.close()


def state(journal: Journal, study: str = A) -> State:
    found = journal.study(study)
    assert found is not None
    return found.state


def run_to_result(journal: Journal, study: str = A, finished: Finished | None = None) -> None:
    journal.received(study, "SCANNER")
    assert journal.mark_ready(study)
    taken = journal.take()
    assert taken is not None
    assert taken.study == study
    assert journal.finish(study, finished or done(), ["pacs", "archive"])


def test_the_way_of_a_study(journal: Journal) -> None:
    run_to_result(journal)
    assert state(journal) is State.RESULT_WRITTEN
    (to_pacs,) = journal.pending("pacs")
    journal.sent(to_pacs)
    assert state(journal) is State.RESULT_WRITTEN, "the archive has not got it"
    (to_archive,) = journal.pending("archive")
    journal.sent(to_archive)
    assert state(journal) is State.SENT
    journal.committed(to_pacs)
    journal.committed(to_archive)
    assert [one.state for one in journal.transitions(A)] == [
        State.RECEIVED,
        State.READY,
        State.RUNNING,
        State.RESULT_WRITTEN,
        State.SENT,
        State.COMMITTED,
    ]
    study = journal.study(A)
    assert study is not None
    assert (study.outcome, study.run, study.images, study.details) == (
        "done",
        1,
        24,
        {"lesions": 3},
    )


def test_sqlite_syncs_every_commit(journal: Journal) -> None:
    pragma = journal._connection.execute
    assert pragma("PRAGMA journal_mode").fetchone() == ("wal",)
    assert pragma("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_a_result_is_dropped_when_images_came_meanwhile(journal: Journal) -> None:
    journal.received(A, "SCANNER")
    journal.mark_ready(A)
    journal.take()
    journal.received(A, "SCANNER")
    assert not journal.finish(A, done(), ["pacs"])
    assert state(journal) is State.RECEIVED
    assert journal.pending("pacs") == []
    assert journal.results(A, 1) == ()


def test_late_images_stop_and_replace_what_was_not_sent(journal: Journal) -> None:
    run_to_result(journal)
    journal.received(A, "SCANNER")
    assert journal.pending("pacs") == [], "a newer result will come"
    journal.mark_ready(A)
    journal.take()
    journal.finish(A, done("d2", "2.25.2"), ["pacs"])
    (delivery,) = journal.pending("pacs")
    assert delivery.run == 2
    assert [one.sop_instance_uid for one in journal.results(A, 2)] == ["2.25.2"]
    assert journal.deliveries(A) == [delivery]


def test_the_same_images_again_lead_back_to_where_the_result_is(journal: Journal) -> None:
    run_to_result(journal)
    for destination in ("pacs", "archive"):
        (delivery,) = journal.pending(destination)
        journal.sent(delivery)
        journal.committed(delivery)
    journal.received(A, "SCANNER")
    journal.mark_ready(A)
    journal.take()
    journal.unchanged(A)
    assert state(journal) is State.COMMITTED
    assert journal.pending("pacs") == []


def test_an_answer_that_comes_too_late_changes_nothing(journal: Journal) -> None:
    run_to_result(journal)
    (old,) = journal.pending("pacs")
    journal.sent(old)
    journal.received(A, "SCANNER")
    journal.committed(old)
    assert state(journal) is State.RECEIVED
    assert not journal.postpone(A, "x"), "only what runs can be postponed"
    assert journal.take() is None


def test_not_committed_is_sent_again(journal: Journal) -> None:
    run_to_result(journal)
    for destination in ("pacs", "archive"):
        (delivery,) = journal.pending(destination)
        journal.sent(delivery)
        journal.asked(delivery, f"2.25.{len(destination)}")
    found = journal.by_transaction("2.25.4")
    assert found is not None
    assert found.destination == "pacs"
    assert journal.by_transaction("") is None
    journal.not_committed(found, "the destination lost an object")
    assert state(journal) is State.RESULT_WRITTEN
    (again,) = journal.pending("pacs")
    assert (again.tries, again.state) == (1, DeliveryState.PENDING)


def test_tries_are_counted_until_a_new_image_comes(journal: Journal) -> None:
    journal.received(A, "SCANNER")
    for expected in (1, 2):
        journal.mark_ready(A)
        journal.take()
        assert journal.try_again(A, "time-out") == expected
    study = journal.study(A)
    assert study is not None
    assert study.reason == "time-out"
    journal.received(A, "SCANNER")
    study = journal.study(A)
    assert study is not None
    assert study.failures == 0


def test_order_is_that_of_arrival_though_the_clock_is_set_back(
    journal: Journal, wall: Wall
) -> None:
    journal.received(A, "SCANNER")
    wall.now -= 86_400
    journal.received(B, "SCANNER")
    journal.mark_ready(A)
    journal.mark_ready(B)
    first, second = journal.take(), journal.take()
    assert first is not None
    assert second is not None
    assert (first.study, second.study) == (A, B)
    assert [one.study for one in journal.last_studies(5)] == [B, A]
    assert journal.queue_age_s() == 0.0, "never negative, and a day back is no age"


def test_counts_name_every_state(journal: Journal, wall: Wall) -> None:
    run_to_result(journal)
    journal.received(B, "SCANNER")
    wall.now += 60
    counts = journal.counts()
    assert counts[State.RESULT_WRITTEN] == counts[State.RECEIVED] == 1
    assert sum(counts.values()) == 2
    assert set(counts) == set(State)
    assert journal.outcomes() == {"done": 1, "refused": 0, "failed": 0}
    assert journal.queue_age_s() == pytest.approx(60)


def test_only_what_ended_is_purged_and_not_what_got_images_since(journal: Journal) -> None:
    journal.received(A, "SCANNER")
    journal.mark_ready(A)
    journal.take()
    assert journal.purgeable() == []
    journal.finish(A, Finished("refused", "d", 5, reason="no SWI"), ["pacs"])
    (study,) = journal.purgeable()
    assert study.state is State.FAILED
    journal.received(A, "SCANNER")
    assert not journal.purged(study)
    assert journal.purgeable() == []


@pytest.mark.parametrize("finished", [done(), Finished("failed", "d", 5, (SR,), reason="time-out")])
def test_retry_runs_what_ended(journal: Journal, finished: Finished) -> None:
    assert not journal.retry("9.9"), "it is unknown"
    journal.received(A, "SCANNER")
    assert not journal.retry(A), "it has not ended"
    run_to_result(journal, A, finished)
    assert journal.retry(A)
    study = journal.study(A)
    assert study is not None
    assert (study.state, study.digest) == (State.READY, "")


def test_what_left_the_disk_is_not_run_again(journal: Journal) -> None:
    run_to_result(journal)
    study = journal.study(A)
    assert study is not None
    assert journal.purged(study)
    assert not journal.retry(A)


def test_the_journal_of_an_older_node_is_taken_over(tmp_path: Path) -> None:
    """Its results do not say of which series they are."""
    path = tmp_path / "journal.sqlite"
    journal = Journal(path)
    run_to_result(journal)
    journal.close()
    with contextlib.closing(sqlite3.connect(path)) as older:
        older.execute("ALTER TABLE results DROP COLUMN series_instance_uid")
    journal = Journal(path)
    (before,) = journal.results(A, 1)
    assert (before.sop_instance_uid, before.series_instance_uid) == (SR.sop_instance_uid, "")
    run_to_result(journal, B)
    assert len(journal.results(B, 1)) == 1
    journal.close()


def test_the_file_is_for_the_nodes_user_alone(tmp_path: Path) -> None:
    """Whatever the umask is, and also if it was readable before."""
    path = tmp_path / "root" / "journal.sqlite"
    before = os.umask(0o022)
    try:
        Journal(path).close()
        path.chmod(0o644)
        journal = Journal(path)
        journal.received(A, "SCANNER")
        modes = {one.name: one.stat().st_mode & 0o777 for one in path.parent.iterdir()}
        journal.close()
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_hooks_hear_of_states_and_their_faults_stop_nothing(tmp_path: Path) -> None:
    heard: list[tuple[str, object]] = []

    def broken(*_: object) -> None:
        raise RuntimeError("watcher")

    events = Events(broken, lambda name, study, details: heard.append((study, details["state"])))
    journal = Journal(tmp_path / "journal.sqlite", events)
    journal.received(A, "SCANNER")
    journal.mark_ready(A)
    journal.close()
    assert heard == [(A, "RECEIVED"), (A, "READY")]


def test_a_reader_beside_the_writer_changes_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    journal.received(A, "SCANNER")
    reader = JournalReader(tmp_path / "journal.sqlite")
    assert [one.study for one in reader.last_studies(1)] == [A]
    with pytest.raises(Exception, match="readonly"):
        reader._connection.execute("DELETE FROM studies")
    reader.close()
    journal.close()


WRITER = """
    import sys
    from pathlib import Path
    from cmbnet.edge.journal import Journal
    journal = Journal(Path(sys.argv[1]))
    for number in range(100_000):
        study = f"1.2.{number}"
        journal.received(study, "SCANNER")
        journal.mark_ready(study)
        journal.take()
        print(study, flush=True)
"""


def test_what_was_said_to_be_written_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(path)], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline() for _ in range(20)]
        os.kill(writer.pid, signal.SIGKILL)
        said += writer.stdout.readlines()
    studies = {line.decode().strip() for line in said if line.endswith(b"\n")}
    assert len(studies) >= 20
    journal = Journal(path)
    running = {one.study for one in journal.studies(State.RUNNING)}
    assert studies <= running
    assert set(journal.recover()) == running
    assert journal.counts()[State.READY] == len(running)
    journal.close()
