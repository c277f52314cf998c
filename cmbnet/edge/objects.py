"""The objects that a run leaves, and that of the run before."""

from __future__ import annotations

from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from cmbnet.edge.worker import Job

REPORT = "sr.dcm"
_ORDER = {"seg.dcm": 0, REPORT: 1}
_REFERENCE = ["StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID"]


def objects_in(folder: Path) -> list[Path]:
    """The objects to send, in the order in which a study should get them."""
    return sorted(folder.glob("*.dcm"), key=lambda path: (_ORDER.get(path.name, 2), path.name))


def previous_report(job: Job) -> Dataset | None:
    """The report that a run supersedes, as far as a reference to it needs it."""
    if job.previous is None:
        return None
    return pydicom.dcmread(job.previous, specific_tags=[*_REFERENCE])
