"""Compare the sessions of a subject: which microbleeds are new since the first one.

Of each session, the first scan with a result takes part. ``compare/sub-<label>`` has the files of
``cmbnet compare``, and ``sub-<label>_sessions.tsv`` is the table that BIDS has for sessions.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from cmbnet.bids.derivatives import tsv, write_new
from cmbnet.bids.record import CASES, COMPARED, PROTOCOL, Record
from cmbnet.followup.cohort import COLUMNS, Patient, compare_patient, rows_of
from cmbnet.followup.write import JSON, PAGE, clear
from cmbnet.io import write_text_atomically
from cmbnet.report.batch import LOCKS
from cmbnet.report.finished import read_answer

if TYPE_CHECKING:
    from cmbnet.bundle import Bundle

RECORD: Final = "sessions.json"

_CHANGES: Final = COLUMNS[COLUMNS.index("lesions") + 1 : COLUMNS.index("warnings")]
_WORDS: Final = {
    "scan": "Path of the scan in the data set that stands for the session.",
    "status": "done, refused (no count was made), or failed (not read or not written).",
    "lesions": "Number of possible microbleeds.",
    "compared_with": "Session with which this one is compared.",
    **{
        name: f"Lesions that are {name.replace('_', ' ')} (see cmbnet compare)."
        for name in _CHANGES[:-2]
    },
    "aria_h": "Category of ARIA-H by new microhaemorrhages.",
    "no_category": "Why there is no category.",
    "warnings": "What a reader should check.",
    "reason": "Why there is no count or no comparison.",
}
"""Columns of ``sessions.tsv`` after session_id, with the words of its data dictionary."""


class Followed(BaseModel):
    """What the comparison of a subject's sessions gave. It lies beside the comparison."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: str  # Label without ``sub-``
    results: dict[str, str]  # Case -> SHA-256 of its result.json, in order of time
    bundle_sha256: str  # Of the model that was given
    status: Literal["done", "refused", "failed"]
    reason: str = ""  # Why there is no comparison
    argument: str = ""  # Name of the option by which the caller can decide otherwise
    rows: dict[str, dict[str, Any]] = {}  # Case -> what is added to its row
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
        OSError: If the file system refuses the table.
    """
    subject = records[0].subject
    folder = out / COMPARED / f"sub-{subject}"
    table = out / f"sub-{subject}" / f"sub-{subject}_sessions.tsv"
    first = {one.session: one for one in reversed(records) if one.status == "done"}
    if len(first) < 2:
        if folder.exists():
            clear(folder)
            for file in (folder / RECORD, table, table.with_suffix(".json")):
                file.unlink(missing_ok=True)
        return None
    ordered, known = _in_time(list(first.values()), root)
    results = {one.case: one.result_sha256 for one in ordered}
    from filelock import FileLock

    with FileLock(out / CASES / LOCKS / f"{COMPARED}-{subject}"):
        found = read_followed(folder)
        # Another model may be given than that of the results: what was compared stays compared.
        same = found is not None and list(found.results.items()) == list(results.items())
        if found is None or not same or (found.reason and found.bundle_sha256 != bundle.sha256):
            found = _compare(ordered, results, root, out, bundle, known=known)
    # A session without any result has its row, too.
    missing = {one.session: one for one in records if one.session not in first}
    rows = [_row(one, found) for one in (*ordered, *missing.values())]
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


def read_all_followed(out: Path) -> list[Followed]:
    """Read what was found for all subjects of a folder of derivatives."""
    folders = sorted((out / COMPARED).glob("sub-*"))
    return [found for folder in folders if (found := read_followed(folder)) is not None]


def _compare(
    scans: Sequence[Record],
    results: dict[str, str],
    root: Path,
    out: Path,
    bundle: Bundle,
    *,
    known: bool,
) -> Followed:
    """Compare scans in order of time, and keep the outcome unless it may differ next time."""
    subject = scans[0].subject
    folder = out / COMPARED / f"sub-{subject}"
    (folder / RECORD).unlink(missing_ok=True)  # until all is written
    patient = Patient(f"sub-{subject}", tuple(root / one.scan for one in scans))
    answers = (
        read_answer(out / CASES / one.case, bundle, scans=scan.parent)
        for one, scan in zip(scans, patient.scans, strict=True)
    )
    outcome = compare_patient(patient, answers, folder)
    rows: dict[str, dict[str, Any]] = {}
    lines: list[str] = []
    if outcome.compared is not None:
        follow_ups = outcome.compared.comparison.follow_ups
        for one, row, found in zip(scans[1:], rows_of(outcome), follow_ups, strict=True):
            doubts = [str(row["warnings"]), *_doubts(scans[0], one, known=known)]
            rows[one.case] = {name: row[name] for name in _CHANGES} | {
                "compared_with": f"ses-{scans[0].session}",
                "warnings": " | ".join(filter(None, doubts)),
            }
            lines.append(f"ses-{one.session} against ses-{scans[0].session}: {found.words}")
    followed = Followed(
        subject=subject,
        results=results,
        bundle_sha256=bundle.sha256,
        status=outcome.status,
        reason=outcome.reason,
        argument=outcome.argument,
        rows=rows,
        lines=tuple(lines),
    )
    if followed.status != "failed":
        write_text_atomically(folder / RECORD, followed.model_dump_json(indent=1) + "\n")
    return followed


def _doubts(first: Record, later: Record, *, known: bool) -> list[str]:
    """Say what the data set itself does not say, or says against the comparison."""
    doubts = [] if known else ["no acq_time in the data set: sessions are in order of their labels"]
    for key in PROTOCOL:
        a, b = first.protocol.get(key), later.protocol.get(key)
        if a is not None and b is not None and a != b:
            doubts.append(f"{key} differs ({a} and {b})")
    return doubts


def _row(record: Record, found: Followed) -> dict[str, Any]:
    row: dict[str, Any] = {
        "session_id": f"ses-{record.session}",
        "scan": record.scan,
        "status": record.status,
        "lesions": record.row.get("lesions"),
        "reason": record.reason or found.reason,
    }
    return row | found.rows.get(record.case, {})


def _in_time(scans: list[Record], root: Path) -> tuple[list[Record], bool]:
    """Sort scans by the acq_time that the data set gives, or else by the labels of sessions.

    Returns:
        The scans, and whether the times are known.
    """
    times = {one.case: _acq_time(one, root) for one in scans}
    if len(set(times.values()) - {""}) == len(scans):
        return sorted(scans, key=lambda one: times[one.case]), True
    return sorted(scans, key=lambda one: _natural(one.session)), False


def _natural(label: str) -> list[str | int]:
    """Make a key by which m6 comes before m12."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", label)]


def _acq_time(record: Record, root: Path) -> str:
    """Return when a scan was made by ``scans.tsv`` or ``sessions.tsv``, or nothing."""
    subject, session = f"sub-{record.subject}", f"ses-{record.session}"
    folder = root / subject
    within = Path(record.scan).relative_to(Path(subject, session)).as_posix()
    for file, key, wanted in (
        (folder / session / f"{subject}_{session}_scans.tsv", "filename", within),
        (folder / f"{subject}_sessions.tsv", "session_id", session),
    ):
        with suppress(OSError, ValueError, csv.Error):
            for row in csv.DictReader(
                file.read_text(encoding="utf-8-sig").splitlines(), delimiter="\t"
            ):
                if row.get(key) == wanted and row.get("acq_time") not in (None, "", "n/a"):
                    return str(row["acq_time"])
    return ""
