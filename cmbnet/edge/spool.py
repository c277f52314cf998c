"""The spool: whole objects on disk, synced before the sender gets 0x0000.

A name appears in ``spool/`` only by the rename of a synced file. It is acknowledged only when the
folder is synced, too. Unfinished files lie in ``incoming/`` and are removed at the next start.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from cmbnet.edge.contents import Contents, contents_of, read_values
from cmbnet.edge.folders import Folders, make_folder, move, sync
from cmbnet.errors import CmbnetError

_UID = re.compile(r"(?=[0-9.]{1,64}$)[0-9]+(?:\.[0-9]+)*")
_SUFFIX = ".dcm"
_VERSION = "~"
"""Separator of UID and digest of the version. A set of names identifies the images of a result."""
_NO_SPACE = 0xA700
_WRONG_OBJECT = 0xA900
_NOT_UNDERSTOOD = 0xC000
_UNREADABLE = "the object cannot be read"
_IDENTITY = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID")


class ObjectRefused(CmbnetError):
    """An object is not kept. The sender learns this and stays responsible for it.

    It has the DIMSE status of the answer (PS3.4 B.2.3). The reason names no patient.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class ObjectConflict(ObjectRefused):
    """An object has the UID of another image. It is unknown which of the two is wrong."""


class Kept(StrEnum):
    """The fate of an acknowledged object."""

    NEW = "new"
    CORRECTED = "corrected"
    """It replaces the same image with another identity, or an incomplete copy."""
    DUPLICATE = "duplicate"
    """It equals a known object, which stays."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity that an object states, on its way into the spool."""

    study: str  # Study Instance UID
    sop_instance: str  # SOP Instance UID


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The images of a study at one moment."""

    names: tuple[str, ...]  # File names, sorted

    @property
    def digest(self) -> str:
        """Digest of the set of images and their versions: SHA-256 of their names."""
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()


@dataclass(eq=False)
class Spool:
    """The spool of a node. Threads may share one."""

    folders: Folders  # Folders of the node
    reserve_bytes: int  # Free space that is left to other programs on the disk
    # Reader of contents. That of a node reads in another process.
    contents: Callable[[Path], Contents] = contents_of
    _moving: threading.RLock = field(init=False, default_factory=threading.RLock)
    """Lock of quarantine and purge, which take a folder away: never between two steps of `keep`."""

    @property
    def full(self) -> bool:
        """Whether free space is below the reserve."""
        return self.folders.free_bytes() < self.reserve_bytes

    @property
    def exhausted(self) -> bool:
        """Whether half of the reserve is gone, too. Running transfers must then be stopped."""
        return self.folders.free_bytes() < self.reserve_bytes // 2

    def keep(self, received: Path, expected: Identity) -> Kept:
        """Take over a received file. When this returns, the file survives a power cut.

        `received` is a whole file in ``incoming/``, `expected` its announced and stated identity.

        Raises:
            ObjectRefused: If the disk is too full, a UID is invalid, or it cannot be read.
            ObjectConflict: If another image has this UID. A copy of this one is in quarantine.
        """
        for uid in (expected.study, expected.sop_instance):
            if not _UID.fullmatch(uid):
                raise ObjectRefused(_WRONG_OBJECT, "the object bears a UID that is none")
        if self.full:
            raise ObjectRefused(_NO_SPACE, "the disk of the node is full up to its reserve")
        try:
            sync(received)
            now = self.contents(received)
            with self._moving:
                folder = self.restore(expected.study)
                make_folder(folder)
                kept = self._place(received, folder, expected.sop_instance, now)
            # Also for a known name: its first sender may still wait for this very sync.
            sync(folder)
        except OSError as error:
            raise ObjectRefused(_NO_SPACE, f"the node cannot write: {error.strerror}") from error
        except ValueError as error:
            raise ObjectRefused(_NOT_UNDERSTOOD, f"{_UNREADABLE}: {error}") from error
        return kept

    def _place(self, received: Path, folder: Path, uid: str, now: Contents) -> Kept:
        """Name a file, after comparing it with files of the same UID."""
        target = folder / f"{uid}{_VERSION}{_digest_of(now)}{_SUFFIX}"
        # An older node wrote no version; a kill while one was replaced leaves two.
        versions = [folder / f"{uid}{_SUFFIX}", *folder.glob(f"{uid}{_VERSION}*")]
        found = [path for path in versions if path.exists()]
        known = sorted(found, key=lambda path: path.stat().st_mtime_ns)
        if not known:
            received.rename(target)
            return Kept.NEW
        last = known[-1]
        before = self.contents(last)
        if now.shows_the_same_as(before) or (now.whole and not before.whole):
            corrected = now.person != before.person or now.whole > before.whole
            kept = Kept.CORRECTED if corrected else Kept.DUPLICATE
        else:
            make_folder(self.folders.conflicts)
            move(received, self.folders.conflicts / target.name)
            raise ObjectConflict(
                _WRONG_OBJECT, "another image bears the UID of this one: a copy is in quarantine"
            )
        if kept is Kept.CORRECTED:
            last = received.rename(target)
            sync(folder)
        for path in known:
            if path != last:
                path.unlink()
        return kept

    def snapshot(self, study: str) -> Snapshot:
        """Return the present images of a study."""
        return _snapshot_of(self.folders.spool / study)

    def link(self, study: str, snapshot: Snapshot, name: str = "study") -> Path:
        """Make a folder with exactly the images of a snapshot, which later images do not change.

        Its files have numbers as names, so messages about them name no UID.

        Raises:
            OSError: If the disk is full, or the images left it.
        """
        target = self.folders.work / name
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(mode=0o700)
        for number, file in enumerate(snapshot.names, start=1):
            os.link(self.folders.spool / study / file, target / f"{number:06d}{_SUFFIX}")
        return target

    def unlink(self) -> None:
        """Remove the folders of `link`, which would keep purged images on the disk."""
        for folder in self.folders.work.iterdir():
            shutil.rmtree(folder, ignore_errors=True)

    def studies(self) -> Iterator[str]:
        """Return the studies with images in the spool."""
        for folder in sorted(self.folders.spool.iterdir()):
            if _UID.fullmatch(folder.name):
                yield folder.name

    def quarantine(self, study: str) -> None:
        """Put the images of a study aside."""
        with self._moving:
            source = self.folders.spool / study
            if source.is_dir():
                move(source, self.folders.quarantine / study)

    def restore(self, study: str) -> Path:
        """Take the images of a study out of quarantine, if they are there. Return their folder."""
        folder, aside = self.folders.spool / study, self.folders.quarantine / study
        with self._moving:
            if aside.is_dir() and not folder.exists():
                move(aside, folder)
        return folder

    def remove(self, study: str, digest: str) -> int:
        """Remove images and results of a study, and return their size in bytes.

        If the images are not those of `digest`, because some came meanwhile, nothing is removed.
        """
        freed = 0
        with self._moving:
            images = self._images(study)
            if _snapshot_of(images).digest != digest:
                return 0
            for folder in (images, self.folders.results / study):
                freed += sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())
                shutil.rmtree(folder, ignore_errors=True)
        return freed

    def used_bytes(self, study: str) -> int:
        """Return the size in bytes of the images of a study."""
        return sum(one.stat().st_size for one in self._images(study).glob(f"*{_SUFFIX}"))

    def forget_conflicts(self, before: float) -> None:
        """Remove objects that were put aside as conflicts before a Unix time."""
        for path in self.folders.conflicts.glob(f"*{_SUFFIX}"):
            if path.stat().st_mtime < before:
                path.unlink()

    def _images(self, study: str) -> Path:
        """Return the folder of the images of a study, in the spool or in quarantine."""
        aside, folder = self.folders.quarantine / study, self.folders.spool / study
        return aside if aside.is_dir() and not folder.exists() else folder


def identify(
    path: Path,
    announced_class: str,
    announced_instance: str,
    values: Callable[[Path, tuple[str, ...]], dict[str, str]] = read_values,
) -> Identity:
    """Read the identity of an object and compare it with the announced one.

    Only the first elements are read, up to the study.
    The reader of elements of a node reads in another process.

    Raises:
        ObjectRefused: If it is no DICOM object, belongs to no study, or is not the announced one.
    """
    try:
        found = values(path, _IDENTITY)
    except (ValueError, OSError) as error:
        raise ObjectRefused(_NOT_UNDERSTOOD, f"{_UNREADABLE}: {error}") from error
    sop_class, sop_instance, study = (found[keyword] for keyword in _IDENTITY)
    if not study:
        raise ObjectRefused(_NOT_UNDERSTOOD, "the object states no study")
    if (sop_class, sop_instance) != (announced_class, announced_instance):
        raise ObjectRefused(_WRONG_OBJECT, "the object is another than the one announced")
    return Identity(study, sop_instance)


def _snapshot_of(folder: Path) -> Snapshot:
    return Snapshot(tuple(sorted(path.name for path in folder.glob(f"*{_SUFFIX}"))))


def _digest_of(found: Contents) -> str:
    parts = "\n".join((found.person, found.grid, found.pixels, str(found.whole)))
    return hashlib.sha256(parts.encode()).hexdigest()[:12]
