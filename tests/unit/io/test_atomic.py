import io
import os
from pathlib import Path

import pytest

from cmbnet.io import write_bytes_atomically, write_text_atomically


def test_writes_replaces_and_makes_folders(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "file.bin"
    write_bytes_atomically(target, b"first")
    write_bytes_atomically(target, b"second")
    assert target.read_bytes() == b"second"
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]


def test_text_is_utf8_with_line_ends_as_given(tmp_path: Path) -> None:
    write_text_atomically(tmp_path / "t.txt", "5 \N{MICRO SIGN}m\n")
    assert (tmp_path / "t.txt").read_bytes() == b"5 \xc2\xb5m\n"


def test_failed_write_leaves_the_old_file_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_bytes_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]


def test_file_has_the_mode_that_open_would_give(tmp_path: Path) -> None:
    (tmp_path / "opened").write_bytes(b"")
    write_bytes_atomically(tmp_path / "atomic", b"")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "opened").stat().st_mode


def test_the_umask_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to the process: another thread would make its files by what is set here."""

    def set_umask(mask: int) -> int:
        raise AssertionError(f"the umask was set to {mask:o}")

    monkeypatch.setattr(os, "umask", set_umask)
    write_bytes_atomically(tmp_path / "file.bin", b"")


def test_a_fault_names_the_file_that_was_to_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    target = tmp_path / "file" / "below"
    with pytest.raises(OSError, match="File exists") as error:
        write_bytes_atomically(target, b"")
    assert error.value.filename == str(target)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "open", lambda *_: io.FileIO("/dev/full", "w"))
    with pytest.raises(OSError, match="No space left") as error:
        write_bytes_atomically(tmp_path / "mask.nii.gz", b"content")
    assert error.value.filename == str(tmp_path / "mask.nii.gz")
