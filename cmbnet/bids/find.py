"""Find the scans of a BIDS data set by walking its tree.

Names decide, and no file is opened. BIDS has no suffix for SWI yet, so several spellings are taken.

References:
    BIDS 1.10 (bids-specification.readthedocs.io); BEP004 for ``swi/``, ``swi`` and ``GRE``; BIDS
    Apps, doi:10.1371/journal.pcbi.1005209, for the labels of participants.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from cmbnet.errors import UsageError
from cmbnet.io.bids import why_no_scan
from cmbnet.io.scan import nifti_stem

DESCRIPTION: Final = "dataset_description.json"
FOLDERS: Final = ("anat", "swi")
"""Folders of a session that hold scans. ``swi`` is that of BEP004."""


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan of a data set."""

    path: Path
    phase: Path | None = None  # Phase of the same acquisition

    @property
    def name(self) -> str:
        """Its name without the suffix, which is unique in a data set."""
        return nifti_stem(self.path.name) or self.path.name


@dataclass(frozen=True, slots=True)
class Session:
    """What a session of a subject holds. Without sessions there is one with an empty label."""

    subject: str  # Label without ``sub-``
    session: str  # Label without ``ses-``, or empty
    scans: tuple[Scan, ...] = ()  # One for each run
    left_out: tuple[tuple[Path, str], ...] = ()  # Images that are no scans, and why
    # Why there is no scan: its names are refused, or its folder failed to be read.
    reason: str = ""
    status: Literal["refused", "failed"] = "refused"
    argument: str = ""  # Name of the argument by which the caller can decide otherwise

    @property
    def name(self) -> str:
        """Beginning of the names of its files."""
        return f"sub-{self.subject}" + (f"_ses-{self.session}" if self.session else "")


def is_bids(folder: Path) -> bool:
    """Return whether a folder looks like a BIDS data set: its description and a subject."""
    if not (folder / DESCRIPTION).is_file():
        return False
    with os.scandir(folder) as entries:
        return any(one.name.startswith("sub-") and one.is_dir() for one in entries)


def require_bids(folder: Path) -> None:
    """Check the description of a data set.

    Raises:
        UsageError: If it is missing, or is no JSON object with Name and BIDSVersion.
    """
    file = folder / DESCRIPTION
    try:
        content = json.loads(file.read_bytes())
        missing = [key for key in ("Name", "BIDSVersion") if not content.get(key)]
        fault = f"lacks {' and '.join(missing)}" if missing else ""
    except FileNotFoundError:
        fault = "does not exist"
    except (OSError, ValueError, AttributeError) as error:
        fault = f"is no JSON object ({error})"
    if fault:
        raise UsageError(
            f"a BIDS data set is required, but {file} {fault}; without the check its names alone "
            "are read",
            argument="skip_bids_validation",
        )


def find_sessions(
    root: Path,
    *,
    participants: Sequence[str] = (),
    sessions: Sequence[str] = (),
    select: Collection[str] = (),
) -> list[Session]:
    """Find the sessions of a data set with their scans.

    Of each session the best kind of image is taken: the suffix ``swi``, or else a ``T2starw`` or
    ``GRE`` whose ``acq`` names SWI, or else any ``T2starw``, or else any ``GRE``. Several runs are
    several scans. Several images that differ otherwise, such as in their echo, are refused.

    Args:
        root: Folder of the data set.
        participants: Labels of subjects, with or without ``sub-``. None stands for all.
        sessions: Labels of sessions, with or without ``ses-``. None stands for all.
        select: Parts of names, such as ``echo-2``, that every scan must have.

    Returns:
        The sessions, sorted by subject and session.

    Raises:
        UsageError: If there is no subject, or a label does not exist.
    """
    subjects = _folders(root, "sub-")
    if not subjects:
        raise UsageError(f"a BIDS data set is required, but {root} has no folder sub-<label>")
    wanted = _wanted(participants, "sub-", subjects, root)
    found = [
        session
        for label in wanted
        for session in _sessions_of(subjects[label], label, sessions, select)
    ]
    if sessions:
        _wanted(sessions, "ses-", {one.session for one in found}, root)
    return found


def _folders(parent: Path, prefix: str) -> dict[str, Path]:
    with os.scandir(parent) as entries:
        names = sorted(one.name for one in entries if one.name.startswith(prefix) and one.is_dir())
    return {name.removeprefix(prefix): parent / name for name in names}


def _wanted(
    labels: Sequence[str], prefix: str, known: Collection[str], root: Path
) -> Collection[str]:
    asked = dict.fromkeys(label.removeprefix(prefix) for label in labels)
    missing = [label for label in asked if label not in known]
    if missing:
        raise UsageError(f"{root} has no {prefix}{f', {prefix}'.join(missing)}")
    return asked or known


def _sessions_of(
    folder: Path, subject: str, sessions: Sequence[str], select: Collection[str]
) -> Iterator[Session]:
    try:
        inner = _folders(folder, "ses-") or {"": folder}
    except OSError as error:
        yield Session(subject, "", reason=_unreadable(error), status="failed")
        return
    asked = {label.removeprefix("ses-") for label in sessions}
    for label, place in inner.items():
        if asked and label not in asked:
            continue
        try:
            yield _session(place, subject, label, select)
        except OSError as error:
            yield Session(subject, label, reason=_unreadable(error), status="failed")


def _unreadable(error: OSError) -> str:
    return f"{error.filename} cannot be read ({error.strerror or error})"


def _session(place: Path, subject: str, label: str, select: Collection[str]) -> Session:
    images = list(_images(place))
    left_out = [(path, why) for path, stem in images if (why := why_no_scan(stem))]
    barred = {path for path, _ in left_out}
    ranked = [
        (rank, path, stem)
        for path, stem in images
        if path not in barred and (rank := _rank(stem)) is not None
    ]
    chosen = [one for one in ranked if set(select) <= set(one[2].split("_"))]
    best = min((rank for rank, _, _ in chosen), default=None)
    taken = [(path, stem) for rank, path, stem in chosen if rank == best]
    reason = _why_none(place, ranked=len(ranked), select=select) if not taken else _ambiguous(taken)
    if reason:
        argument = "select" if ranked else ""
        return Session(subject, label, (), tuple(left_out), reason, argument=argument)
    phases = [path for path, stem in images if "part-phase" in stem.split("_")]
    scans = tuple(Scan(path, _phase_of(stem, phases)) for path, stem in sorted(taken))
    return Session(subject, label, scans, tuple(left_out))


def _images(place: Path) -> Iterator[tuple[Path, str]]:
    """Yield the NIfTI files of a session with their stems."""
    with os.scandir(place) as entries:
        folders = sorted(one.path for one in entries if one.name in FOLDERS and one.is_dir())
    for folder in folders:
        with os.scandir(folder) as entries:
            names = sorted(one.name for one in entries if not one.name.startswith("."))
        for name in names:
            stem = nifti_stem(name)
            if stem is not None:
                yield Path(folder, name), stem


def _rank(stem: str) -> int | None:
    """Return how surely a name is that of an SWI: 0 is the best. None is no candidate."""
    *pieces, suffix = stem.split("_")
    suffix = suffix.lower()
    if suffix == "swi":
        return 0
    if suffix not in ("t2starw", "gre"):
        return None
    if any(piece.startswith("acq-") and "swi" in piece.lower() for piece in pieces):
        return 1
    return 2 if suffix == "t2starw" else 3


def _why_none(place: Path, *, ranked: int, select: Collection[str]) -> str:
    if ranked:
        return f"none of the {ranked} candidates in {place} has {' and '.join(sorted(select))}"
    return (
        f"{place} holds no SWI; accepted are anat/*_swi, swi/*_swi, acq-*SWI*_T2starw, T2starw "
        "and part-mag_GRE (.nii, .nii.gz)"
    )


def _ambiguous(taken: Sequence[tuple[Path, str]]) -> str:
    """Say that images are several candidates and not only several runs."""
    kinds = {_without(stem, "run-") for _, stem in taken}
    names = {path.name for path, _ in taken}
    if len(kinds) == 1 and len({stem for _, stem in taken}) == len(taken):
        return ""
    return (
        f"one SWI per run is required, got {len(taken)} candidates: {', '.join(sorted(names))}; "
        "name the one to read by a part of its name, such as echo-2 or acq-high"
    )


def _without(stem: str, *prefixes: str) -> tuple[str, ...]:
    return tuple(piece for piece in stem.split("_") if not piece.startswith(prefixes))


def _phase_of(stem: str, phases: Sequence[Path]) -> Path | None:
    """Return the phase that has the entities of a scan, with its suffix or the only other one."""
    entities = _without(stem, "part-")
    same: list[Path] = []
    other: list[Path] = []
    for path in phases:
        its = _without(nifti_stem(path.name) or "", "part-")
        if its[:-1] == entities[:-1]:
            (same if its == entities else other).append(path)
    found = same or other
    return found[0] if len(found) == 1 else None


def names_outside_bids(session: Session) -> bool:
    """Return whether scans of a session have names that BIDS 1.10 does not have."""
    return any(_rank(one.name) in (0, 3) or one.path.parent.name == "swi" for one in session.scans)


NO_BIDS: Final = (
    "BIDS 1.10 has no names for SWI; for a validator, put these lines into .bidsignore of the data "
    "set: *_swi.* *_minIP.* *_GRE.* **/swi/"
)
