"""Read the masks of a reader study."""

from __future__ import annotations

from pathlib import Path

from cmbnet.errors import InputRefused
from cmbnet.evaluation.files import find_images
from cmbnet.evaluation.load import read_labels_file
from cmbnet.evaluation.readers.sites import ReadCase, find_sites


def reader_folders(folder: Path) -> dict[str, Path]:
    """The sub-folders of a folder, one a reader, by name.

    Raises:
        InputRefused: If there is none.
    """
    found = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()}
    if not found:
        raise InputRefused(f"a folder per reader is required in {folder}, got none")
    return found


def read_masks(system: Path, readers: dict[str, Path], truth: Path | None) -> list[ReadCase]:
    """Read system, readers and truth of every case and collect the sites.

    Raises:
        InputRefused: If they do not hold the same cases.
    """
    folders = {"the system": system, **readers}
    images = {who: find_images(folder) for who, folder in folders.items()}
    true_images = {} if truth is None else find_images(truth)
    wanted = images["the system"].keys()
    for who, found in {**images, "the truth": true_images or images["the system"]}.items():
        if found.keys() != wanted:
            odd = ", ".join(sorted(found.keys() ^ wanted)[:10])
            raise InputRefused(
                f"system, readers and truth must hold the same cases; {who} and the system differ "
                f"in {odd}. A reader who changed nothing hands in the system's mask unchanged"
            )
    return [
        find_sites(
            case,
            read_labels_file(images["the system"][case]),
            {who: read_labels_file(images[who][case]) for who in readers},
            None if truth is None else read_labels_file(true_images[case]),
        )
        for case in sorted(wanted)
    ]
