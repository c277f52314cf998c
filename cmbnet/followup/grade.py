"""The category of ARIA-H by new microhaemorrhages, or the reason why there is none.

The cut points are those of the label of lecanemab as secondary sources quote them; a person should
check them against the label before they are used on patients. Siderosis is not detected, and the
grade as a whole is the worse of the two, so it stays open.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

SEVERITIES: Final = ((0, "none"), (4, "mild"), (9, "moderate"))
"""Most new microhaemorrhages and name; more are ``"severe"``."""

BASELINE_BANDS: Final = ((0, "0"), (4, "1-4"))
"""Most microhaemorrhages before treatment and name (RDES289); more are ``"> 4"``."""

TOLERANCE: Final = 0.1
"""Protocols are the same if their numbers differ by no more than this share."""

SIDEROSIS: Final = "siderosis: not assessed; category from microhaemorrhages only"


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a scan was made, as far as it is known.

    Args:
        spacing_mm: Voxel size, ascending.
        field_t: Field strength; None if unknown.
        te_ms: Echo time; None if unknown.
        sequence: Kind of sequence; empty if unknown.
    """

    spacing_mm: tuple[float, float, float]
    field_t: float | None = None
    te_ms: float | None = None
    sequence: str = ""


@dataclass(frozen=True, slots=True)
class AriaH:
    """The category from microhaemorrhages.

    Args:
        category: ``none``, ``mild``, ``moderate`` or ``severe``; None if it is refused.
        refused: Why there is no category, as a sentence; empty if there is one.
        new: Number of new lesions against the first scan.
        uncertain: Number of those that are newly above threshold; they do not count.
        not_assessable: Number of places that the first scan does not show.
        baseline_band: Band of the number of lesions on the first scan.
        note: A sentence on what the category leaves out.
    """

    category: str | None
    refused: str
    new: int
    uncertain: int
    not_assessable: int
    baseline_band: str
    note: str = SIDEROSIS


def aria_h(
    new: int, *, uncertain: int, not_assessable: int, baseline: int, refused: str = ""
) -> AriaH:
    """Grade the new lesions of a scan against the scan before treatment.

    Args:
        new: Lesions that are new, cumulatively.
        uncertain: Lesions newly above threshold.
        not_assessable: Lesions outside the first scan.
        baseline: Lesions of the first scan.
        refused: Why no category may be given; see `why_not_comparable`.
    """
    band = next((name for most, name in BASELINE_BANDS if baseline <= most), "> 4")
    return AriaH(None if refused else severity(new), refused, new, uncertain, not_assessable, band)


def severity(new: int) -> str:
    """Return the category of a number of new microhaemorrhages."""
    return next((name for most, name in SEVERITIES if new <= most), "severe")


def why_not_comparable(before: Protocol, after: Protocol) -> str:
    """Return the reason why two scans allow no category, or an empty string."""
    reasons = [*_differences(before, after, grades=True)]
    return f"no category: {'; '.join(reasons)}" if reasons else ""


def sizes_comparable(before: Protocol, after: Protocol) -> bool:
    """Say whether voxels, field strength and echo time agree, so that volumes can be compared.

    A field strength or echo time that one of them does not state is taken to agree.
    """
    return not [*_differences(before, after, grades=False)]


def _differences(before: Protocol, after: Protocol, *, grades: bool) -> Iterator[str]:
    for what, unit, a, b in (
        ("field strength", "T", before.field_t, after.field_t),
        ("echo time", "ms", before.te_ms, after.te_ms),
    ):
        if a is None or b is None:
            if grades and what == "field strength":
                yield f"the {what} is unknown"
        elif _apart(a, b) and not (grades and what == "echo time"):
            yield f"the {what} differs ({a:g} and {b:g} {unit})"
    if grades and not (before.sequence and after.sequence):
        yield "the sequence is unknown"
    elif grades and before.sequence != after.sequence:
        yield f"the sequence differs ({before.sequence} and {after.sequence})"
    if not grades and any(map(_apart, before.spacing_mm, after.spacing_mm)):
        yield "the voxel size differs"


def _apart(a: float, b: float) -> bool:
    return abs(a - b) > TOLERANCE * max(abs(a), abs(b))
