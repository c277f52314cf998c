"""Files that are either whole or absent: written under another name, synced, renamed."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

_NEW_FILE_MODE = 0o666  # before the umask, as open() does; mkstemp alone would give 0o600


def write_bytes_atomically(path: str | os.PathLike[str], data: bytes | memoryview) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Args:
        path: Where to write; missing parent folders are made, an old file is replaced.
        data: The whole content.

    Raises:
        OSError: If the file system refuses; the old file is then untouched.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder: a rename across file systems is not atomic.
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix="~")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(_NEW_FILE_MODE & ~_umask())
        Path(temporary).replace(target)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
    _sync_folder(target.parent)


def write_text_atomically(path: str | os.PathLike[str], text: str) -> None:
    """Write text as UTF-8, line endings as given; see `write_bytes_atomically`."""
    write_bytes_atomically(path, text.encode("utf-8"))


def _umask() -> int:
    """The umask of this process; reading it means setting it for a moment."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the platform can (not on Windows)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
