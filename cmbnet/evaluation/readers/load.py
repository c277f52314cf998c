"""Read the masks of a reader study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cmbnet.errors import InputRefused
from cmbnet.evaluation.cohort.files import MASKS, find_images
from cmbnet.evaluation.cohort.load import read_labels_file
from cmbnet.evaluation.match.labels import read_labels, scattered
from cmbnet.evaluation.readers.sites import ReadCase, find_sites


def reader_folders(folder: Path) -> dict[str, Path]:
    """Return the sub-folders of a folder, one per reader, by name.

    Raises:
        InputRefused: If there is no sub-folder.
    """
    found = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()}
    if not found:
        raise InputRefused(f"a folder per reader is required in {folder}, got none")
    return found


def read_masks(
    system: Path,
    readers: dict[str, Path],
    truth: Path | None = None,
    ignore: Path | None = None,
    *,
    report: Callable[[str], None],
) -> list[ReadCase]:
    """Read system, readers and truth of every case and collect the sites.

    Raises:
        InputRefused: If the folders hold different cases.
    """
    folders = {"the system": system, **readers, "the truth": truth, "the masks to ignore": ignore}
    images = {
        who: find_images(
            folder, ("ignore", "lesions", "mask") if who == "the masks to ignore" else MASKS
        )
        for who, folder in folders.items()
        if folder is not None
    }
    wanted = images["the system"].keys()
    for who, found in images.items():
        if found.keys() != wanted:
            odd = ", ".join(sorted(found.keys() ^ wanted)[:10])
            raise InputRefused(
                f"system, readers and truth must hold the same cases; {who} and the system differ "
                f"in {odd}. A reader who changed nothing hands in the system's mask unchanged"
            )
    cases = []
    for case in sorted(wanted):
        read = {who: read_labels_file(found[case]) for who, found in images.items()}
        for who, volume in read.items():
            for line in (
                scattered(read_labels(volume), volume) if who != "the masks to ignore" else ()
            ):
                report(f"warning: case {case}, {who}: {line}")
        marks = {who: read[who] for who in readers}
        cases.append(
            find_sites(
                case,
                read["the system"],
                marks,
                read.get("the truth"),
                read.get("the masks to ignore"),
            )
        )
    return cases
