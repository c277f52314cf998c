"""The folders of a node, below one root on one file system, and moves that survive a power cut."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


class Folders:
    """The folders and files of a node."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.incoming = root / "incoming"
        """Objects that are being received. It is emptied at every start."""
        self.spool = root / "spool"
        """Acknowledged objects: ``<study uid>/<sop uid>~<version>.dcm``, each whole."""
        self.work = root / "work"
        """Hard links to the objects of a study, for the worker. It is emptied at every start."""
        self.results = root / "results"
        """Objects that the worker made: ``<study uid>/<run>/*.dcm``."""
        self.quarantine = root / "quarantine"
        """Studies on which the worker failed too often."""
        self.conflicts = self.quarantine / "conflicts"
        """Objects that have the UID of another image."""
        self.journal = root / "journal.sqlite"
        self.alive = root / "alive"
        """File whose time says when the node last worked."""
        self.lock = root / "node.lock"
        """Lock of the node that runs on this root."""

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


def sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder that survives a power cut."""
    if not path.is_dir():
        path.mkdir(mode=0o700, exist_ok=True)
        sync(path.parent)


def move(source: Path, target: Path) -> None:
    """Rename within the file system, and return when the disk has it."""
    source.rename(target)
    sync(target.parent)
    if source.parent != target.parent:
        sync(source.parent)
