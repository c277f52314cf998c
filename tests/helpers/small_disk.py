"""A file system of its own, in memory, that a test can fill."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def _mount(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    words = ["mount", "-t", "tmpfs", "-o", ",".join(options), "cmbnet-test", str(folder)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@contextmanager
def small_disk_in(parent: Path, size: str) -> Iterator[Path]:
    """Mount a file system of a size such as 16m, and skip the test where that is forbidden."""
    folder = parent / "disk"
    folder.mkdir()
    done = _mount(folder, f"size={size}")
    if done.returncode:
        pytest.skip(f"no file system may be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def resize(folder: Path, size: str) -> None:
    """Give it another size."""
    assert _mount(folder, "remount", f"size={size}").returncode == 0
