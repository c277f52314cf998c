"""The journal: the state of each study in SQLite, so that a restarted node continues its work.

Every method is one transaction, synced before it returns (WAL, synchronous FULL). It changes a
study only from the states that it names, so a late change changes nothing. Row numbers give the
order. The clock may be set back, so times are only for people.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple
from pathlib import Path

from cmbnet.edge.events import Events
from cmbnet.edge.journal_reader import RESULT, JournalReader
from cmbnet.edge.records import Delivery, DeliveryState, Finished, ResultFile, State, Study

_SCHEMA = """
CREATE TABLE IF NOT EXISTS studies (
    number INTEGER PRIMARY KEY,
    study TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    outcome TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    caller TEXT NOT NULL DEFAULT '',
    run INTEGER NOT NULL DEFAULT 0,
    digest TEXT NOT NULL DEFAULT '',
    failures INTEGER NOT NULL DEFAULT 0,
    images INTEGER NOT NULL DEFAULT 0,
    first_received_at REAL NOT NULL,
    received_at REAL NOT NULL,
    changed_at REAL NOT NULL,
    details TEXT NOT NULL DEFAULT '{}',
    purged INTEGER NOT NULL DEFAULT 0,
    patient TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS results (
    study TEXT NOT NULL,
    run INTEGER NOT NULL,
    sop_class_uid TEXT NOT NULL,
    sop_instance_uid TEXT NOT NULL,
    file TEXT NOT NULL,
    series_instance_uid TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (study, run, sop_instance_uid)
);
CREATE TABLE IF NOT EXISTS deliveries (
    study TEXT NOT NULL,
    run INTEGER NOT NULL,
    destination TEXT NOT NULL,
    state TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    transaction_uid TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    changed_at REAL NOT NULL,
    PRIMARY KEY (study, run, destination)
);
CREATE TABLE IF NOT EXISTS transitions (
    number INTEGER PRIMARY KEY,
    study TEXT NOT NULL,
    state TEXT NOT NULL,
    run INTEGER NOT NULL,
    at REAL NOT NULL,
    reason TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS studies_by_state ON studies (state);
CREATE INDEX IF NOT EXISTS transitions_by_study ON transitions (study);
"""


class Journal(JournalReader):
    """The journal of a node. Threads may share one, and other processes may open their own.

    The file is made if it is missing. Events tell of every change of state. The clock is for
    people.

    Raises:
        sqlite3.DatabaseError: If the file is damaged.
    """

    def __init__(
        self, path: Path, events: Events | None = None, wall: Callable[[], float] = time.time
    ) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives its other files the rights of this one.
        path.touch(mode=0o600)
        path.chmod(0o600)
        super().__init__(path, wall=wall, read_only=False)
        self._events = events or Events()
        self._moved: list[tuple[str, State, str]] = []
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.executescript(_SCHEMA)
        for table, new in (("results", "series_instance_uid"), ("studies", "patient")):
            columns = {row[1] for row in self._connection.execute(f"PRAGMA table_info({table})")}
            if new not in columns:  # the table is of an older node
                self._connection.execute(
                    f"ALTER TABLE {table} ADD COLUMN {new} TEXT NOT NULL DEFAULT ''"
                )

    # From image to result.

    def received(self, study: str, caller: str) -> None:
        """Note a new image in the spool. The study then becomes RECEIVED from any state."""
        now = self._wall()
        with self._transaction() as run:
            run(
                "INSERT INTO studies (study, state, caller, first_received_at, received_at, "
                "changed_at) VALUES (?, '', ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (study, caller, now, now, now),
            )
            others = [state for state in State if state is not State.RECEIVED]
            if self._move(study, ["", *others], State.RECEIVED):
                run(
                    "UPDATE studies SET caller = ?, received_at = ?, failures = 0, purged = 0 "
                    "WHERE study = ?",
                    (caller, now, study),
                )

    def mark_ready(self, study: str) -> bool:
        """Move a study from RECEIVED to READY, because no image came for long enough."""
        with self._transaction():
            return self._move(study, [State.RECEIVED], State.READY)

    def take(self) -> Study | None:
        """Move the study that waits longest from READY to RUNNING. Return None if none waits."""
        with self._transaction() as run:
            row = run(
                "SELECT study FROM studies WHERE state = ? ORDER BY "
                "(SELECT MAX(number) FROM transitions t WHERE t.study = studies.study) LIMIT 1",
                (State.READY,),
            ).fetchone()
            if row is None:
                return None
            self._move(row[0], [State.READY], State.RUNNING)
            return self.study(row[0])

    def postpone(self, study: str, reason: str) -> bool:
        """Move a study from RUNNING to RECEIVED, because missing images may still come."""
        with self._transaction() as run:
            run("UPDATE studies SET reason = ? WHERE study = ?", (reason, study))
            return self._move(study, [State.RUNNING], State.RECEIVED, reason)

    def try_again(self, study: str, reason: str) -> int:
        """Move a study from RUNNING to READY after a failed try, and return the number of these."""
        with self._transaction() as run:
            if self._move(study, [State.RUNNING], State.READY, reason):
                run(
                    "UPDATE studies SET failures = failures + 1, reason = ? WHERE study = ?",
                    (reason, study),
                )
            row = run("SELECT failures FROM studies WHERE study = ?", (study,)).fetchone()
            return int(row[0])

    def unchanged(self, study: str) -> None:
        """Move a study without new images from RUNNING to the state of its last result."""
        with self._transaction() as run:
            if self._move(study, [State.RUNNING], State.RESULT_WRITTEN, "no new images"):
                files = run(
                    "SELECT COUNT(*) FROM results JOIN studies USING (study, run) WHERE study = ?",
                    (study,),
                ).fetchone()[0]
                if files:
                    self._follow_deliveries(study)
                else:
                    self._move(study, [State.RESULT_WRITTEN], State.FAILED, "no new images")

    def finish(self, study: str, finished: Finished, destinations: Sequence[str]) -> bool:
        """Move a study from RUNNING to RESULT_WRITTEN, or to FAILED if there is nothing to send.

        Older results that are still on their way are dropped, because the new results supersede
        them.

        Returns:
            False, with nothing changed, if new images came meanwhile. The result then belongs to a
            part of the study and must not be sent.
        """
        with self._transaction() as run:
            state = State.RESULT_WRITTEN if finished.files else State.FAILED
            run("UPDATE studies SET run = run + 1 WHERE study = ? AND state = 'RUNNING'", (study,))
            if not self._move(study, [State.RUNNING], state, finished.reason):
                return False
            run(
                "UPDATE studies SET outcome = :outcome, reason = :reason, digest = :digest, "
                "images = :images, details = :details, patient = :patient, failures = 0 "
                "WHERE study = :study",
                asdict(finished) | {"details": json.dumps(finished.details), "study": study},
            )
            number = run("SELECT run FROM studies WHERE study = ?", (study,)).fetchone()[0]
            self._insert_results(study, number, finished.files, destinations)
            return True

    def _insert_results(
        self, study: str, number: int, files: Sequence[ResultFile], destinations: Sequence[str]
    ) -> None:
        run = self._connection.execute
        run("DELETE FROM deliveries WHERE study = ?", (study,))
        for one in files:
            run(
                f"INSERT INTO results (study, run, {RESULT}) VALUES (?, ?, ?, ?, ?, ?)",
                (study, number, *astuple(one)),
            )
        for destination in destinations if files else ():
            self._insert_delivery(study, number, destination)

    def _insert_delivery(self, study: str, number: int, destination: str) -> None:
        self._connection.execute(
            "INSERT OR IGNORE INTO deliveries (study, run, destination, state, changed_at) "
            "VALUES (?, ?, ?, ?, ?)",
            (study, number, destination, DeliveryState.PENDING, self._wall()),
        )

    # From result to destination.

    def pending(self, destination: str) -> list[Delivery]:
        """Return the results to send to a destination now, the oldest first.

        A study with new images has none, because its next result will replace the last one.
        """
        return self._deliveries(
            "destination = ? AND state = 'PENDING' AND study IN (SELECT study FROM studies "
            "WHERE state IN ('RESULT_WRITTEN', 'SENT')) ORDER BY rowid",
            (destination,),
        )

    def uncommitted(self, destination: str) -> list[Delivery]:
        """Return the results that a destination accepted and has not committed to keep."""
        return self._deliveries("destination = ? AND state = 'SENT' ORDER BY rowid", (destination,))

    def sent(self, delivery: Delivery) -> None:
        """Note that the destination accepted every object."""
        self._set_delivery(delivery, "PENDING", DeliveryState.SENT)

    def asked(self, delivery: Delivery, transaction_uid: str, reason: str = "") -> None:
        """Note a request for commitment. The answer will name the transaction.

        An answer to an older request no longer counts. A repeated request has a reason.
        """
        self._set_delivery(delivery, "SENT", DeliveryState.SENT, transaction_uid, reason=reason)

    def committed(self, delivery: Delivery) -> None:
        """Note that the destination keeps every object."""
        self._set_delivery(delivery, "SENT", DeliveryState.COMMITTED)

    def not_committed(self, delivery: Delivery, reason: str) -> None:
        """Note that the destination will not keep the objects, which are sent again."""
        self._set_delivery(delivery, "SENT", DeliveryState.PENDING, reason=reason)

    def not_sent(self, delivery: Delivery, reason: str) -> None:
        """Note a failed sending, which is repeated later."""
        self._set_delivery(delivery, "PENDING", DeliveryState.PENDING, reason=reason)

    def by_transaction(self, transaction_uid: str) -> Delivery | None:
        """Return the delivery of a request for storage commitment."""
        found = self._deliveries("transaction_uid = ? AND state = 'SENT'", (transaction_uid,))
        return found[0] if found and transaction_uid else None

    def _set_delivery(
        self,
        delivery: Delivery,
        before: str,
        after: DeliveryState,
        transaction_uid: str = "",
        *,
        reason: str = "",
    ) -> None:
        with self._transaction() as run:
            run(
                "UPDATE deliveries SET state = :after, transaction_uid = :transaction_uid, "
                "reason = :reason, tries = tries + (:reason != ''), changed_at = :now WHERE "
                "study = :study AND run = :run AND destination = :destination AND state = :before",
                asdict(delivery)
                | {"before": before, "after": after, "reason": reason, "now": self._wall()}
                | {"transaction_uid": transaction_uid},
            )
            self._follow_deliveries(delivery.study)

    def _follow_deliveries(self, study: str) -> None:
        """Set the state of a study to that of its slowest destination."""
        rows = self._connection.execute("SELECT state FROM deliveries WHERE study = ?", (study,))
        states = {DeliveryState(row[0]) for row in rows}
        after = State.COMMITTED
        if DeliveryState.PENDING in states:
            after = State.RESULT_WRITTEN
        elif DeliveryState.SENT in states:
            after = State.SENT
        on_the_way = {State.RESULT_WRITTEN, State.SENT, State.COMMITTED}
        self._move(study, sorted(on_the_way - {after}), after)

    # From restart, retry and purge.

    def recover(self) -> list[str]:
        """Move studies from RUNNING to READY that nobody runs, and return them."""
        running = [one.study for one in self.studies(State.RUNNING)]
        for study in running:
            with self._transaction():
                self._move(study, [State.RUNNING], State.READY, "it was cut off")
        return running

    def readdress(self, destinations: Sequence[str]) -> int:
        """Send results for a removed destination to the remaining ones that lack them.

        `destinations` names the remaining ones. Return the number of results for removed ones.
        """
        under_way = self._deliveries("state != 'COMMITTED'", ())
        gone = [one for one in under_way if one.destination not in destinations]
        for one in gone:
            with self._transaction() as run:
                run(
                    "DELETE FROM deliveries WHERE study = ? AND run = ? AND destination = ?",
                    (one.study, one.run, one.destination),
                )
                for name in destinations:
                    self._insert_delivery(one.study, one.run, name)
                self._follow_deliveries(one.study)
        return len(gone)

    def retry(self, study: str) -> bool:
        """Run a finished study again with the same images, which must be on the disk."""
        with self._transaction() as run:
            ended = [State.FAILED, State.RESULT_WRITTEN, State.SENT, State.COMMITTED]
            row = run("SELECT purged FROM studies WHERE study = ?", (study,)).fetchone()
            if row is None or row[0] or not self._move(study, ended, State.READY, "retry"):
                return False
            run("UPDATE studies SET digest = '', failures = 0 WHERE study = ?", (study,))
            return True

    def purgeable(self) -> list[Study]:
        """Return the studies that may leave the disk, the oldest change first.

        They are COMMITTED, or have nothing to send because they were refused or given up.
        """
        return self._studies(
            "WHERE purged = 0 AND (state = 'COMMITTED' OR (state = 'FAILED' AND "
            "outcome IN ('refused', 'failed'))) ORDER BY changed_at, number",
            (),
        )

    def purged(self, study: Study) -> bool:
        """Note that a study leaves the disk. Return False if images came since `study` was read."""
        with self._transaction() as run:
            changed = run(
                "UPDATE studies SET purged = 1 WHERE study = ? AND state = ?",
                (study.study, study.state),
            ).rowcount
            return changed == 1

    # How.

    def _move(self, study: str, before: Sequence[str], after: State, reason: str = "") -> bool:
        """Change the state of a study if it is one of `before`, inside a transaction."""
        now, marks = self._wall(), ", ".join("?" * len(before))
        run = self._connection.execute
        changed = run(
            f"UPDATE studies SET state = ?, changed_at = ? WHERE study = ? AND state IN ({marks})",
            (after, now, study, *before),
        ).rowcount
        if changed:
            run(
                "INSERT INTO transitions (study, state, run, at, reason) "
                "SELECT study, state, run, ?, ? FROM studies WHERE study = ?",
                (now, reason, study),
            )
            self._moved.append((study, after, reason))
        return bool(changed)

    @contextmanager
    def _transaction(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        """Make one write, committed and synced or undone. Listeners hear of it afterwards."""
        with self._lock:
            self._moved = []
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection.execute
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
            moved = self._moved
        for study, state, reason in moved:
            self._events("state_changed", study, state=str(state), reason=reason)
