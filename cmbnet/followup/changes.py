"""`compare_lesions`: what became of each lesion between two scans that lie on each other.

A lesion is *new* only where the earlier scan shows neither a candidate nor a similar darkness.
Where it does, the lesion is *newly above threshold*, because a threshold that is crossed by noise
makes no new bleed. The same holds for lesions that are *no longer seen*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Category = Literal[
    "new", "newly above threshold", "persistent", "larger", "smaller", "split", "merged",
    "no longer seen", "no longer above threshold", "not assessable",
]  # fmt: skip

REACH_MM: Final = 3.0
"""Centres nearer than this mean one lesion; of a larger lesion, its radius does."""

DARK: Final = 0.6
"""From this share of a lesion's darkness on, the other scan shows something at its place: phantom
lesions that were added at most 0.40, vessels and lesions that were there before at least 0.85."""

GROWTH: Final = 2.0
"""A lesion is larger or smaller from this ratio of volumes on: 1.26 in diameter."""

Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Spot:
    """A lesion at one time point.

    Args:
        id: Its number on its own scan.
        centre_mm: Its centre in the world of the baseline, RAS+.
        diameter_mm: Diameter of the ball of its volume.
        volume_mm3: Its volume.
    """

    id: int
    centre_mm: Point
    diameter_mm: float
    volume_mm3: float


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What the other scan shows at the place of a lesion.

    Args:
        darkness: How dark it is there, as a share of the lesion's darkness; 0 is like around it.
        probability: Highest probability of an excluded candidate there; None without one.
    """

    darkness: float
    probability: float | None = None


Look = Callable[[Spot], Elsewhere | None]
"""Look at the other scan; None where its field of view lacks the place."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a lesion.

    Args:
        category: In a word.
        before: Numbers of the lesions on the earlier scan.
        after: Numbers on the later scan.
        centre_mm: In the world of the baseline; of the later scan where it is there.
        distance_mm: Between the two centres. None where there is one.
        volume_ratio: Later over earlier volume. None where the scans allow no comparison.
        other_darkness: Darkness of `Elsewhere`: how dark the scan without the lesion is at its
            place. None where that scan does not reach.
        other_probability: Probability of `Elsewhere`. None without a candidate there.
    """

    category: Category
    before: tuple[int, ...]
    after: tuple[int, ...]
    centre_mm: Point
    distance_mm: float | None = None
    volume_ratio: float | None = None
    other_darkness: float | None = None
    other_probability: float | None = None


def compare_lesions(
    before: Sequence[Spot],
    after: Sequence[Spot],
    *,
    look_before: Look,
    look_after: Look,
    sizes_comparable: bool,
) -> tuple[Change, ...]:
    """Find the change of every lesion of two scans.

    Args:
        before: Lesions of the earlier scan.
        after: Lesions of the later scan.
        look_before: How to look at the earlier scan.
        look_after: How to look at the later scan.
        sizes_comparable: Whether voxels, field and echo time allow to compare volumes.

    Returns:
        Changes of the lesions of the later scan in order, then of those that only the earlier has.
    """
    pairs = match(before, after)
    matched = {b: [a] for b, a in pairs}
    parts = _joined(before, after, pairs)
    for b, a in parts:
        matched[b].append(a)
    taken = {a for afters in matched.values() for a in afters}
    # Two earlier lesions that became one: the later lesion is matched already.
    merged: dict[int, list[int]] = {}
    for a, b in _joined(after, before, [(a, b) for b, a in pairs]):
        merged.setdefault(a, []).append(b)
    gone = {b for others in merged.values() for b in others}
    changes = {}
    for b, afters in matched.items():
        first = afters[0]
        change = _matched(
            [before[n] for n in (b, *merged.get(first, []))],
            [after[n] for n in afters],
            sizes_comparable=sizes_comparable,
        )
        changes[first] = change
    for a in set(range(len(after))) - taken:
        changes[a] = _alone(after[a], look_before, later=True)
    lost = [
        _alone(spot, look_after, later=False)
        for b, spot in enumerate(before)
        if b not in matched and b not in gone
    ]
    return (*(changes[a] for a in sorted(changes)), *lost)


def match(before: Sequence[Spot], after: Sequence[Spot]) -> list[tuple[int, int]]:
    """Pair spots one-to-one within reach, by index, so that the sum of distances is least."""
    if not before or not after:
        return []
    distance = _distances(before, after)
    allowed = distance <= _reaches(before, after)
    far = 1e3
    rows, columns = linear_sum_assignment(np.where(allowed, distance, far))
    return [
        (int(b), int(a)) for b, a in zip(rows, columns, strict=True) if allowed[b, a]
    ]  # fmt: skip


def _joined(
    whole: Sequence[Spot], parts: Sequence[Spot], pairs: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Parts without a partner that lie within a whole that has one."""
    if not whole or not parts:
        return []
    partnered, used = {first for first, _ in pairs}, {second for _, second in pairs}
    distance = _distances(whole, parts)
    inside = distance <= np.array([[spot.diameter_mm / 2] for spot in whole])
    result = []
    for part in set(range(len(parts))) - used:
        nearest = int(np.where(inside[:, part], distance[:, part], np.inf).argmin())
        if inside[nearest, part] and nearest in partnered:
            result.append((nearest, part))
    return result


def _distances(first: Sequence[Spot], second: Sequence[Spot]) -> NDArray[np.float64]:
    a, b = (np.array([spot.centre_mm for spot in spots], float) for spots in (first, second))
    result: NDArray[np.float64] = np.linalg.norm(a[:, None] - b[None], axis=-1)
    return result


def _reaches(first: Sequence[Spot], second: Sequence[Spot]) -> NDArray[np.float64]:
    a, b = (np.array([spot.diameter_mm / 2 for spot in spots]) for spots in (first, second))
    result: NDArray[np.float64] = np.maximum(np.maximum(a[:, None], b[None]), REACH_MM)
    return result


def _matched(before: list[Spot], after: list[Spot], *, sizes_comparable: bool) -> Change:
    ratio = sum(s.volume_mm3 for s in after) / sum(s.volume_mm3 for s in before)
    category: Category = "persistent"
    if len(after) > 1:
        category = "split"
    elif len(before) > 1:
        category = "merged"
    elif sizes_comparable and ratio >= GROWTH:
        category = "larger"
    elif sizes_comparable and ratio <= 1 / GROWTH:
        category = "smaller"
    away = np.subtract(before[0].centre_mm, after[0].centre_mm)
    return Change(
        category,
        tuple(spot.id for spot in before),
        tuple(spot.id for spot in after),
        after[0].centre_mm,
        distance_mm=float(np.linalg.norm(away)),
        volume_ratio=ratio if sizes_comparable else None,
    )


def _alone(spot: Spot, look: Look, *, later: bool) -> Change:
    there = look(spot)
    category: Category
    if there is None:
        category = "not assessable"
    elif there.darkness < DARK and there.probability is None:
        category = "new" if later else "no longer seen"
    else:
        category = "newly above threshold" if later else "no longer above threshold"
    ids = (spot.id,)
    return Change(
        category, () if later else ids, ids if later else (), spot.centre_mm,
        other_darkness=None if there is None else there.darkness,
        other_probability=None if there is None else there.probability,
    )  # fmt: skip
