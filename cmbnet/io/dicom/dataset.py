"""Reading of one DICOM file into a pydicom `Dataset`. Every fault becomes a `CmbnetError`.

Messages and warnings of the parser may quote the file, even a patient's name. So only the kind of
fault is passed on.
"""

from __future__ import annotations

import logging
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import FileDataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from cmbnet.errors import UnreadableFile
from cmbnet.io.detect import has_dicom_mark


@dataclass(frozen=True, slots=True)
class DicomFile:
    """A file with the DICOM mark."""

    path: Path  # Its path, perhaps in a temporary folder
    name: str  # Its own name, for messages


MOST_INFLATED = 100
"""Largest factor by which a deflated file may grow. Images need two to ten."""

_INFLATED_BYTES = 64 << 20
_INFLATED_STEP = 1 << 20
_META_BYTES = 1024

_ONE_AT_A_TIME = threading.RLock()
"""Filters of warnings and pydicom's settings belong to the process: a thread that put them back
while another still parses would let that one speak."""


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Hold back pydicom's warnings and log lines, which quote values of the header."""
    with _ONE_AT_A_TIME, _quiet():
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("pydicom")
    level = logger.level
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)


def read_header(
    file: DicomFile, *, pixels: bool = False, only: list[str] | None = None
) -> FileDataset:
    """Read a file up to its pixels, or with them.

    `only` names the keywords to keep; None keeps all.

    Raises:
        UnreadableFile: If it is damaged or states no transfer syntax. A file without preamble and
            file meta information may lack it.
    """
    try:
        _check_inflated(file.path)
        with quiet_pydicom():
            header = pydicom.dcmread(
                file.path,
                stop_before_pixels=not pixels,
                specific_tags=only,
                force=has_dicom_mark(file.path),  # it may begin without preamble
            )
            if not header.preamble and not header.file_meta:
                header.file_meta.TransferSyntaxUID = _guessed_syntax(header)
            syntax = header.file_meta.get("TransferSyntaxUID")
    except UnreadableFile as error:
        raise UnreadableFile(f"{file.name} {error}") from None
    # A mutated header makes the parser raise nearly anything: struct.error, KeyError,
    # LookupError (character set), RecursionError...
    except Exception as error:
        raise unreadable(file, error) from error
    if not syntax:
        raise UnreadableFile(f"{file.name} states no transfer syntax: its values cannot be read")
    return header


def _guessed_syntax(header: FileDataset) -> UID:
    """Return the encoding that pydicom guessed for a data set without file meta information."""
    implicit, little = header.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _check_inflated(path: Path) -> None:
    """Refuse a deflated file that would fill the memory, because pydicom inflates it whole."""
    with path.open("rb") as stream:
        start = stream.read(_META_BYTES)
        if DeflatedExplicitVRLittleEndian.encode() not in start:
            return
        # The first element states how long the file meta information behind it is.
        stream.seek(144 + int.from_bytes(start[140:144], "little"))
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        left = max(MOST_INFLATED * path.stat().st_size, _INFLATED_BYTES)
        while not inflater.eof and (
            packed := inflater.unconsumed_tail or stream.read(_INFLATED_STEP)
        ):
            left -= len(inflater.decompress(packed, _INFLATED_STEP))
            if left < 0:
                raise UnreadableFile(f"inflates to more than {MOST_INFLATED} times its size")


def unreadable(file: DicomFile, error: Exception) -> UnreadableFile:
    """Describe the fault of a parser or decoder without quoting the file."""
    return UnreadableFile(
        f"{file.name} is damaged or truncated ({type(error).__name__} while reading it): "
        "send or copy it again"
    )
