"""The size that a compressed image states, read before a decoder runs.

A JPEG 2000 of a kilobyte may claim 65,535 x 65,535 pixels, and a decoder would allocate them.
"""

from __future__ import annotations

import struct

_J2K_START = b"\xff\x4f\xff\x51"
_NO_FRAMES = {0xC4, 0xC8, 0xCC}
"""Markers among those of JPEG's frames (C0 to CF) that start tables."""

_JPEG_LS_FRAME = 0xF7


def stated_size(codestream: bytes) -> tuple[int, int, int] | None:
    """Return rows, columns and components of a JPEG, JPEG-LS or JPEG 2000; None for others."""
    start = codestream.find(_J2K_START, 0, 4096)
    try:
        if start >= 0:
            right, bottom, left, top = struct.unpack_from(">4I", codestream, start + 8)
            (components,) = struct.unpack_from(">H", codestream, start + 40)
            return bottom - top, right - left, components
        return _jpeg_size(codestream)
    except struct.error:
        return None


def _jpeg_size(codestream: bytes) -> tuple[int, int, int] | None:
    at = 2  # behind the start of the image
    while at + 4 <= len(codestream) and codestream[at] == 0xFF:
        marker = codestream[at + 1]
        if marker == 0xFF:  # a filling byte
            at += 1
            continue
        if (0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES) or marker == _JPEG_LS_FRAME:
            rows, columns, components = struct.unpack_from(">HHB", codestream, at + 5)
            return rows, columns, components
        at += 2 + int.from_bytes(codestream[at + 2 : at + 4], "big")
    return None
