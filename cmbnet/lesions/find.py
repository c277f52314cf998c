"""From a probability map to lesions: threshold, components, rules, scores."""

from __future__ import annotations

from collections import Counter
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
    LesionRules,
    border_reason,
    continuation_reason,
    is_small,
    lesion_score,
    score_reason,
    shape_reason,
    size_class,
    size_reason,
)
from cmbnet.lesions.surroundings import continuation_mm, rim_brightness
from cmbnet.volume import Volume


def find_lesions(
    probability: Volume,
    rules: LesionRules,
    *,
    brain: NDArray[Any] | None = None,
    image: Volume | None = None,
) -> LesionFinding:
    """Find the lesions of a probability map.

    Args:
        probability: Values 0 to 1, float; the grid on which sizes are measured.
        rules: Thresholds.
        brain: Mask of the same shape; without it the border rules are not asked.
        image: The scan on the same grid; without it nobody looks how far the dark structure
            of a candidate goes on.

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
    judge = _Judge(probability, labels, rules, brain, image)
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


def _stages(removed_by: list[Stage | None]) -> dict[str, int]:
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
        outside = None if self.brain is None else float(1 - (self.brain[box][inside] != 0).mean())
        removed_by, reason = self._size_and_shape(component)
        border_mm = continuation = rim = None
        around: tuple[float, ...] = ()
        if removed_by is None:
            continuation = self._continuation_mm(component, inside)
            removed_by, reason = _first(shape=continuation_reason(continuation, rules))
        if removed_by is None:
            border_mm = self._border_distance_mm(centre)
            rim = self._rim_brightness(component, inside)
            around = self._profile(component)
            removed_by, reason = _first(border=border_reason(outside, rules))
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
            outside_brain=outside,
            border_distance_mm=border_mm,
            bbox=component.bbox,
            continuation_mm=continuation,
            rim_brightness=rim,
            profile=around,
            removed_by=removed_by,
            reason=reason,
        )
        return component.label, self._scored(lesion)

    def _scored(self, lesion: Lesion) -> Lesion:
        """The candidate with its score, removed if that is too low."""
        scored = replace(lesion, score=lesion_score(lesion, self.rules))
        if scored.removed_by is not None:
            return scored
        removed_by, reason = _first(score=score_reason(scored.score, self.rules))
        return replace(scored, removed_by=removed_by, reason=reason)

    def _size_and_shape(self, component: Component) -> tuple[Stage | None, str]:
        spacing = self.probability.spacing_mm
        return _first(
            size=size_reason(component, self.rules),
            shape=shape_reason(
                component,
                self.rules,
                slice_mm=spacing[axial_axis(self.probability.affine)],
                longest_side_mm=max(spacing),
            ),
        )

    def _continuation_mm(self, component: Component, inside: NDArray[np.bool_]) -> float | None:
        """Of small candidates: a large one reaches the next dark thing by its size alone."""
        if self.image is None or not self._asked or not is_small(component, self.rules):
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


def _first(**reasons: str | None) -> tuple[Any, str]:
    """The first stage with a reason, and the reason; (None, "") if there is none."""
    return next(((stage, why) for stage, why in reasons.items() if why is not None), (None, ""))


def _box(lesion: Lesion) -> tuple[slice, ...]:
    return tuple(slice(start, stop) for start, stop in lesion.bbox)
