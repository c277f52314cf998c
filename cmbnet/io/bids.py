"""Names of NIfTI files that show that a file is no scan for microbleeds.

References:
    Brain Imaging Data Structure 1.10, appendix on suffixes (bids-specification.readthedocs.io);
    BEP004 (SWI) for ``swi`` and ``minIP``; dcm2niix, FILENAMING.md, for ``ph`` and ``imaginary``.
"""

from __future__ import annotations

from typing import Final

_PROJECTION: Final = "a projection of several slices"
_PART: Final = {"phase": "phase", "real": "a real part", "imag": "an imaginary part"}
_ANY_NAME: Final = {
    "minip": _PROJECTION, "mip": _PROJECTION, "phase": "phase", "ph": "phase",
    "real": "a real part", "imaginary": "an imaginary part",
}  # fmt: skip
_BIDS_NAME: Final = {
    **dict.fromkeys(("phase1", "phase2", "phasediff", "fieldmap"), "phase or a field map"),
    **dict.fromkeys(("chimap", "qsm", "r2starmap", "t2starmap", "s0map", "t1map"), "a map"),
    **dict.fromkeys(("mask", "dseg", "probseg"), "a mask or labels"),
    **dict.fromkeys(("t1w", "t2w", "flair", "pdw", "angio"), "another contrast"),
    **dict.fromkeys(("bold", "sbref", "cbv", "dwi", "asl", "m0scan", "epi"), "another contrast"),
}


def why_no_scan(stem: str) -> str | None:
    """Say why a name shows that a file is no scan, or return None if it may be one.

    The stem is the name of the file without ``.nii.gz``.

    Examples:
        >>> why_no_scan("sub-01_part-phase_T2starw")
        'phase (part-phase)'
        >>> why_no_scan("sub-01_minIP")
        'a projection of several slices (minIP)'
        >>> why_no_scan("sub-01_part-mag_GRE") is None
        True
    """
    pieces = stem.split("_")
    for piece in pieces:
        entity, _, value = piece.partition("-")
        if entity == "part" and value in _PART:
            return f"{_PART[value]} ({piece})"
    last = pieces[-1].lower() if len(pieces) > 1 else ""
    what = _ANY_NAME.get(last) or (_BIDS_NAME.get(last) if stem.startswith("sub-") else None)
    return None if what is None else f"{what} ({pieces[-1]})"
