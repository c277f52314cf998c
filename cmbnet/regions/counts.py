"""Counts per region, group and side, and what scores of small vessel disease take from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cmbnet.regions.places import REGIONS, UNKNOWN, Pattern, Place, pattern_of

BANDS: Final = ((0, "0"), (1, "1"), (4, "2-4"), (10, "5-10"), (20, "11-20"))
"""Highest count and name of each band. A larger count is ``"> 20"``."""


@dataclass(frozen=True, slots=True)
class RegionRow:
    """The lesions of one region or group.

    Args:
        name: Name of the region or group.
        left: Number of lesions on the left.
        right: Number of lesions on the right.
        midline: Number of lesions too near to the middle to have a side.
        total: Number of all its lesions.
    """

    name: str
    left: int
    right: int
    midline: int
    total: int


@dataclass(frozen=True, slots=True)
class RegionCounts:
    """Where the lesions of a scan are.

    Args:
        failed: Why the regions are unknown, as a sentence; empty if they are known.
        band: Band of the count of all lesions.
        pattern: Pattern of all lesions, see `pattern_of`.
        groups: Counts of the groups lobar, deep, infratentorial and unknown.
        regions: Counts of the 13 regions of MARS.
        boston_marker: Boston criteria 2.0, haemorrhagic marker of probable amyloid angiopathy (two
            lobar lesions or more, none deep): ``"yes"``, ``"no"`` or ``"not assessable"``. Age,
            presentation and white matter are for the reader.
        svd_points: Points of the total score of small vessel disease for microbleeds, 0 or 1. Its
            other three items are not assessed.
        caa_svd_points: Points of the score of amyloid angiopathy for lobar microbleeds, 0 to 2;
            None where a region is unknown. Its other items are not assessed.
    """

    failed: str
    band: str
    pattern: Pattern
    groups: tuple[RegionRow, ...]
    regions: tuple[RegionRow, ...]
    boston_marker: str
    svd_points: int
    caa_svd_points: int | None


def count_regions(places: Sequence[Place | None], failed: str = "") -> RegionCounts:
    """Count the places of the lesions of a scan.

    Args:
        places: One for each lesion.
        failed: Why they are unknown.
    """
    known = [UNKNOWN if place is None else place for place in places]
    lobar, deep, _, unknown = groups = tuple(
        _row(name, [place for place in known if place.group == name])
        for name in ("lobar", "deep", "infratentorial", "unknown")
    )
    pattern = pattern_of([place.region for place in known])
    if pattern == "mixed" or deep.total:
        marker = "no"
    elif pattern == "unknown":
        marker = "not assessable"
    else:
        marker = "yes" if pattern == "strictly lobar" and lobar.total >= 2 else "no"
    return RegionCounts(
        failed=failed,
        band=next((name for highest, name in BANDS if len(known) <= highest), "> 20"),
        pattern=pattern,
        groups=groups,
        regions=tuple(_row(name, [p for p in known if p.region == name]) for name in REGIONS),
        boston_marker=marker,
        svd_points=int(bool(known)),
        caa_svd_points=None if unknown.total else (lobar.total >= 2) + (lobar.total >= 5),
    )


def _row(name: str, places: list[Place]) -> RegionRow:
    sides = Counter(place.side for place in places)
    return RegionRow(name, sides["left"], sides["right"], sides["midline"], len(places))


def in_words(counts: RegionCounts) -> str:
    """Write the groups in a line.

    Examples:
        >>> in_words(count_regions([Place("frontal", "left", "lobar"), Place()]))
        '1 lobar, 0 deep, 0 infratentorial, 1 unknown'
    """
    return ", ".join(
        f"{row.total} {row.name}" for row in counts.groups if row.name != "unknown" or row.total
    )
