"""The folders of a node, below one root on one file system, and moves that survive a power cut."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders of a node.

    Args:
        root: Root of all folders.
    """

    root: Path

    @property
    def incoming(self) -> Path:
        """Objects that are being received. It is emptied at every start."""
        return self.root / "incoming"

    @property
    def spool(self) -> Path:
        """Acknowledged objects: ``<study uid>/<sop uid>~<version>.dcm``, each whole."""
        return self.root / "spool"

    @property
    def work(self) -> Path:
        """Hard links to the objects of a study, for the worker. It is emptied at every start."""
        return self.root / "work"

    @property
    def results(self) -> Path:
        """Objects that the worker made: ``<study uid>/<run>/*.dcm``."""
        return self.root / "results"

    @property
    def quarantine(self) -> Path:
        """Studies on which the worker failed too often."""
        return self.root / "quarantine"

    @property
    def conflicts(self) -> Path:
        """Objects that have the UID of another image."""
        return self.quarantine / "conflicts"

    @property
    def journal(self) -> Path:
        """File of the journal."""
        return self.root / "journal.sqlite"

    @property
    def alive(self) -> Path:
        """File whose time says when the node last worked."""
        return self.root / "alive"

    @property
    def lock(self) -> Path:
        """Lock of the node that runs on this root."""
        return self.root / "node.lock"

    def make(self) -> None:
        """Make missing folders, for the node's user only, and remove unfinished objects.

        Raises:
            OSError: If the root cannot be written.
        """
        for folder in (self.incoming, self.work):
            shutil.rmtree(folder, ignore_errors=True)
        for folder in (self.incoming, self.spool, self.work, self.results, self.quarantine):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def free_bytes(self) -> int:
        """Return the number of bytes that the node has left on its file system."""
        found = os.statvfs(self.root)
        return found.f_bavail * found.f_frsize


def sync_file(path: Path) -> None:
    """Wait until the content of a file is on the disk."""
    _sync(path, os.O_RDONLY)


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def make_folder(path: Path) -> None:
    """Make a folder that survives a power cut."""
    if not path.is_dir():
        path.mkdir(mode=0o700, exist_ok=True)
        sync_folder(path.parent)


def move(source: Path, target: Path) -> None:
    """Rename within the file system, and return when the disk has it."""
    source.rename(target)
    sync_folder(target.parent)
    if source.parent != target.parent:
        sync_folder(source.parent)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
