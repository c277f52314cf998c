"""Compare scans of one patient over time: which microbleeds are new."""

from __future__ import annotations

from pathlib import Path

from cmbnet.followup.comparison import Compared, Comparison, compare_scans
from cmbnet.followup.page import compare_html
from cmbnet.io import write_text_atomically

__all__ = ["Compared", "Comparison", "compare_scans", "write_comparison"]


def write_comparison(compared: Compared, folder: Path) -> Path:
    """Write ``compare.html`` and, when that is there, ``compare.json``.

    Args:
        compared: What was found.
        folder: Where to write; made if missing.

    Returns:
        The page.

    Raises:
        OSError: If the file system refuses.
    """
    page = compare_html(compared)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "compare.json").unlink(missing_ok=True)
    write_text_atomically(folder / "compare.html", page)
    text = compared.comparison.model_dump_json(indent=2) + "\n"
    write_text_atomically(folder / "compare.json", text)
    return folder / "compare.html"
