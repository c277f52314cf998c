"""From a probability map to lesions: threshold, components, rules, scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from cmbnet.errors import InputRefused
from cmbnet.lesions.lesion import BORDER_REACH_MM, FoundLesions, Lesion, Stage, Triple
from cmbnet.lesions.measure import Component, axial_axis, measure_components
from cmbnet.lesions.outline import outlined
from cmbnet.lesions.profile import profile
from cmbnet.lesions.rules import (
    RULES,
    SCORE,
    LesionRules,
    Rule,
    first_no,
    is_small,
    lesion_score,
    size_class,
)
from cmbnet.lesions.surroundings import continuation_mm, rim_brightness
from cmbnet.regions.places import Place
from cmbnet.volume import Volume


def find_lesions(
    probability: Volume,
    rules: LesionRules,
    *,
    brain: NDArray[Any] | None = None,
    image: Volume | None = None,
    asked: Sequence[Rule] | None = None,
) -> FoundLesions:
    """Find the lesions of a probability map.

    Args:
        probability: Probability map, float, 0 to 1. Sizes are measured on its grid.
        rules: Thresholds of the rules.
        brain: Brain mask of the same shape. Without it, the rules about the border do not apply.
        image: The scan on the same grid. Without it, the surroundings of candidates are not
            measured.
        asked: The rules that apply, a part of `RULES`. None applies all of them.

    Returns:
        The lesions, the excluded candidates with reasons, and the instance labels.

    Raises:
        InputRefused: If the mask or the scan has another shape.
    """
    for what, other in (("brain mask", brain), ("scan", image)):
        if other is not None and other.shape != probability.shape:
            raise InputRefused(
                f"a {what} of shape {probability.shape} is required for {probability.source}, "
                f"got {other.shape}"
            )
    labels = outlined(probability, rules)
    asked = RULES if asked is None else asked
    judge = _Judge(probability, labels, rules, tuple(asked), brain, image)
    judged = [judge.lesion(c) for c in measure_components(labels, probability.affine)]
    return _found(judged, labels, float(probability.data.max()))


def with_places(
    found: FoundLesions, place: Callable[[Triple], Place], rules: LesionRules
) -> FoundLesions:
    """Return the same with the places of the lesions, judged again by a score that knows them.

    `place` returns the place of a position in RAS+ mm; the rules are those of before.
    """
    judged = [
        (one.id, _judged_by_score(replace(one, place=place(one.centre_ras_mm)), rules))
        for one in found.lesions
    ]
    excluded = [(0, one) for one in found.excluded]
    return _found([*judged, *excluded], found.labels, found.highest_probability)


def _judged_by_score(lesion: Lesion, rules: LesionRules) -> Lesion:
    lesion = replace(lesion, score=lesion_score(lesion, rules))
    excluded = first_no(lesion, rules, (SCORE,))
    if excluded is None:
        return lesion
    return replace(lesion, removed_by=excluded[0].stage, reason=excluded[1])


def _found(
    judged: Sequence[tuple[int, Lesion]], labels: NDArray[Any], highest_probability: float
) -> FoundLesions:
    """Rank and number candidates, which are given with their labels."""
    ranked = sorted(judged, key=lambda pair: (-pair[1].score, -pair[1].volume_mm3, pair[0]))
    kept = [pair for pair in ranked if pair[1].removed_by is None]
    removed = [pair for pair in ranked if pair[1].removed_by is not None]
    lesions = [replace(lesion, id=n) for n, (_, lesion) in enumerate([*kept, *removed], start=1)]
    instances = np.zeros(labels.shape, dtype=np.uint16)
    for (label, _), lesion in zip(kept, lesions[: len(kept)], strict=True):
        box = _box(lesion)
        instances[box][labels[box] == label] = lesion.id
    return FoundLesions(
        lesions=tuple(lesions[: len(kept)]),
        excluded=tuple(lesions[len(kept) :]),
        stages=_stages([lesion.removed_by for lesion in lesions]),
        highest_probability=highest_probability,
        labels=instances,
    )


def _stages(removed_by: Sequence[str | None]) -> dict[str, int]:
    """Count candidates, those that each stage removed, and lesions."""
    counts = Counter(removed_by)
    removed = {f"removed_by_{stage}": counts[stage] for stage in get_args(Stage)}
    return {"candidates": len(removed_by), **removed, "lesions": counts[None]}


@dataclass(frozen=True, slots=True)
class _Judge:
    """Judge the components of one scan, one by one."""

    probability: Volume
    labels: NDArray[np.int32]
    rules: LesionRules
    asked: tuple[Rule, ...]
    brain: NDArray[Any] | None
    image: Volume | None

    def lesion(self, component: Component) -> tuple[int, Lesion]:
        """Return the label of a component and its `Lesion`, not yet numbered."""
        box, rules = component.box, self.rules
        inside = self.labels[box] == component.label
        values = self.probability.data[box][inside]
        # int8 networks and interpolation can leave a float's width above 1.
        mean = min(float(values.mean(dtype=np.float64)), 1.0)
        highest = min(float(values.max()), 1.0)
        centre = self._centre_voxel(component, inside)
        axis = axial_axis(self.probability.affine)
        brain = self.brain
        lesion = Lesion(
            id=0,
            centre_ras_mm=component.centroid_ras_mm,
            voxel_ijk=(centre[2], centre[1], centre[0]),
            volume_mm3=component.volume_mm3,
            max_in_plane_diameter_mm=component.max_in_plane_diameter_mm,
            equivalent_diameter_mm=component.equivalent_diameter_mm,
            z_extent_mm=component.z_extent_mm,
            slices=component.bbox[axis][1] - component.bbox[axis][0],
            elongation=component.elongation,
            size_class=size_class(component.max_in_plane_diameter_mm, rules),
            score=0.0,
            mean_probability=mean,
            max_probability=highest,
            outside_brain=None if brain is None else float(1 - (brain[box][inside] != 0).mean()),
            border_distance_mm=None,
            bbox=component.bbox,
            axes_mm=component.axes_mm,
            longest_voxel_side_mm=max(self.probability.spacing_mm),
        )
        return component.label, self._judged(lesion, component, inside, centre)

    def _judged(
        self,
        lesion: Lesion,
        component: Component,
        inside: NDArray[np.bool_],
        centre: tuple[int, int, int],
    ) -> Lesion:
        """Return the candidate with its score. If a rule excludes it, add stage and reason."""
        excluded = first_no(lesion, self.rules, [r for r in self.asked if not r.surroundings])
        if excluded is None:
            lesion = replace(lesion, **self._surroundings(component, inside, centre))
        lesion = replace(lesion, score=lesion_score(lesion, self.rules))
        if excluded is None:
            excluded = first_no(lesion, self.rules, [r for r in self.asked if r.surroundings])
        if excluded is None:
            return lesion
        return replace(lesion, removed_by=excluded[0].stage, reason=excluded[1])

    def _surroundings(
        self, component: Component, inside: NDArray[np.bool_], centre: tuple[int, int, int]
    ) -> dict[str, Any]:
        """What lies around a candidate, by the names of `Lesion`, as far as the rules use it."""
        found: dict[str, Any] = {"border_distance_mm": self._border_distance_mm(centre)}
        used = self.rules.max_continuation_mm is not None or self.rules.evidence is not None
        if self.image is None or not used:
            return found
        where = (self.image, inside, component.box, self.brain)
        # A large candidate reaches the next dark thing by its size alone.
        if is_small(component.max_in_plane_diameter_mm, self.rules):
            found["continuation_mm"] = continuation_mm(*where)
        found["rim_brightness"] = rim_brightness(*where)
        found["profile"] = profile(self.image, component.bbox, self.brain)
        return found

    def _centre_voxel(
        self, component: Component, inside: NDArray[np.bool_]
    ) -> tuple[int, int, int]:
        """Find the voxel of a component nearest to its centroid, which may lie outside it."""
        voxels = np.argwhere(inside) + [start for start, _ in component.bbox]
        offset = (voxels - np.array(component.centroid_zyx)) * self.probability.spacing_mm
        z, y, x = voxels[np.argmin((offset**2).sum(axis=1))].tolist()
        return z, y, x

    def _border_distance_mm(self, centre: tuple[int, int, int]) -> float | None:
        """Measure the distance of a voxel to the nearest one outside the brain, within reach."""
        if self.brain is None:
            return None
        spacing = np.array(self.probability.spacing_mm)
        reach = np.ceil(BORDER_REACH_MM / spacing).astype(int)
        start = np.maximum(np.array(centre) - reach, 0)
        stop = np.minimum(np.array(centre) + reach + 1, self.brain.shape)
        crop = self.brain[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] != 0
        if crop.all():
            return BORDER_REACH_MM
        offset = (np.argwhere(~crop) + start - np.array(centre)) * spacing
        return float(min(np.sqrt((offset**2).sum(axis=1).min()), BORDER_REACH_MM))


def _box(lesion: Lesion) -> tuple[slice, ...]:
    return tuple(slice(start, stop) for start, stop in lesion.bbox)
