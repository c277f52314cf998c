"""`write_comparison`: all files of a comparison, or none."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from cmbnet.followup.comparison import Compared
from cmbnet.followup.page import compare_html

JSON: Final = "compare.json"
PAGE: Final = "compare.html"


def write_comparison(compared: Compared, folder: Path, *, dicom: Collection[str] = ()) -> Path:
    """Write ``compare.html``, DICOM objects if they are asked for, and at last ``compare.json``.

    Args:
        compared: What was found.
        folder: Where to write; made if missing. Files of an earlier comparison are removed.
        dicom: ``"seg"`` and ``"sr"``, to write ``scan-1/seg.dcm`` and so on.

    Returns:
        The page.

    Raises:
        UsageError: If DICOM objects are wanted and a scan was not DICOM.
        InputRefused: If the headers of a series do not allow the objects.
        OSError: If the file system refuses.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".compare-", dir=folder.parent) as name:
        made = Path(name)
        (made / PAGE).write_text(compare_html(compared), encoding="utf-8")
        if dicom:
            from cmbnet.followup.objects import write_objects

            write_objects(compared, made, seg="seg" in dicom, report="sr" in dicom)
        files = sorted(path.relative_to(made) for path in made.rglob("*") if path.is_file())
        text = compared.comparison.model_dump_json(indent=2) + "\n"
        (made / JSON).write_text(text, encoding="utf-8")
        clear(folder)
        for file in (*files, Path(JSON)):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            os.replace(made / file, folder / file)  # noqa: PTH105  # atomic, also onto a file
    return folder / PAGE


def clear(folder: Path) -> None:
    """Remove the files of an earlier comparison."""
    for stale in (JSON, PAGE):
        (folder / stale).unlink(missing_ok=True)
    for kind in ("seg", "sr"):
        for file in folder.glob(f"scan-*/{kind}.dcm"):
            file.unlink()
