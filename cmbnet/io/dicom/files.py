"""The list of DICOM files in a folder, file, zip or DICOMDIR.

Names inside an archive or a DICOMDIR come from a stranger. So no member name becomes a path on
disk, and no reference leaves the folder of its DICOMDIR.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydicom.dataset import Dataset

from cmbnet.errors import InputRefused, UnreadableFile
from cmbnet.io.detect import has_dicom_mark, member_has_dicom_mark, plain_members
from cmbnet.io.dicom.dataset import DicomFile, quiet_pydicom, read_header, unreadable

_DICOMDIR = "DICOMDIR"
_COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one input."""

    files: int = 50_000  # Number of files, DICOM or not
    # Stated size of all members of a zip. The unpacked bytes are counted, too, because the archive
    # may state too little.
    unpacked_bytes: int = 8 << 30
    # Size of all members relative to the archive. Images have two to ten.
    unpacked_ratio: int = 100
    always_bytes: int = 256 << 20  # Size to which an archive of any size may unpack

    def unpacked_of(self, packed_bytes: int) -> int:
        """Return the size to which an archive of that size may unpack."""
        allowed = max(self.unpacked_ratio * packed_bytes, self.always_bytes)
        return min(allowed, self.unpacked_bytes)


DEFAULT_LIMITS = Limits()
"""The default limits. They fit an examination of ten series of 500 slices of 1024x1024."""


@dataclass(frozen=True, slots=True)
class FileSet:
    """The DICOM files of one input."""

    name: str  # Name of the input, the last part of its path
    files: tuple[DicomFile, ...]  # The DICOM files, by path
    others: int = 0  # Number of files without the DICOM mark
    notes: tuple[str, ...] = ()  # Sentences about missing or wrong files


@contextmanager
def open_files(path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> Iterator[FileSet]:
    """List the DICOM files of an input. A zip is unpacked while the context lives.

    Raises:
        UnreadableFile: If there is no such path, or a zip is damaged or encrypted.
        InputRefused: If a limit is exceeded, or there is no DICOM file.
    """
    source = Path(path)
    if not source.exists():
        raise UnreadableFile(
            f"a DICOM folder, zip or DICOMDIR is required, {source.name} is absent"
        )
    if source.is_dir():
        yield _list_folder(source, source.name or source.resolve().name, limits)
    elif zipfile.is_zipfile(source):
        with tempfile.TemporaryDirectory(prefix="cmbnet-") as folder:
            yield _unpack(source, Path(folder), limits)
    elif source.name.upper() == _DICOMDIR:
        yield _follow_dicomdir(source, limits)
    else:
        yield _as_set(source.name, [DicomFile(source, source.name)])


def _as_set(
    name: str, files: list[DicomFile], notes: tuple[str, ...] = (), *, others: int = 0
) -> FileSet:
    """Keep the files with the mark, count the others beside those that were left out before."""
    marked = []
    for file in files:
        try:
            if has_dicom_mark(file.path):
                marked.append(file)
        except OSError as error:
            raise UnreadableFile(f"cannot read {file.name}: {error.strerror}") from error
    if not marked:
        raise InputRefused(
            f"DICOM files are required in {name}, got {len(files) + others} files of which none "
            "bears the mark DICM at byte 128 or starts as a data set without it"
        )
    return FileSet(name, tuple(marked), len(files) - len(marked) + others, notes)


def _list_folder(folder: Path, name: str, limits: Limits) -> FileSet:
    found = (file for file in folder.rglob("*") if file.is_file() and file.name != _DICOMDIR)
    files = list(itertools.islice(found, limits.files + 1))
    if len(files) > limits.files:
        raise InputRefused(f"at most {limits.files} files are read from a folder, {name} has more")
    return _as_set(name, [DicomFile(file, file.name) for file in sorted(files)])


def _unpack(source: Path, folder: Path, limits: Limits) -> FileSet:
    """Copy every DICOM member to a numbered file; refuse by what is stated before any."""
    most = limits.unpacked_of(source.stat().st_size)
    too_much = InputRefused(f"{source.name} unpacks to more than {most >> 20} MiB")
    files: list[DicomFile] = []
    others, left = 0, most
    try:
        with zipfile.ZipFile(source) as archive:
            stated = [info for info in archive.infolist() if not info.is_dir()]
            members = plain_members(archive)
            if len(members) < len(stated):
                raise NotImplementedError("encrypted, or compressed by another method")
            if len(members) > limits.files:
                raise InputRefused(
                    f"at most {limits.files} files are read from a zip, "
                    f"{source.name} has {len(members)}"
                )
            if sum(info.file_size for info in members) > most:
                raise too_much
            for number, info in enumerate(members):
                name = PurePosixPath(info.filename.replace("\\", "/")).name
                if name == _DICOMDIR:
                    continue
                if not member_has_dicom_mark(archive, info):
                    others += 1
                    continue
                target = folder / f"{number:06d}"
                left = copy_member(archive, info, target, left)
                if left < 0:
                    raise too_much
                files.append(DicomFile(target, name))
    # RuntimeError is how zipfile says "encrypted", NotImplementedError "unknown compression".
    except (zipfile.BadZipFile, RuntimeError, EOFError, zlib.error, ValueError) as error:
        raise UnreadableFile(
            f"{source.name} is damaged, encrypted or compressed in an unknown way "
            f"({type(error).__name__}): pack it again as a plain zip"
        ) from error
    return _as_set(source.name, files, others=others)


def copy_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, left: int) -> int:
    """Copy until the end or until more than `left` bytes came; return what is left of them."""
    with archive.open(info) as member, target.open("wb") as copy:
        while chunk := member.read(_COPY_BYTES):
            left -= len(chunk)
            if left < 0:
                break
            copy.write(chunk)
    return left


def _follow_dicomdir(source: Path, limits: Limits) -> FileSet:
    """List the images that a DICOMDIR refers to, below its own folder."""
    catalogue = DicomFile(source, source.name)
    header = read_header(catalogue)
    try:
        with quiet_pydicom():
            references = list(itertools.islice(_references(header), limits.files))
    # As in read_header: values of a damaged file raise nearly anything when looked at.
    except Exception as error:
        raise unreadable(catalogue, error) from error
    root = source.parent.resolve()
    files, missing, outside = [], 0, 0
    for parts in references:
        target = _below(root, parts)
        if target is None:
            outside += 1
        elif not target.is_file():
            missing += 1
        else:
            files.append(DicomFile(target, target.name))
    notes = []
    if missing:
        notes.append(f"{missing} files that the DICOMDIR lists are absent")
    if outside:
        notes.append(f"{outside} references of the DICOMDIR leave its folder: not followed")
    return _as_set(source.name, files, tuple(notes))


def _references(header: Dataset) -> Iterator[tuple[str, ...]]:
    for record in header.get("DirectoryRecordSequence") or []:
        reference = record.get("ReferencedFileID")
        if reference:
            yield (reference,) if isinstance(reference, str) else tuple(map(str, reference))


def _below(root: Path, parts: tuple[str, ...]) -> Path | None:
    """The file that a reference names, None where it leads out of the folder."""
    try:
        target = root.joinpath(*parts).resolve()
    except (ValueError, OSError):  # a zero byte, a loop of links, a name too long
        return None
    return target if target.is_relative_to(root) else None
