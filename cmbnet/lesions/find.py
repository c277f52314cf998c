"""From a probability map to lesions: threshold, components, rules, scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from cmbnet.errors import InputRefused
from cmbnet.lesions.lesion import BORDER_REACH_MM, Lesion, LesionFinding, Stage
from cmbnet.lesions.measure import Component, axial_axis, measure_components
from cmbnet.lesions.outline import outlined
from cmbnet.lesions.profile import profile
from cmbnet.lesions.rules import (
    RULES,
    LesionRules,
    Rule,
    first_no,
    is_small,
    lesion_score,
    size_class,
)
from cmbnet.lesions.surroundings import continuation_mm, rim_brightness
from cmbnet.volume import Volume


def find_lesions(
    probability: Volume,
    rules: LesionRules,
    *,
    brain: NDArray[Any] | None = None,
    image: Volume | None = None,
    asked: Sequence[Rule] | None = None,
) -> LesionFinding:
    """Find the lesions of a probability map.

    Args:
        probability: Values 0 to 1, float; the grid on which sizes are measured.
        rules: Thresholds.
        brain: Mask of the same shape; without it the border rules are not asked.
        image: The scan on the same grid; without it nobody looks how far the dark structure
            of a candidate goes on.
        asked: Which of `RULES` are asked; all of them if None.

    Returns:
        The lesions, what was excluded and why, and the instance labels.

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
    ranked = sorted(judged, key=lambda pair: (-pair[1].score, -pair[1].volume_mm3, pair[0]))
    kept = [pair for pair in ranked if pair[1].removed_by is None]
    removed = [pair for pair in ranked if pair[1].removed_by is not None]
    lesions = [replace(lesion, id=n) for n, (_, lesion) in enumerate([*kept, *removed], start=1)]
    instances = np.zeros(labels.shape, dtype=np.uint16)
    for (label, _), lesion in zip(kept, lesions[: len(kept)], strict=True):
        box = _box(lesion)
        instances[box][labels[box] == label] = lesion.id
    return LesionFinding(
        lesions=tuple(lesions[: len(kept)]),
        excluded=tuple(lesions[len(kept) :]),
        stages=_stages([lesion.removed_by for lesion in lesions]),
        highest_probability=float(probability.data.max()),
        labels=instances,
    )


def _stages(removed_by: Sequence[str | None]) -> dict[str, int]:
    """Counts from candidates to lesions."""
    counts = Counter(removed_by)
    removed = {f"removed_by_{stage}": counts[stage] for stage in get_args(Stage)}
    return {"candidates": len(removed_by), **removed, "lesions": counts[None]}


@dataclass(frozen=True, slots=True)
class _Judge:
    """Looks at the components of one scan, one by one."""

    probability: Volume
    labels: NDArray[np.int32]
    rules: LesionRules
    asked: tuple[Rule, ...]
    brain: NDArray[Any] | None
    image: Volume | None

    def lesion(self, component: Component) -> tuple[int, Lesion]:
        """The label of a component and its `Lesion`, not yet numbered."""
        box, rules = component.box, self.rules
        inside = self.labels[box] == component.label
        values = self.probability.data[box][inside]
        # int8 networks and interpolation can leave a float's width above 1.
        mean, highest = (
            min(float(values.mean(dtype=np.float64)), 1.0),
            min(float(values.max()), 1.0),
        )
        centre = self._centre_voxel(component, inside)
        axis = axial_axis(self.probability.affine)
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
            outside_brain=self._outside_brain(box, inside),
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
        """The candidate with its score and, if a rule says no, that rule's stage and reason."""
        excluded = first_no(lesion, self.rules, [r for r in self.asked if not r.surroundings])
        if excluded is None:
            lesion = replace(
                lesion,
                continuation_mm=self._continuation_mm(component, inside),
                border_distance_mm=self._border_distance_mm(centre),
                rim_brightness=self._rim_brightness(component, inside),
                profile=self._profile(component),
            )
        lesion = replace(lesion, score=lesion_score(lesion, self.rules))
        if excluded is None:
            excluded = first_no(lesion, self.rules, [r for r in self.asked if r.surroundings])
        if excluded is None:
            return lesion
        return replace(lesion, removed_by=excluded[0].stage, reason=excluded[1])

    def _outside_brain(
        self, box: tuple[slice, slice, slice], inside: NDArray[np.bool_]
    ) -> float | None:
        return None if self.brain is None else float(1 - (self.brain[box][inside] != 0).mean())

    def _continuation_mm(self, component: Component, inside: NDArray[np.bool_]) -> float | None:
        """Of small candidates: a large one reaches the next dark thing by its size alone."""
        if (
            self.image is None
            or not self._asked
            or not is_small(component.max_in_plane_diameter_mm, self.rules)
        ):
            return None
        return continuation_mm(self.image, inside, component.box, self.brain)

    def _rim_brightness(self, component: Component, inside: NDArray[np.bool_]) -> float | None:
        if self.image is None or not self._asked:
            return None
        return rim_brightness(self.image, inside, component.box, self.brain)

    def _profile(self, component: Component) -> tuple[float, ...]:
        if self.image is None or not self._asked:
            return ()
        return profile(self.image, component.bbox, self.brain)

    @property
    def _asked(self) -> bool:
        """Whether the rules ask what candidates lie in."""
        return self.rules.max_continuation_mm is not None or self.rules.evidence is not None

    def _centre_voxel(
        self, component: Component, inside: NDArray[np.bool_]
    ) -> tuple[int, int, int]:
        """The component's own voxel nearest to its centroid, which may lie beside a bent one."""
        voxels = np.argwhere(inside) + [start for start, _ in component.bbox]
        offset = (voxels - np.array(component.centroid_zyx)) * self.probability.spacing_mm
        z, y, x = voxels[np.argmin((offset**2).sum(axis=1))].tolist()
        return z, y, x

    def _border_distance_mm(self, centre: tuple[int, int, int]) -> float | None:
        """Distance from a voxel to the nearest one outside the brain, looked for near it only."""
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
