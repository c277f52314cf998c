"""`Record`: what is known of a scan of a data set, or of a session without one, after a run.

It lies beside the result, as ``cases/<case>/case.json``. The group level reads nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from cmbnet.bids.find import Scan, Session
from cmbnet.errors import UnreadableFile
from cmbnet.report.tables import summary_row
from cmbnet.report.write import RESULT, THUMBNAIL

if TYPE_CHECKING:
    from cmbnet.report.batch import Outcome

CASES: Final = "cases"
"""Folder of the derivatives that is an output folder of ``cmbnet predict``."""
COMPARED: Final = "compare"
"""Folder of the derivatives that has a folder for each subject whose sessions were compared."""
RECORD: Final = "case.json"

PROTOCOL: Final = ("MagneticFieldStrength", "EchoTime", "Manufacturer", "ManufacturersModelName")
"""Keys of the JSON file beside a scan that describe its protocol."""


class Record(BaseModel):
    """What is known of a scan, or of a session without one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    case: str  # Name of its folder in ``cases``
    subject: str  # Label without ``sub-``
    session: str = ""  # Label without ``ses-``
    run: str = ""  # Label without ``run-``
    scan: str = ""  # Path in the data set; empty without a scan
    phase: str = ""  # Path of the phase in the data set
    # "refused" by the names or the quality gate; "failed" to be read or written.
    status: Literal["done", "refused", "failed"]
    reason: str = ""  # Why there is no result
    argument: str = ""  # Name of the option by which the caller can decide otherwise
    result_sha256: str = ""  # Of ``result.json``
    files: tuple[str, ...] = ()  # Paths in the derivatives
    row: dict[str, Any] = {}  # The row of ``summary.csv``
    voxel_mm: str = ""  # Voxel size as text
    protocol: dict[str, Any] = {}  # What the JSON file beside the scan says
    # QC findings: severity and sentence.
    findings: tuple[tuple[str, str], ...] = ()
    picture: str = ""  # Its most probable lesion as a data URI

    @property
    def subject_page(self) -> str:
        """Name of the report of the subject."""
        return f"sub-{self.subject}.html"


def record_of_gap(session: Session) -> Record:
    """Record a session in which no scan was chosen."""
    return Record(
        case=session.name,
        subject=session.subject,
        session=session.session,
        status=session.status,
        reason=session.reason,
        argument=session.argument,
    )


def record_of(scan: Scan, session: Session, outcome: Outcome, root: Path, out: Path) -> Record:
    """Record the outcome of a scan. Its files and its picture are added when they are written."""
    run = next((p for p in scan.name.split("_") if p.startswith("run-")), "")
    common: dict[str, Any] = {
        "case": scan.name,
        "subject": session.subject,
        "session": session.session,
        "run": run.removeprefix("run-"),
        "scan": scan.path.relative_to(root).as_posix(),
        "phase": "" if scan.phase is None else scan.phase.relative_to(root).as_posix(),
        "protocol": _protocol(scan),
    }
    result = outcome.result
    if result is None:
        common["status"] = "refused" if outcome.status == "refused" else "failed"
        return Record(**common, reason=outcome.reason, argument=outcome.argument)
    folder = out / CASES / scan.name
    return Record(
        **common,
        status="done",
        result_sha256=hashlib.sha256((folder / RESULT).read_bytes()).hexdigest(),
        row=summary_row(result),
        voxel_mm=" x ".join(f"{mm:.2f}" for mm in result.input.spacing_ijk_mm),
        findings=tuple((one.severity, one.message) for one in result.quality.findings),
    )


def _protocol(scan: Scan) -> dict[str, Any]:
    """Read what the JSON file beside a scan says of the protocol. A file of no use says nothing."""
    with suppress(OSError, ValueError):
        content = json.loads(scan.path.with_name(f"{scan.name}.json").read_bytes())
        if isinstance(content, dict):
            return {key: content[key] for key in PROTOCOL if key in content}
    return {}


def picture_of(record: Record, out: Path) -> str:
    """Return the thumbnail of a scan as a data URI, or nothing if the scan has no lesion."""
    file = out / CASES / record.case / THUMBNAIL
    if not file.is_file():
        return ""
    return f"data:image/jpeg;base64,{base64.b64encode(file.read_bytes()).decode('ascii')}"


def read_record(file: Path) -> Record | None:
    """Read a record, or return None if there is none or it is of another version."""
    try:
        return Record.model_validate_json(file.read_bytes())
    except (OSError, ValueError):
        return None


def read_records(out: Path) -> list[Record]:
    """Read all records of a folder of derivatives, sorted by case.

    A record whose result has gone, as after a run that was cut off, is one of a failure.

    Raises:
        UnreadableFile: If there is none.
    """
    files = sorted((out / CASES).glob(f"*/{RECORD}"))
    found = [_checked(one, out) for file in files if (one := read_record(file)) is not None]
    if not found:
        raise UnreadableFile(
            f"{out} holds no results of this version of `cmbnet bids`; run the level participant "
            "first"
        )
    return found


def _checked(record: Record, out: Path) -> Record:
    if record.status != "done" or (out / CASES / record.case / RESULT).is_file():
        return record
    return record.model_copy(
        update={
            "status": "failed",
            "reason": "its run was cut off; run it again",
            "row": {},
            "picture": "",
        }
    )
