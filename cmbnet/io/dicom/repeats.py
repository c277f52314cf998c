"""Several images at each position, and the volumes to which they belong.

Echo, time or number in the headers order them, if it orders them alike at every position. File
names never do, because a volume by file names would mix echoes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from cmbnet.io.dicom.frames import ORDERING, Frame
from cmbnet.io.dicom.geometry import place_of
from cmbnet.io.dicom.grouping import partition


def in_order(frames: Sequence[Frame], count: int) -> tuple[tuple[Frame, ...], ...]:
    """Split the images of a series into its volumes.

    Every position has the same number of frames. Return the frames of each volume, or nothing if
    nothing orders them.
    """
    places = list(partition(frames, place_of).values())
    for keyword in ORDERING:
        ranked = _ranked(places, keyword)
        if ranked is not None:
            return tuple(tuple(place[rank] for place in ranked) for rank in range(count))
    return ()


def _ranked(places: Sequence[Sequence[Frame]], keyword: str) -> list[list[Frame]] | None:
    """The frames of every position by a number, None where it does not order them all alike.

    It does where it counts volume after volume, or position after position; any other pattern
    would be chance.
    """
    ranked: list[list[Frame]] = []
    values: list[list[float]] = []
    for place in places:
        known: dict[float, Frame] = {}
        for frame in place:
            value = frame.numbers[keyword]
            if value is None or value in known:
                return None
            known[value] = frame
        values.append(sorted(known))
        ranked.append([known[value] for value in values[-1]])
    volumes = [(min(column), max(column)) for column in zip(*values, strict=True)]
    positions = [(row[0], row[-1]) for row in values]
    return ranked if _follow(volumes) or _follow(positions) else None


def _follow(ranges: Sequence[tuple[float, float]]) -> bool:
    """Whether ranges follow one another without overlap."""
    ordered = sorted(ranges)
    return all(one[1] < other[0] for one, other in itertools.pairwise(ordered))
