"""The result objects of a run."""

from __future__ import annotations

from pathlib import Path

REPORT = "sr.dcm"
_ORDER = {"seg.dcm": 0, REPORT: 1}


def objects_in(folder: Path) -> list[Path]:
    """Return the objects to send, in the right order."""
    return sorted(folder.glob("*.dcm"), key=lambda path: (_ORDER.get(path.name, 2), path.name))
