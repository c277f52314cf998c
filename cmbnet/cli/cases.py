"""Turn the files, folders and patterns of a command line into cases with names.

One NIfTI file is a case, and so is one DICOM folder, zip, DICOMDIR or file as a whole.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from cmbnet.bids.find import find_sessions, is_bids
from cmbnet.errors import UsageError
from cmbnet.io.bids import why_no_scan
from cmbnet.io.case import Case
from cmbnet.io.digest import content_sha256
from cmbnet.io.scan import is_dicom, nifti_stem

_MAGIC = re.compile(r"[*?\[]")
_DIGITS = 8
"""Length of a hash that tells equal names apart."""


def collect_cases(
    inputs: Sequence[str],
    *,
    brain_mask: Path | None = None,
    phase: Path | None = None,
    root: Path | None = None,
    side: str | None = None,
    say: Callable[[str], None] = print,
) -> list[Case]:
    """Find the scans of the inputs and give each case a name of its own.

    A case has the name of its file, even if the file is a link. If files have the same name, as
    many of the folders above them are put in front as are needed to tell them apart. If names
    differ only in characters that a folder cannot have, a hash is added. Names that differ only in
    their suffix are refused. A DICOM input gets a name without a patient, and its study.

    Args:
        inputs: Files, folders and patterns. A folder stands for the NIfTI files in it (not below).
            If it has none, all DICOM files in and below it are one input. Of a BIDS data set, the
            scans are found. Patterns with ``*``, ``?``, ``[...]`` and ``**`` match NIfTI files,
            DICOM folders and zips.
        brain_mask: For one input, a mask file. For several, a folder that has a mask for each input
            with the same file name (for DICOM, with the name of the case).
        phase: Phase, in the same way. Without it, a BIDS ``part-mag`` gets its ``part-phase``.
        root: Folder of the scans of an input that is a data spec.
        side: Side of the split of a data spec or cache. None takes all scans.
        say: Function that receives a sentence about everything that is left out: files that are no
            scans by their name, links to nothing and, among several inputs, folders without scans.

    Returns:
        The cases in the order of the inputs. Each file occurs once.

    Raises:
        UsageError: If an input does not exist, there is no scan, names collide, or a mask is
            missing.
        MissingExtra: If an input is DICOM and pydicom is not installed.
    """
    of_bids: dict[Path, Path | None] = {}
    of_spec = {Path(given): _of_spec(Path(given), root, side) for given in inputs}
    named = {file: name for scans in of_spec.values() for file, name in scans.items()}
    found = [
        list(of_spec[Path(given)]) or _files(given, of_bids, say, alone=len(inputs) == 1)
        for given in inputs
    ]
    files = list({_absolute(file): file for group in found for file in group}.values())
    if not files:
        raise UsageError(f"a scan is required, got none in {', '.join(inputs)}")
    dicom = {file: _dicom_case(file) for file in files if is_dicom(file)}
    nifti = [file for file in files if file not in dicom]
    names = [named.get(file, name) for file, name in zip(nifti, _names(nifti), strict=True)]
    cases = dict(zip(nifti, map(Case, names, nifti), strict=True)) | _told_apart(dicom)
    _refuse_collisions(cases[file] for file in files)
    chosen = [cases[file] for file in files]
    masks = _beside(chosen, brain_mask, "brain mask")
    phases = (
        _beside(chosen, phase, "phase")
        if phase
        else [of_bids.get(case.path) or _bids_phase(case) for case in chosen]
    )
    together = zip(chosen, masks, phases, strict=True)
    return [replace(case, brain_mask=mask, phase=turned) for case, mask, turned in together]


def _absolute(file: Path) -> Path:
    """Return the absolute path without following links."""
    return Path(os.path.abspath(file))  # noqa: PTH100  # resolve() follows links


def _dicom_case(path: Path) -> Case:
    from cmbnet.io.dicom.naming import safe_name

    safe = safe_name(path)
    return Case(safe.name, path, shown=safe.name, identifiers=safe.identifiers)


def _told_apart(cases: dict[Path, Case]) -> dict[Path, Case]:
    """Add a hash of the files to DICOM inputs of one name and study, such as two halves of it."""
    often = Counter(case.name.casefold() for case in cases.values())
    apart = dict(cases)
    for path, case in cases.items():
        if often[case.name.casefold()] > 1:
            name = f"{case.name}-{content_sha256(path)[:_DIGITS]}"
            apart[path] = replace(case, name=name, shown=name)
    return apart


def _files(
    given: str, phases: dict[Path, Path | None], say: Callable[[str], None], *, alone: bool
) -> list[Path]:
    path = Path(given)
    if path.is_dir():
        if is_bids(path):
            return _bids_scans(path, phases, say)
        found = _scans_by_name(_listed(path), say)
        if found or is_dicom(path):
            return found or [path]
        none = f"folder {given} holds no .nii or .nii.gz file and no DICOM file"
        if alone:
            raise UsageError(none)
        say(f"{none}: it is left out")
        return []
    if path.exists():
        return [path]
    if _MAGIC.search(given):
        found = sorted(Path(name) for name in glob.glob(given, recursive=True))  # noqa: PTH207
        found = _scans(_scans_by_name(found, say))
        if not found:
            raise UsageError(f"no .nii or .nii.gz file, DICOM folder or zip matches {given}")
        return found
    if path.is_symlink():
        raise UsageError(f"input {given} is a link to nothing; fetch its file first")
    raise UsageError(f"input {given} does not exist")


def _of_spec(path: Path, root: Path | None, side: str | None) -> dict[Path, str]:
    """Return the scans of a data spec or cache with names, or nothing if the path is neither."""
    folders = (path, path.parent) if path.is_dir() else ()
    of_cache = any((folder / "cache.json").is_file() for folder in folders)
    if path.suffix not in (".yaml", ".yml") and not of_cache:
        return {}
    from cmbnet.training.data.labelled import read_labelled

    scans = read_labelled(path, root, side=side)
    others = () if side else scans.unlabelled
    scans_of = [*((case.name, case.image) for case in scans.cases), *others]
    return {image: _name(name) for name, image in scans_of}


def _bids_scans(
    root: Path, phases: dict[Path, Path | None], say: Callable[[str], None]
) -> list[Path]:
    """Return the scans of a BIDS data set, and note their phases."""
    sessions = find_sessions(root)
    found = {scan.path: scan.phase for session in sessions for scan in session.scans}
    phases |= found
    for session in sessions:
        for path, why in session.left_out:
            say(f"{path} is {why} by its name: it is left out")
        if session.reason:
            say(f"{session.name} is left out: {session.reason}")
    return list(found)


def _listed(folder: Path) -> list[Path]:
    """Return the NIfTI files and links of a folder, except hidden ones."""
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        raise UsageError(f"folder {folder} cannot be read ({error.strerror or error})") from error
    return [file for file in files if nifti_stem(file.name) and not file.is_dir()]


def _scans_by_name(files: Iterable[Path], say: Callable[[str], None]) -> list[Path]:
    """Return the files that may be scans by their name, and all that are not NIfTI files."""
    scans = []
    for file in files:
        stem = nifti_stem(file.name)
        why = None if stem is None else why_no_scan(stem)
        if stem is not None and file.name.startswith("."):
            continue
        if why is not None:
            say(f"{file} is {why} by its name: it is left out")
        elif file.is_symlink() and not file.exists():
            say(f"{file} is a link to nothing: it is left out; fetch its file first")
        else:
            scans.append(file)
    return scans


def _scans(found: Iterable[Path]) -> list[Path]:
    """Return the scans among matches. A folder covers all DICOM files below it."""
    scans: list[Path] = []
    for path in found:
        covered = any(path.is_relative_to(scan) for scan in scans)
        if _is_nifti(path) or (not covered and _is_dicom_set(path)):
            scans.append(path)
    return scans


def _is_dicom_set(path: Path) -> bool:
    """Return whether a path is a folder or zip of DICOM files. A single slice is no scan."""
    if path.is_dir():
        return not any(map(_is_nifti, path.iterdir())) and is_dicom(path)
    return path.suffix.lower() == ".zip" and is_dicom(path)


def _is_nifti(file: Path) -> bool:
    return bool(nifti_stem(file.name)) and file.is_file() and not file.name.startswith(".")


def _names(files: Sequence[Path]) -> list[str]:
    """Name each file. Equal names get the folders above in front, one more in each round."""
    paths = [_absolute(file) for file in files]
    alike = Counter((path.parent, _name(path.name).casefold()) for path in paths)
    paths = [
        _with_hash(path) if alike[path.parent, _name(path.name).casefold()] > 1 else path
        for path in paths
    ]
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


def _with_hash(path: Path) -> Path:
    """Add a hash to a name with harmful characters, which tells ``a b`` from ``a_b``."""
    stem = nifti_stem(path.name) or path.name
    if _name(stem) == stem:
        return path
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()
    return path.with_name(f"{_name(stem)}-{digest[:_DIGITS]}")


def _name(file: str) -> str:
    """Make a name that is harmless as a folder, in a table and on a page."""
    stem = nifti_stem(file)
    return re.sub(r"[^\w.-]", "_", file if stem is None else stem).lstrip(".-") or "case"


def _refuse_collisions(cases: Iterable[Case]) -> None:
    taken: dict[str, Path] = {"summary.csv": Path("summary.csv")}
    for case in cases:
        other = taken.setdefault(case.name.casefold(), case.path)
        if other is not case.path:
            raise UsageError(
                f"{other} and {case.path} would both be written to the folder {case.name}; "
                "rename one or run them into different output folders"
            )


def _beside(cases: list[Case], given: Path | None, what: str) -> Sequence[Path | None]:
    """The brain mask or phase of each case."""
    if given is None:
        return [None] * len(cases)
    if given.is_dir():
        files = [given / _name_beside(case) for case in cases]
    elif len(cases) == 1:
        files = [given]
    else:
        raise UsageError(
            f"one {what} file fits one scan, got {len(cases)} scans; give a folder that holds "
            f"a {what.split()[-1]} of the same file name for each"
        )
    for file in files:
        if not file.is_file():
            raise UsageError(f"{what} {file} does not exist")
    return files


def _name_beside(case: Case) -> str:
    return f"{case.name}.nii.gz" if case.dicom else case.path.name


def _bids_phase(case: Case) -> Path | None:
    """``part-phase`` beside a NIfTI file whose name says ``part-mag``."""
    name = case.path.name
    file = case.path.with_name(name.replace("_part-mag_", "_part-phase_"))
    return file if not case.dicom and file.name != name and file.is_file() else None
