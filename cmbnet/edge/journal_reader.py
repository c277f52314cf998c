"""Reading of the journal, by the node and by its watchers."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cmbnet.edge.records import Delivery, DeliveryState, ResultFile, State, Study, Transition

_STUDY = (
    "study, state, outcome, reason, caller, run, digest, failures, images, first_received_at, "
    "received_at, changed_at, details, purged"
)
_DELIVERY = "study, run, destination, state, tries, transaction_uid, reason, changed_at"
RESULT = "sop_class_uid, sop_instance_uid, file, series_instance_uid"
"""The columns of a `ResultFile`, in their order."""
_BUSY_S = 30.0


class JournalReader:
    """A reader of the journal. Threads may share one.

    A file that is opened read-only must exist.

    Raises:
        sqlite3.DatabaseError: If the file is damaged or missing.
    """

    def __init__(
        self, path: Path, *, wall: Callable[[], float] = time.time, read_only: bool = True
    ) -> None:
        self._wall = wall
        self._lock = threading.RLock()
        # Autocommit: transactions begin and end where they say so.
        self._connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}",
            uri=True,
            timeout=_BUSY_S,
            isolation_level=None,
            check_same_thread=False,
        )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def study(self, study: str) -> Study | None:
        """Return a study, or None if it is unknown."""
        found = self._studies("WHERE study = ?", (study,))
        return found[0] if found else None

    def studies(self, *states: State) -> list[Study]:
        """Return all studies in these states, in the order of their first image."""
        marks = ", ".join("?" * len(states))
        return self._studies(f"WHERE state IN ({marks}) ORDER BY number", tuple(states))

    def others_of(self, patient: str, study: str) -> list[Study]:
        """Return the patient's other studies that have a count and are on the disk."""
        return self._studies(
            "WHERE patient = ? AND patient != '' AND study != ? AND outcome = 'done' "
            "AND purged = 0 ORDER BY number",
            (patient, study),
        )

    def last_studies(self, count: int) -> list[Study]:
        """Return the last studies, the newest first."""
        return self._studies("ORDER BY number DESC LIMIT ?", (count,))

    def counts(self) -> dict[State, int]:
        """Count the studies in each state. Every state is listed."""
        rows = self._read("SELECT state, COUNT(*) FROM studies GROUP BY state", ())
        found = {State(state): int(count) for state, count in rows}
        return {state: found.get(state, 0) for state in State}

    def outcomes(self) -> dict[str, int]:
        """Count the studies that ended as done, refused and failed."""
        rows = self._read("SELECT outcome, COUNT(*) FROM studies GROUP BY outcome", ())
        found = {str(outcome): int(count) for outcome, count in rows}
        return {outcome: found.get(outcome, 0) for outcome in ("done", "refused", "failed")}

    def queue_age_s(self) -> float:
        """Return the age in seconds of the oldest study in work, or 0."""
        (oldest,) = self._read(
            "SELECT MIN(received_at) FROM studies WHERE state NOT IN ('COMMITTED', 'FAILED')", ()
        )[0]
        return 0.0 if oldest is None else max(0.0, self._wall() - float(oldest))

    def results(self, study: str, run: int) -> tuple[ResultFile, ...]:
        """Return the objects of a run."""
        rows = self._read(
            f"SELECT {RESULT} FROM results WHERE study = ? AND run = ? ORDER BY rowid", (study, run)
        )
        return tuple(ResultFile(*row) for row in rows)

    def last_result(self, study: str, name: str) -> ResultFile | None:
        """Return the newest object of a study with this file name, even if it left the disk."""
        rows = self._read(
            f"SELECT {RESULT} FROM results WHERE study = ? AND file LIKE ? ORDER BY run DESC",
            (study, f"%/{name}"),
        )
        return ResultFile(*rows[0]) if rows else None

    def deliveries(self, study: str) -> list[Delivery]:
        """Return the deliveries of the last results of a study, by destination."""
        return self._deliveries("study = ? ORDER BY destination", (study,))

    def transitions(self, study: str) -> list[Transition]:
        """Return every change of state of a study, in order."""
        rows = self._read(
            "SELECT state, run, at, reason FROM transitions WHERE study = ? ORDER BY number",
            (study,),
        )
        return [Transition(State(state), run, at, reason) for state, run, at, reason in rows]

    def _read(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def _studies(self, where: str, values: tuple[Any, ...]) -> list[Study]:
        rows = self._read(f"SELECT {_STUDY} FROM studies {where}", values)
        return [_study(dict(zip(_STUDY.split(", "), row, strict=True))) for row in rows]

    def _deliveries(self, where: str, values: tuple[Any, ...]) -> list[Delivery]:
        rows = self._read(f"SELECT {_DELIVERY} FROM deliveries WHERE {where}", values)
        return [
            Delivery(study, run, destination, DeliveryState(state), *rest)
            for study, run, destination, state, *rest in rows
        ]


def _study(row: dict[str, Any]) -> Study:
    converted = {
        "state": State(row["state"]),
        "details": json.loads(row["details"]),
        "purged": bool(row["purged"]),
    }
    return Study(**(row | converted))
