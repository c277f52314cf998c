"""The group level: one table and one page of all results. Nothing is computed anew."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from markupsafe import Markup

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.bids.derivatives import report_of, tsv
from cmbnet.bids.record import COMPARED, PROTOCOL, Record, read_records
from cmbnet.bids.sessions import Followed, read_followed
from cmbnet.errors import UnreadableFile
from cmbnet.evaluation.stats.intervals import wilson
from cmbnet.io import write_text_atomically
from cmbnet.pages import render
from cmbnet.report.tables import SUMMARY_COLUMNS

TABLE: Final = "cmbnet_group.tsv"
DICTIONARY: Final = "cmbnet_group.json"
PAGE: Final = "cmbnet_group.html"

MOST_VALUES: Final = 20
"""A column of ``participants.tsv`` with more values than this makes no groups."""

_OWN: Final = {
    "participant_id": "Subject.",
    "session_id": "Session, or n/a.",
    "run_id": "Run, or n/a.",
    "scan": "Path of the scan in the data set.",
    "status": "done, refused (no count was made), or failed (not read or not written).",
    "voxel_mm": "Voxel size in the order of the file's axes, mm.",
    **dict.fromkeys(PROTOCOL, "From the JSON file beside the scan."),
    "report": "Path of the report in the derivatives.",
    "new_lesions": "Lesions that an earlier session does not show; n/a if none was compared.",
    "compared_with": "That session, the first of the subject.",
    "comparison": "Path of the comparison of the sessions in the derivatives.",
}
_WORDS: Final = {
    "lesions": "Number of possible microbleeds.",
    "small": "Lesions of at least 2 mm and less than 5 mm.",
    "large": "Lesions of 5 to 10 mm.",
    "lesion_volume_mm3": "Volume of all lesions, mm^3.",
    "positive": "1 if the score of the scan reaches the threshold of the operating point, else 0.",
    "score": "Score of the scan: that of its best lesion, 0 to 1.",
    "candidates": "Connected voxels above the threshold, before the rules.",
    "pattern": "strictly lobar, deep, mixed: by approximate regions.",
    "warnings": "Codes of the warnings of the quality gate.",
    "reason": "Why there is no count.",
    "seconds": "Time of the analysis, s.",
}
_FROM_SUMMARY: Final = tuple(n for n in SUMMARY_COLUMNS if n not in ("case", "status", "input"))
_TAKEN: Final = {*_OWN, *_FROM_SUMMARY, "protocol", "number"}
"""Columns that ``participants.tsv`` cannot bring."""


@dataclass(frozen=True, slots=True)
class Share:
    """How many subjects and scans of a group are positive, and how many lesions scans have."""

    value: str  # The group
    subjects: int  # With a scan that was analysed
    positive: int  # Subjects with a positive scan
    low: float  # Ends of the interval of the share of positive subjects
    high: float
    scans: int  # Scans that were analysed
    missing: int  # Scans and sessions without a count
    median: float | None  # Lesions of a scan
    most: int | None


def write_group(root: Path, out: Path) -> Path:
    """Join all results of a data set into a table with its dictionary, and a page.

    Args:
        root: Folder of the data set. Its ``participants.tsv`` is joined if it is there.
        out: Folder of the derivatives.

    Returns:
        The page.

    Raises:
        UnreadableFile: If there are no results, or ``participants.tsv`` is no such table.
        OSError: If the file system refuses.
    """
    records, people = read_records(out), read_participants(root / "participants.tsv")
    columns = [name for person in list(people.values())[:1] for name in person]
    compared = {
        one.subject: read_followed(out / COMPARED / f"sub-{one.subject}") for one in records
    }
    rows = [
        group_row(one, people.get(one.subject, {}), compared[one.subject], out) for one in records
    ]
    names = [*_OWN, *columns, *_FROM_SUMMARY]
    write_text_atomically(out / TABLE, tsv(names, rows))
    words = _OWN | dict.fromkeys(columns, "From participants.tsv.") | _WORDS
    described = {n: {"Description": words.get(n, "As in summary.csv of cmbnet.")} for n in names}
    write_text_atomically(out / DICTIONARY, json.dumps(described, indent=2) + "\n")
    write_text_atomically(out / PAGE, group_html(records, rows, columns))
    return out / PAGE


def read_participants(file: Path) -> dict[str, dict[str, str]]:
    """Read ``participants.tsv``: label of the subject -> its columns with names of their own.

    Raises:
        UnreadableFile: If it is there and has no column participant_id.
    """
    if not file.is_file():
        return {}
    with file.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    if rows and "participant_id" not in rows[0]:
        raise UnreadableFile(f"a column participant_id is required in {file}")
    return {
        str(row.pop("participant_id")).removeprefix("sub-"): {
            name: value or "n/a" for name, value in row.items() if name and name not in _TAKEN
        }
        for row in rows
    }


def group_row(
    record: Record, person: Mapping[str, str], compared: Followed | None, out: Path
) -> dict[str, Any]:
    """Make the row of a scan, or of a session without one."""
    change = compared.rows.get(record.case, {}) if compared else {}
    return {
        **person,
        **{"notice": RESEARCH_USE_ONLY, "reason": record.reason},
        **{name: value for name, value in record.row.items() if value is not None},
        **record.protocol,
        "participant_id": f"sub-{record.subject}",
        "session_id": record.session and f"ses-{record.session}",
        "run_id": record.run and f"run-{record.run}",
        "scan": record.scan,
        "status": record.status,
        "voxel_mm": record.voxel_mm,
        "report": report_of(record, out),
        "new_lesions": change.get("new"),
        "compared_with": change.get("compared_with"),
        "comparison": compared.page if compared and change else None,
    }


def group_html(
    records: Sequence[Record], rows: Sequence[Mapping[str, Any]], columns: Sequence[str]
) -> str:
    """Make the page of a cohort: one file, which opens offline.

    Args:
        records: All records.
        rows: Their rows, in the same order.
        columns: Columns of ``participants.tsv``.
    """
    grouping = [
        name for name in columns if 1 < len({row.get(name, "n/a") for row in rows}) <= MOST_VALUES
    ]
    labelled = [
        dict(row) | {"protocol": _protocol(one)} for row, one in zip(rows, records, strict=True)
    ]
    done = [row for row in labelled if row["status"] == "done"]
    cases = sorted(
        zip(labelled, records, strict=True),
        key=lambda case: (-case[0].get("lesions", -1), case[1].case),
    )
    for number, (row, _) in enumerate(cases):
        row["number"] = number + 1
    script = render("bids_group.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    models = {(row["bundle_sha256"], row["operating_point"]) for row in done}
    return render(
        "bids_group.html",
        notice=RESEARCH_USE_ONLY,
        bundles=sorted({row["bundle"] for row in done}),
        models=len(models),
        total=_share("all", labelled),
        groups={name: shares(labelled, name) for name in (*grouping, "protocol")},
        bars=bars([row["lesions"] for row in done]),
        codes=Counter(
            code for row in done for code in str(row["warnings"] or "").split(" | ") if code
        ).most_common(),
        faults=Counter(row["status"] for row in labelled if row["status"] != "done"),
        filters={
            name: sorted({str(row.get(name, "n/a")) for row in labelled}) for name in grouping
        },
        cases=cases,
        script=Markup(script),  # our own file
        script_digest=digest,
    )


def _protocol(record: Record) -> str:
    """Name a protocol by what tells protocols apart: maker, field, echo time, voxels."""
    known = record.protocol
    words = [str(known[key]) for key in PROTOCOL[2:] if key in known]
    if "MagneticFieldStrength" in known:
        words.append(f"{known['MagneticFieldStrength']} T")
    if isinstance(known.get("EchoTime"), float | int):
        words.append(f"TE {1000 * known['EchoTime']:.0f} ms")
    return ", ".join([*words, *([f"{record.voxel_mm} mm"] if record.voxel_mm else [])]) or "unknown"


def shares(rows: Iterable[Mapping[str, Any]], name: str) -> list[Share]:
    """Count positive subjects by the values of a column."""
    by_value: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_value.setdefault(str(row.get(name, "n/a")), []).append(row)
    return [_share(value, by_value[value]) for value in sorted(by_value)]


def _share(value: str, rows: Sequence[Mapping[str, Any]]) -> Share:
    done = [row for row in rows if row["status"] == "done"]
    subjects = {row["participant_id"] for row in done}
    positive = {row["participant_id"] for row in done if row["positive"]}
    interval = wilson(len(positive), len(subjects))
    counts = [row["lesions"] for row in done]
    return Share(
        value=value,
        subjects=len(subjects),
        positive=len(positive),
        low=interval.low,
        high=interval.high,
        scans=len(done),
        missing=len(rows) - len(done),
        median=median(counts) if counts else None,
        most=max(counts, default=None),
    )


def bars(counts: Sequence[int]) -> list[tuple[str, int]]:
    """Count scans by their number of lesions, in bins that double: a log axis with a 0.

    Examples:
        >>> bars([0, 0, 1, 2, 3, 4, 9])
        [('0', 2), ('1', 1), ('2', 1), ('3-4', 2), ('5-8', 0), ('9-16', 1)]
    """
    if not counts:
        return []
    binned = Counter((count - 1).bit_length() + 1 if count else 0 for count in counts)
    return [(_bin_name(n), binned[n]) for n in range(max(binned) + 1)]


def _bin_name(n: int) -> str:
    if n < 3:
        return str(n)
    return f"{2 ** (n - 2) + 1}-{2 ** (n - 1)}"
