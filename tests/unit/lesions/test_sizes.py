"""One definition of sizes: all parts agree at the bounds."""

from __future__ import annotations

import numpy as np
import pytest

from cmbnet.deploy.gate import small_lesions
from cmbnet.evaluation import Case, score_case
from cmbnet.evaluation.show.figures import size_bar
from cmbnet.lesions import (
    LesionRules,
    find_lesions,
    measure_components,
    size_class,
    size_name,
    spacing_affine,
)
from cmbnet.volume import Volume

PIXEL_MM = float(np.float32(0.4))
"""What a header of float32 makes of .4: a little more."""


def row(pixels: int) -> Volume:
    """A line of pixels in one slice."""
    data = np.zeros((3, 3, pixels + 4), np.float32)
    data[1, 1, 2 : 2 + pixels] = 1.0
    return Volume(data, spacing_affine((2.0, PIXEL_MM, PIXEL_MM)))


@pytest.mark.parametrize(
    ("pixels", "name", "of_rules", "small", "bar"),
    [
        (4, "below 2 mm", "outside", False, 0),
        (5, "2-5 mm", "small", True, 1),
        (12, "2-5 mm", "small", True, 3),
        (25, "5-10 mm", "large", False, 5),  # 10.00000015 mm
        (26, "above 10 mm", "outside", False, 6),
    ],
)
def test_every_part_has_the_same_size_classes(
    pixels: int, name: str, of_rules: str, small: bool, bar: int
) -> None:
    volume = row(pixels)
    (component,) = measure_components(volume.data.astype(np.int32), volume.affine)
    diameter = component.max_in_plane_diameter_mm
    assert diameter == pytest.approx(pixels * 0.4, abs=1e-6)
    assert size_name(diameter) == name
    assert size_class(diameter, LesionRules()) == of_rules
    finding = find_lesions(volume, LesionRules(max_elongation=1e6))
    assert (*finding.lesions, *finding.excluded)[0].size_class == of_rules
    assert score_case(Case("a", volume, volume)).truth[0].size == name
    assert small_lesions(np.array([1]), [(1, diameter)]) == ({1} if small else set())
    assert size_bar(diameter) == bar
