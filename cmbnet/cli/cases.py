"""From the arguments of a command to cases: files, folders and patterns become named inputs.

One NIfTI file is a case, and so is one DICOM folder, zip, DICOMDIR or file as a whole.
"""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from cmbnet.errors import UsageError
from cmbnet.io.case import Case
from cmbnet.io.scan import NIFTI_SUFFIXES, is_dicom

_MAGIC = re.compile(r"[*?\[]")


def collect_cases(inputs: Sequence[str], *, brain_mask: Path | None = None) -> list[Case]:
    """Find the files that are meant and give each a name of its own.

    A case is named after its file. Files of the same name are told apart by as many of the
    folders above them as that takes; what differs by its suffix alone is refused. A DICOM input
    is named by what of its name is no patient's, and by its study.

    Args:
        inputs: Files, folders (the NIfTI files in them, not below; where there are none, all
            DICOM files in and below them are one input) and patterns with ``*``, ``?``,
            ``[...]`` and ``**`` for NIfTI files, DICOM folders and zips.
        brain_mask: A mask file, for one input; or a folder that holds a mask of the same name
            for every input (for DICOM, of the name of the case).

    Returns:
        Cases, each file once, in the order given.

    Raises:
        UsageError: If an input does not exist or holds no scan, names collide, or a mask is
            missing.
        MissingExtra: An input is DICOM, and pydicom is not installed.
    """
    files = list(dict.fromkeys(file for given in inputs for file in _files(given)))
    dicom = {file: _dicom_case(file) for file in files if is_dicom(file)}
    nifti = [file for file in files if file not in dicom]
    cases = dict(zip(nifti, map(Case, _names(nifti), nifti), strict=True)) | dicom
    _refuse_collisions(cases[file] for file in files)
    return _with_masks([cases[file] for file in files], brain_mask)


def _dicom_case(path: Path) -> Case:
    from cmbnet.io.dicom.naming import safe_name

    safe = safe_name(path)
    return Case(safe.name, path, shown=safe.name, identifiers=safe.identifiers)


def _files(given: str) -> list[Path]:
    path = Path(given)
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if _is_nifti(file))
        if not found and not is_dicom(path):
            raise UsageError(f"folder {given} holds no .nii or .nii.gz file and no DICOM file")
        return found or [path]
    if path.exists():
        return [path]
    if _MAGIC.search(given):
        found = sorted(Path(name) for name in glob.glob(given, recursive=True))  # noqa: PTH207
        found = _scans(found)
        if not found:
            raise UsageError(f"no .nii or .nii.gz file, DICOM folder or zip matches {given}")
        return found
    raise UsageError(f"input {given} does not exist")


def _scans(found: Iterable[Path]) -> list[Path]:
    """The scans among matches; a folder that is taken covers all DICOM files below it."""
    scans: list[Path] = []
    for path in found:
        covered = any(path.is_relative_to(scan) for scan in scans)
        if _is_nifti(path) or (not covered and _is_dicom_set(path)):
            scans.append(path)
    return scans


def _is_dicom_set(path: Path) -> bool:
    """A folder or zip of DICOM files; single slices are no scans."""
    if path.is_dir():
        return not any(map(_is_nifti, path.iterdir())) and is_dicom(path)
    return path.suffix.lower() == ".zip" and is_dicom(path)


def _is_nifti(file: Path) -> bool:
    return file.is_file() and file.name.endswith(NIFTI_SUFFIXES) and not file.name.startswith(".")


def _names(files: Sequence[Path]) -> list[str]:
    """A name a file; equal ones get the folders above in front, one more each round."""
    paths = [file.resolve() for file in files]
    names = [_name(path.name) for path in paths]
    for depth in range(2, max((len(path.parts) for path in paths), default=0)):
        often = Counter(name.casefold() for name in names)
        if max(often.values()) == 1:
            break
        names = [
            _name("_".join(path.parts[-depth:])) if often[name.casefold()] > 1 else name
            for name, path in zip(names, paths, strict=True)
        ]
    return names


def _name(file: str) -> str:
    """A name that is harmless as a folder, in a table and on a page."""
    for suffix in NIFTI_SUFFIXES:
        file = file.removesuffix(suffix)
    return re.sub(r"[^\w.-]", "_", file).lstrip(".-") or "case"


def _refuse_collisions(cases: Iterable[Case]) -> None:
    taken: dict[str, Path] = {"summary.csv": Path("summary.csv")}
    for case in cases:
        other = taken.setdefault(case.name.casefold(), case.path)
        if other is not case.path:
            raise UsageError(
                f"{other} and {case.path} would both be written to the folder {case.name}; "
                "rename one or run them into different output folders"
            )


def _with_masks(cases: list[Case], brain_mask: Path | None) -> list[Case]:
    if brain_mask is None:
        return cases
    if brain_mask.is_dir():
        masks = [brain_mask / _mask_name(case) for case in cases]
    elif len(cases) == 1:
        masks = [brain_mask]
    else:
        raise UsageError(
            f"one brain mask file fits one scan, got {len(cases)} scans; give a folder that holds "
            "a mask of the same file name for each"
        )
    for mask in masks:
        if not mask.is_file():
            raise UsageError(f"brain mask {mask} does not exist")
    return [replace(case, brain_mask=mask) for case, mask in zip(cases, masks, strict=True)]


def _mask_name(case: Case) -> str:
    return f"{case.name}.nii.gz" if case.dicom else case.path.name
