"""One DICOM file to a pydicom `Dataset` without pixels; every fault becomes a `CmbnetError`.

Messages and warnings of the parser may quote what stands in the file, a patient's name included:
they are never passed on, only the kind of fault is.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import FileDataset

from cmbnet.errors import UnreadableFile


@dataclass(frozen=True, slots=True)
class DicomFile:
    """A file that bears the DICOM mark.

    Args:
        path: Where it lies now, perhaps in a temporary folder.
        name: Its own name, for messages.
    """

    path: Path
    name: str


_ONE_AT_A_TIME = threading.RLock()
"""Filters of warnings and pydicom's settings belong to the process: a thread that put them back
while another still parses would let that one speak."""


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Hold back pydicom's warnings and log lines: they quote values of the header."""
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

    Args:
        file: The file.
        pixels: Whether to read the pixels, too.
        only: Keywords to keep; None keeps all.

    Raises:
        UnreadableFile: If it is damaged or states no transfer syntax.
    """
    try:
        with quiet_pydicom():
            header = pydicom.dcmread(file.path, stop_before_pixels=not pixels, specific_tags=only)
            syntax = header.file_meta.get("TransferSyntaxUID")
    # A mutated header makes the parser raise nearly anything: struct.error, KeyError,
    # LookupError (character set), RecursionError...
    except Exception as error:
        raise unreadable(file, error) from error
    if not syntax:
        raise UnreadableFile(f"{file.name} states no transfer syntax: its values cannot be read")
    return header


def unreadable(file: DicomFile, error: Exception) -> UnreadableFile:
    """The fault of a parser or decoder in words that quote nothing of the file."""
    return UnreadableFile(
        f"{file.name} is damaged or truncated ({type(error).__name__} while reading it): "
        "send or copy it again"
    )
