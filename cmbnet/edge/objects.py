"""The objects that a run leaves."""

from __future__ import annotations

from pathlib import Path

REPORT = "sr.dcm"
_ORDER = {"seg.dcm": 0, REPORT: 1}


def objects_in(folder: Path) -> list[Path]:
    """The objects to send, in the order in which a study should get them."""
    return sorted(folder.glob("*.dcm"), key=lambda path: (_ORDER.get(path.name, 2), path.name))
