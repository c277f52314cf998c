"""Pixels of a stack. Each frame is decoded and rescaled by its own slope."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID, RLELossless

from cmbnet.errors import CmbnetError, InputRefused, MissingExtra, UnreadableFile
from cmbnet.io.dicom.codestream import stated_size
from cmbnet.io.dicom.dataset import DicomFile, quiet_pydicom, read_header, unreadable
from cmbnet.io.dicom.frames import Frame, number
from cmbnet.io.dicom.geometry import Grid
from cmbnet.volume import MOST_VOXELS


def read_pixels(grid: Grid) -> NDArray[np.float32]:
    """Decode the frames of a grid.

    Returns:
        Stored value times slope plus intercept of each frame, float32 (z, y, x).

    Raises:
        InputRefused: If there are more than `MOST_VOXELS`, or values are not finite.
        MissingExtra: If no decoder for the transfer syntax is installed.
        UnreadableFile: If pixels are missing, truncated or damaged.
    """
    rows, columns = grid.order[0].shape
    if len(grid.order) * rows * columns > MOST_VOXELS:
        raise InputRefused(
            f"at most {MOST_VOXELS} voxels are read, the series has "
            f"{len(grid.order)} slices of {rows}x{columns}"
        )
    data = np.empty((len(grid.order), rows, columns), dtype=np.float32)
    places: dict[DicomFile, list[tuple[int, Frame]]] = defaultdict(list)
    for z, frame in enumerate(grid.order):
        places[frame.file].append((z, frame))
    for file, wanted in places.items():
        _read_file(file, wanted, data)
    if not np.isfinite(data).all():
        raise InputRefused("finite values are required, the rescaled pixels hold NaN or infinity")
    return data


def _read_file(file: DicomFile, wanted: list[tuple[int, Frame]], data: NDArray[np.float32]) -> None:
    try:
        with quiet_pydicom():
            syntax = UID(str(wanted[0][1].header.file_meta.TransferSyntaxUID))
            plugin = _decoder(syntax)
            if plugin and syntax != RLELossless:
                _check_sizes(file, [frame for _, frame in wanted])
            arrays = iter_pixels(
                # pydicom inflates a deflated file when it reads a data set, not for its pixels.
                read_header(file, pixels=True) if syntax.is_deflated else file.path,
                indices=[frame.index for _, frame in wanted],
                raw=True,
                transfer_syntax_uid=syntax,
                decoding_plugin=plugin,
            )
            for (z, frame), stored in zip(wanted, arrays, strict=True):
                _store(data, z, frame, stored)
    except CmbnetError:
        raise
    # Decoders raise what they like on damaged input: RuntimeError, ValueError, MemoryError...
    except Exception as error:
        raise unreadable(file, error) from error


def _check_sizes(file: DicomFile, wanted: list[Frame]) -> None:
    """Refuse images that state another size than their header."""
    header = read_header(file, pixels=True)
    count = int(number(header.get("NumberOfFrames")) or 1)
    frames = {frame.index: frame for frame in wanted}
    for index, codestream in enumerate(generate_frames(header.PixelData, number_of_frames=count)):
        stated = stated_size(codestream)
        if index in frames and stated != (*frames[index].shape, 1):
            raise UnreadableFile(
                f"{frames[index].label} is compressed as {stated} where "
                f"{(*frames[index].shape, 1)} rows, columns and components are stated"
            )


def _store(data: NDArray[np.float32], z: int, frame: Frame, stored: NDArray[np.generic]) -> None:
    if stored.shape != data.shape[1:]:
        raise UnreadableFile(
            f"{frame.label} decodes to {stored.shape} where {data.shape[1:]} is stated"
        )
    # In float64: slope and intercept of a 16-bit image need more than float32 holds.
    data[z] = stored.astype(np.float64) * frame.slope + frame.intercept


_DECODERS = ("pydicom", "pyjpegls", "pylibjpeg", "pillow", "gdcm")
"""By how they take damaged code streams: GDCM ends the process, which nothing can catch. Left to
itself, pydicom asks one after the other."""


def _decoder(syntax: UID) -> str:
    """Name of the plugin to decode with, empty where nothing is to be decoded."""
    if not syntax.is_compressed or syntax.is_deflated:
        return ""
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise InputRefused(
            f"the transfer syntax {syntax.name} holds no images that are read: convert it, "
            "for example with gdcmconv --raw"
        ) from error
    if not decoder.is_available:
        needed = " or ".join(decoder.missing_dependencies)
        raise MissingExtra(f"a decoder ({needed})", "dicom", f"to decode {syntax.name}")
    # Other plugins for RLE, where installed, panic on damaged files.
    known = ("pydicom",) if syntax == RLELossless else _DECODERS
    return next((name for name in known if name in decoder.available_plugins), "")
