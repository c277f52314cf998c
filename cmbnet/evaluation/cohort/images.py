"""Find the images of a cohort by case: flat folders, results of cmbnet, and BIDS derivatives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from cmbnet.errors import InputRefused, printable
from cmbnet.io.scan import nifti_stem

SUFFIXES = (".nii.gz", ".nii")
SUBJECT = re.compile(r"(?:^|_)(sub-[A-Za-z0-9]+)(?=_|$)")
"""The subject in a BIDS name."""
_NOT_OF_THE_SCAN = ("space-", "res-", "label-", "desc-", "part-")
"""Entities of a BIDS name that say what was made of a scan, and not of which one."""
MASKS = ("lesions", "mask")
NESTED = (*MASKS, "probability")
"""Images in a case's folder of ``cmbnet predict``."""


def find_images(folder: Path, names: Sequence[str] = MASKS) -> dict[str, Path]:
    """Find the images of a folder by case.

    Args:
        folder: Folder of ``<case>.nii.gz`` (or ``.nii``), of ``<case>/<name>.nii.gz`` as ``cmbnet
            predict`` writes, the output of ``cmbnet bids``, or other BIDS derivatives. Of those,
            cases have the entities of the scan as their name.
        names: Names of the image in a case's folder. The first that exists is taken.

    Raises:
        InputRefused: If it is not a folder, a case occurs twice, or there is no image.
    """
    if not folder.is_dir():
        raise InputRefused(f"a folder of NIfTI files is required, got {folder}")
    folder = cases_of(folder)
    if is_bids_tree(folder):
        return _bids_images(folder, names)
    images = nested_images(folder, names)
    for path in sorted(folder.iterdir()):
        name = nifti_stem(printable(path.name))
        if name is None or path.is_dir() or path.name.startswith("."):
            continue
        _add(images, name, path)
    if not images:
        raise InputRefused(
            f"no images in {folder}: <case>.nii.gz or <case>/{names[0]}.nii.gz is required"
        )
    return dict(sorted(images.items()))


def cases_of(folder: Path) -> Path:
    """Return the folder of the cases, which ``cmbnet bids`` has in its output folder."""
    return folder / "cases" if (folder / "cases").is_dir() else folder


def is_bids_tree(folder: Path) -> bool:
    """Return whether a folder holds subjects of BIDS, and no cases."""
    inner = ("sub-*/anat", "sub-*/swi", "sub-*/ses-*")
    return cases_of(folder) == folder and any(any(folder.glob(one)) for one in inner)


def scan_entities(name: str) -> str:
    """Return the part of a BIDS name that says of which scan an image is. Other names stay.

    Examples:
        >>> scan_entities("sub-01_ses-a_acq-SWI_space-orig_label-CMB_desc-x_mask")
        'sub-01_ses-a_acq-SWI'
        >>> scan_entities("case-7_mask")
        'case-7_mask'
    """
    if not name.startswith("sub-"):
        return name
    pieces = [one for one in name.split("_") if "-" in one]
    return "_".join(one for one in pieces if not one.startswith(_NOT_OF_THE_SCAN))


def _bids_images(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Find the images of BIDS derivatives by the entities of their scans.

    Masks and labels of microbleeds have ``label-CMB``. Regions to ignore have
    ``label-uncertain``.
    """
    label = "label-uncertain" if "ignore" in names else "label-CMB"
    images: dict[str, Path] = {}
    for path in sorted((*folder.glob("sub-*/*/*.nii*"), *folder.glob("sub-*/ses-*/*/*.nii*"))):
        *entities, suffix = (nifti_stem(path.name) or "").split("_")
        if suffix not in ("mask", "dseg") or label.lower() not in map(str.lower, entities):
            continue
        name = scan_entities("_".join([*entities, suffix]))
        _add(images, name, path)
    if not images:
        raise InputRefused(
            f"no images in {folder}: sub-<label>/.../sub-*_{label}_*mask.nii.gz is required"
        )
    return images


def _add(images: dict[str, Path], name: str, path: Path) -> None:
    if name in images:
        raise InputRefused(f"case {name} occurs twice: {images[name]} and {path}")
    images[name] = path


def nested_images(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Find the images ``<case>/<name>.nii.gz`` by case, with the first of `names` that exists."""
    found: dict[str, Path] = {}
    for case in sorted(path for path in folder.iterdir() if path.is_dir()):
        candidates = [case / f"{name}{suffix}" for name in names for suffix in SUFFIXES]
        image = next((one for one in candidates if one.is_file()), None)
        if image is not None:
            found[printable(case.name)] = image
    return found
