"""The participant level: analyse the scans of sessions, whatever the engine."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cmbnet.bids.derivatives import forget, publish, publish_gap, write_subject_page
from cmbnet.bids.find import Scan, Session
from cmbnet.bids.record import CASES, RECORD, Record, read_record, read_records, record_of_gap
from cmbnet.bids.sessions import Followed, compare_sessions
from cmbnet.errors import printable
from cmbnet.io.case import Case
from cmbnet.report.batch import Outcome, alone_with

if TYPE_CHECKING:
    from cmbnet.bundle import Bundle

Engine = Callable[[Sequence[Case]], Iterator[Outcome]]
"""What analyses cases into the folder ``cases`` of the derivatives, in any order."""


def run_participants(
    sessions: Sequence[Session], root: Path, out: Path, engine: Engine, bundle: Bundle
) -> Generator[Record | Followed, None, None]:
    """Analyse scans and write their derivatives, and the report of each subject.

    Args:
        sessions: What to analyse.
        root: Folder of the data set. Nothing is written to it.
        out: Folder of the derivatives, after `prepare_folder`.
        engine: What analyses the scans.
        bundle: The model, to compare the sessions of a subject.

    Yields:
        A record for each scan, and for each session without one. When a subject is done, what the
        comparison of its sessions gave. If the caller stops, no further scan begins.
    """
    earlier = _earlier_cases(out)
    left = Counter(one.subject for one in sessions for _ in one.scans or [None])
    records: dict[str, list[Record]] = defaultdict(list)
    for record in _records(sessions, root, out, engine):
        yield record
        label = record.subject
        records[label].append(record)
        if len(records[label]) == left[label]:
            yield from _finish_subject(records.pop(label), earlier[label], root, out, bundle)


def compare_subjects(
    root: Path, out: Path, bundle: Bundle
) -> Generator[Record | Followed, None, None]:
    """Compare what no run of a part could, because others had the other sessions.

    Args:
        root: Folder of the data set.
        out: Folder of the derivatives.
        bundle: The model that made the results.

    Yields:
        What the comparison of the sessions of each subject gave.

    Raises:
        UnreadableFile: If there are no results.
    """
    subjects: dict[str, list[Record]] = defaultdict(list)
    for record in read_records(out):
        subjects[record.subject].append(record)
    for records in subjects.values():
        if len({one.session for one in records}) > 1:
            yield from _finish_subject(records, (), root, out, bundle)


def _earlier_cases(out: Path) -> dict[str, list[str]]:
    """List the cases of each subject that are there before the run."""
    names: dict[str, list[str]] = defaultdict(list)
    if (out / CASES).is_dir():
        for folder in sorted((out / CASES).glob("[!.]*")):
            names[folder.name.split("_")[0].removeprefix("sub-")].append(folder.name)
    return names


def _records(
    sessions: Sequence[Session], root: Path, out: Path, engine: Engine
) -> Iterator[Record]:
    for session in sessions:
        if session.reason:
            yield _written(session, session.name, lambda session: publish_gap(session, out))
    scans = {scan.name: (scan, session) for session in sessions for scan in session.scans}
    cases = [Case(name, scan.path, phase=scan.phase) for name, (scan, _) in scans.items()]
    for outcome in engine(cases) if cases else ():
        yield _published(outcome, *scans[outcome.case.name], root, out)


def _published(outcome: Outcome, scan: Scan, session: Session, root: Path, out: Path) -> Record:
    def write(session: Session) -> Record:
        with alone_with(out / CASES, scan.name):
            return publish(scan, session, outcome, root, out)

    return _written(session, scan.name, write)


def _written(session: Session, case: str, write: Callable[[Session], Record]) -> Record:
    """Return the record that is written. A fault of the file system stops no other scan."""
    try:
        return write(session)
    except OSError as error:
        return _unwritten(session, error).model_copy(update={"case": case})


def _unwritten(session: Session, error: OSError) -> Record:
    reason = f"cannot write {error.filename} ({error.strerror or error}); mend it and run again"
    return record_of_gap(replace(session, reason=printable(reason), status="failed"))


def _finish_subject(
    records: list[Record], earlier: Sequence[str], root: Path, out: Path, bundle: Bundle
) -> Iterator[Record | Followed]:
    """Compare the sessions of a subject and write its report."""
    try:
        found = _all_of_subject(records, earlier, out)
        compared = compare_sessions(found, root, out, bundle)
        write_subject_page(found, compared, out)
    except OSError as error:
        yield _unwritten(Session(records[0].subject, ""), error)
    else:
        if compared is not None:
            yield compared


def _all_of_subject(records: list[Record], earlier: Sequence[str], out: Path) -> list[Record]:
    """Add the records of other sessions. Scans that the sessions have no more are forgotten."""
    names = {one.case for one in records}
    sessions = {one.session for one in records}
    others = [
        one
        for name in earlier
        if name not in names and (one := read_record(out / CASES / name / RECORD)) is not None
    ]
    for other in others:
        if other.session in sessions:
            forget(other, out)
        else:
            records.append(other)
    return sorted(records, key=lambda one: one.case)
