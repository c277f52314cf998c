"""Atomic writing: a file is written under a temporary name, synced and renamed."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path


def write_bytes_atomically(path: str | os.PathLike[str], data: bytes | memoryview) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Missing parent folders are made, and an old file is replaced.

    Raises:
        OSError: If the file system refuses. The old file is then untouched, and `filename` is the
            path.
    """
    target = Path(path)
    # In the same folder: a rename across file systems is not atomic.
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}~")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as stream:  # with the mode that the umask leaves
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):  # a full disk names no file, others the temporary one
            error.filename, error.filename2 = str(target), None
        raise
    _sync_folder(target.parent)


def write_text_atomically(path: str | os.PathLike[str], text: str) -> None:
    """Write text as UTF-8 with its line endings; see `write_bytes_atomically`."""
    write_bytes_atomically(path, text.encode("utf-8"))


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, if the platform can (not on Windows)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name in one step, or copy it where the file system has no links."""
    with suppress(OSError):
        if target.samefile(source):  # a rename onto itself would leave the temporary name
            return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}~")
    try:
        temporary.hardlink_to(source)
    except OSError:
        write_bytes_atomically(target, source.read_bytes())
    else:
        temporary.replace(target)
