"""Compare the sessions of a subject: which microbleeds are new since the first one.

Of each session, the first scan with a result takes part. ``compare/sub-<label>`` has the files of
``cmbnet compare``, and ``sub-<label>_sessions.tsv`` is the table that BIDS has for sessions.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict

from cmbnet.bids.derivatives import tsv, write_new
from cmbnet.bids.record import CASES, COMPARED, PROTOCOL, Record
from cmbnet.followup.changes import Category
from cmbnet.followup.cohort import Patient, compare_patient
from cmbnet.followup.write import JSON, PAGE, clear
from cmbnet.io import write_text_atomically
from cmbnet.report.batch import alone_with
from cmbnet.report.finished import read_answer

if TYPE_CHECKING:
    from cmbnet.bundle import Bundle
    from cmbnet.predict import Answer

RECORD: Final = "sessions.json"

_WORDS: Final = {
    "scan": "Path of the scan in the data set that stands for the session.",
    "status": "done, refused (no count was made), or failed (not read or not written).",
    "lesions": "Number of possible microbleeds.",
    "compared_with": "Session with which this one is compared.",
    **{name.replace(" ", "_"): f"Lesions that are {name}." for name in get_args(Category)},
    "warnings": "What a reader should check.",
    "reason": "Why there is no count or no comparison.",
}
"""Columns of ``sessions.tsv`` after session_id, with the words of its data dictionary."""


class Followed(BaseModel):
    """What the comparison of a subject's sessions gave. It lies beside the comparison."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: str  # Label without ``sub-``
    results: tuple[tuple[str, str], ...]  # Case and SHA-256 of its result.json, in order of time
    status: Literal["done", "refused", "failed"] = "failed"
    reason: str = ""  # Why there is no comparison
    argument: str = ""  # Name of the option by which the caller can decide otherwise
    rows: dict[str, dict[str, Any]] = {}  # Case -> what the comparison adds to its row
    lines: tuple[str, ...] = ()  # What became of the lesions in each later session, in words

    @property
    def case(self) -> str:
        """Beginning of the names of its files."""
        return f"sub-{self.subject}"

    @property
    def page(self) -> str:
        """Path of the comparison in the derivatives, or nothing."""
        return f"{COMPARED}/{self.case}/{PAGE}" if self.status == "done" else ""


def compare_sessions(
    records: Sequence[Record], root: Path, out: Path, bundle: Bundle
) -> Followed | None:
    """Compare the sessions of a subject, unless that was done with the same results.

    Args:
        records: All records of the subject.
        root: Folder of the data set.
        out: Folder of the derivatives.
        bundle: The model that made the results.

    Returns:
        What was found. None if fewer than two sessions have a result; then an earlier comparison
        is removed.

    Raises:
        OSError: If the file system refuses.
    """
    subject = records[0].subject
    folder = out / COMPARED / f"sub-{subject}"
    table = out / f"sub-{subject}" / f"sub-{subject}_sessions.tsv"
    first = {one.session: one for one in reversed(records) if one.status == "done"}
    if len(first) < 2:
        clear(folder)
        for file in (folder / RECORD, table, table.with_suffix(".json")):
            file.unlink(missing_ok=True)
        return None
    scans, doubts = _in_time(list(first.values()), root)
    asked = Followed(
        subject=subject,
        results=tuple((one.case, one.result_sha256) for one in scans),
    )
    with alone_with(out / CASES, f"{COMPARED}-{subject}"):
        found = read_followed(folder)
        if found is None or found.results != asked.results:
            found = _compare(asked, scans, doubts, root, out, bundle)
    # A session without any result has its row, too.
    missing = {one.session: one for one in records if one.session not in first}
    rows = [
        {
            "session_id": f"ses-{one.session}", "scan": one.scan, "status": one.status,
            "lesions": one.row.get("lesions"), "reason": one.reason or found.reason,
        }
        | found.rows.get(one.case, {})
        for one in (*scans, *missing.values())
    ]  # fmt: skip
    write_new(table, tsv(("session_id", *_WORDS), rows))
    described = {name: {"Description": words} for name, words in _WORDS.items()}
    write_new(table.with_suffix(".json"), json.dumps(described, indent=2) + "\n")
    return found


def read_followed(folder: Path) -> Followed | None:
    """Read what was found, or return None if it is not there, whole and of this version."""
    try:
        found = Followed.model_validate_json((folder / RECORD).read_bytes())
    except (OSError, ValueError):
        return None
    whole = found.status == "refused" or all((folder / name).is_file() for name in (JSON, PAGE))
    return found if whole else None


def _compare(
    asked: Followed,
    scans: Sequence[Record],
    doubts: Sequence[str],
    root: Path,
    out: Path,
    bundle: Bundle,
) -> Followed:
    """Compare scans in order of time.

    The outcome is kept, unless it may differ next time: a scan that is away may come back.
    """
    folder = out / COMPARED / asked.case
    (folder / RECORD).unlink(missing_ok=True)  # until all is written
    patient = Patient(asked.case, tuple(root / one.scan for one in scans))
    read: list[Answer] = []

    def answers() -> Iterator[Answer]:
        for one, file in zip(scans, patient.scans, strict=True):
            read.append(read_answer(out / CASES / one.case, bundle, scans=file.parent))
            yield read[-1]

    outcome = compare_patient(patient, answers(), folder)
    before, rows, lines = f"ses-{scans[0].session}", {}, []
    if outcome.compared is not None:
        comparison = outcome.compared.comparison
        for one, later in zip(scans[1:], comparison.follow_ups, strict=True):
            differ = [
                f"{key} differs ({scans[0].protocol[key]} and {one.protocol[key]})"
                for key in PROTOCOL
                if key in scans[0].protocol and key in one.protocol
                and scans[0].protocol[key] != one.protocol[key]
            ]  # fmt: skip
            rows[one.case] = {
                **{name.replace(" ", "_"): count for name, count in later.counts.items()},
                "compared_with": before,
                "warnings": " | ".join([*comparison.warnings, *doubts, *differ]),
            }
            lines.append(f"ses-{one.session} against {before}: {later.words}")
    found = asked.model_copy(
        update={
            "status": outcome.status,
            "reason": outcome.reason,
            "argument": outcome.argument,
            "rows": rows,
            "lines": tuple(lines),
        }
    )
    if found.status != "failed" and len(read) == len(scans):
        write_text_atomically(folder / RECORD, found.model_dump_json(indent=1) + "\n")
    return found


def _in_time(scans: list[Record], root: Path) -> tuple[list[Record], tuple[str, ...]]:
    """Sort scans by the acq_time that the data set gives, or else by the labels of sessions.

    Returns:
        The scans, and what to doubt about their order.
    """
    times = {one.case: _acq_time(one, root) for one in scans}
    if len(set(times.values()) - {""}) == len(scans):
        return sorted(scans, key=lambda one: times[one.case]), ()
    doubt = "no acq_time in the data set: sessions are in order of their labels"
    return sorted(scans, key=lambda one: _natural(one.session)), (doubt,)


def _natural(label: str) -> list[str | int]:
    """Make a key by which m6 comes before m12."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", label)]


def _acq_time(record: Record, root: Path) -> str:
    """Return when a scan was made by ``scans.tsv`` or ``sessions.tsv``, or nothing."""
    subject, session = f"sub-{record.subject}", f"ses-{record.session}"
    folder, scan = root / subject, record.scan.removeprefix(f"{subject}/{session}/")
    for file, key, wanted in (
        (folder / session / f"{subject}_{session}_scans.tsv", "filename", scan),
        (folder / f"{subject}_sessions.tsv", "session_id", session),
    ):
        with suppress(OSError, ValueError, csv.Error):
            lines = file.read_text(encoding="utf-8-sig").splitlines()
            for row in csv.DictReader(lines, delimiter="\t"):
                if row.get(key) == wanted and row.get("acq_time") not in (None, "", "n/a"):
                    return str(row["acq_time"])
    return ""
