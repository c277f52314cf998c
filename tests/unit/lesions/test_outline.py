"""Candidates are found low and outlined by their own peak, but never shorter than a lesion is."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from cmbnet.lesions import (
    LesionRules,
    find_lesions,
    label_components,
    measure_components,
    spacing_affine,
)
from cmbnet.lesions.outline import outlined
from cmbnet.volume import Volume

PIXEL_MM = 0.5
AFFINE = spacing_affine((2.0, PIXEL_MM, PIXEL_MM))
RULES = LesionRules(pixel_threshold=0.1, outline_share=0.5)


def scan(*blocks: tuple[int, int, float]) -> Volume:
    """Squares in two slices: first pixel along both axes, pixels along a side, probability."""
    data = np.zeros((10, 60, 60), np.float32)
    for at, side, value in blocks:
        data[4:6, at : at + side, at : at + side] = value
    return Volume(data, AFFINE)


def sides(volume: Volume, rules: LesionRules = RULES) -> list[int]:
    """Pixels along a side of each square candidate."""
    labels = outlined(volume, rules)
    return [b[1].stop - b[1].start for b in ndimage.find_objects(labels) if b is not None]


def test_a_sure_lesion_keeps_no_rim_and_a_faint_one_is_found() -> None:
    assert sides(scan((10, 8, 0.2), (12, 4, 0.9))) == [4]
    assert sides(scan((10, 8, 0.2), (12, 4, 0.3))) == [8]
    assert sides(scan((10, 8, 0.2), (12, 4, 0.9)), replace(RULES, outline_share=0.0)) == [8]


def test_lesions_that_only_their_rims_join_come_apart() -> None:
    volume = scan((10, 8, 0.2), (18, 8, 0.2), (12, 4, 0.9), (20, 4, 0.7))
    assert sides(volume, replace(RULES, outline_share=0.0)) == [16]
    assert sorted(sides(volume)) == [4, 4]


def test_the_share_is_halved_until_a_candidate_is_as_long_as_a_lesion() -> None:
    """One pixel of .9 in rings of .4, .2 and .11: diagonals of 0.5, 1.91, 3.33 and 4.74 mm."""
    rings = scan((10, 7, 0.11), (11, 5, 0.2), (12, 3, 0.4), (13, 1, 0.9))
    from_mm = {0.5: 1, 0.6: 3, 1.9: 3, 2.0: 5, 3.3: 5, 3.4: 7, 9.0: 7}
    for least_mm, side in from_mm.items():
        assert sides(rings, replace(RULES, min_diameter_mm=least_mm, large_from_mm=9.5)) == [side]


def test_what_is_too_short_down_to_the_threshold_is_drawn_whole_and_no_further() -> None:
    assert sides(scan((10, 4, 0.05), (10, 2, 0.12), (10, 1, 0.3))) == [2]


def test_what_is_no_probability_ends_too() -> None:
    assert sides(scan((10, 2, 0.2), (10, 1, np.inf))) == [2]


def test_lesions_are_measured_by_their_outline() -> None:
    volume = scan((10, 8, 0.2), (12, 4, 0.9))
    (narrow,) = find_lesions(volume, RULES).lesions
    assert narrow.volume_mm3 == pytest.approx(2 * 4 * 4 * 2.0 * 0.25)
    assert narrow.mean_probability == pytest.approx(0.9)
    (wide,) = find_lesions(scan((10, 8, 0.2), (12, 1, 0.9)), RULES).lesions
    assert wide.volume_mm3 == pytest.approx(2 * 8 * 8 * 2.0 * 0.25)
    assert wide.max_probability == pytest.approx(0.9)


def test_a_short_piece_beside_one_that_is_long_enough_is_left_alone() -> None:
    """The rim that both share would join them again."""
    volume = scan((10, 9, 0.2), (10, 4, 0.9), (17, 2, 0.6))
    assert sorted(sides(volume)) == [2, 4]


def noise(seed: int) -> Volume:
    """Blobs of all sizes and peaks; the largest is 1."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(9, 60, 60)), 1.2)
    return Volume(np.clip(field / field.max(), 0, 1).astype(np.float32), AFFINE)


def by_labelling_twice(probability: NDArray[np.float32], threshold: float) -> NDArray[np.int32]:
    """Half of each peak kept, over the whole scan."""
    labels, count = label_components(probability >= threshold)
    highest = ndimage.maximum(probability, labels, range(count + 1))
    return label_components((labels > 0) & (probability >= 0.5 * highest[labels]))[0]


@pytest.mark.parametrize("seed", range(4))
def test_outlines_are_the_components_of_what_is_left(seed: int) -> None:
    """Only the numbers of the candidates may differ from those of another way to the same."""
    volume = noise(seed)
    rules = replace(RULES, pixel_threshold=0.2, min_diameter_mm=0.0)
    left = by_labelling_twice(volume.data, 0.2)
    found = outlined(volume, rules)
    assert left.max() > label_components(volume.data >= 0.2)[1]  # some came apart
    assert np.array_equal(found > 0, left > 0)
    assert len(np.unique(np.stack([found, left]).reshape(2, -1), axis=1).T) == left.max() + 1


@pytest.mark.parametrize("seed", range(4))
def test_only_candidates_that_were_too_short_are_drawn_wider(seed: int) -> None:
    volume = noise(seed)
    rules = replace(RULES, pixel_threshold=0.2)
    whole, count = label_components(volume.data >= 0.2)
    narrow = outlined(volume, replace(rules, min_diameter_mm=0.0))
    grown = outlined(volume, rules)
    assert not (grown > 0)[whole == 0].any()
    assert (grown > 0)[narrow > 0].all()
    longest = {c.label: c.max_in_plane_diameter_mm for c in measure_components(whole, AFFINE)}
    changed = 0
    for component in range(1, count + 1):
        own = whole == component
        before, after = (
            max(c.max_in_plane_diameter_mm for c in measure_components(labels * own, AFFINE))
            for labels in (narrow, grown)
        )
        assert after >= min(2.0, longest[component]) - 1e-6
        if before >= 2.0:
            assert np.array_equal(grown[own] > 0, narrow[own] > 0)
        changed += after > before
    assert changed
