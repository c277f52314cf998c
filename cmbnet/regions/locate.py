"""`locate`: the places of lesions on a scan, or the reason why they are unknown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import floor
from typing import Final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from cmbnet.regions.atlas import head_template
from cmbnet.regions.places import UNKNOWN, Place
from cmbnet.regions.register import COARSE_MM, Alignment, align, cells_of

LEAST_OVERLAP: Final = 0.93
LEAST_EXPLAINED: Final = 0.1
"""Below one of these the template does not lie on the scan."""

LEAST_BRAIN_ML: Final = 150.0
"""Less brain than this could lie anywhere."""


@dataclass(frozen=True, slots=True)
class Locator:
    """The alignment of the template to a scan.

    Args:
        alignment: The map from the world of the scan to MNI space. None without a brain.
        failed: Why nothing is located, as a sentence. Empty if the alignment is good.
    """

    alignment: Alignment | None
    failed: str = ""

    def place(self, centre_ras_mm: tuple[float, float, float]) -> Place:
        """The place of a position in the world of the scan, right, anterior, superior."""
        if self.failed or self.alignment is None:
            return UNKNOWN
        point = self.alignment.to_template(np.array(centre_ras_mm[::-1], float)[None])
        template = head_template()
        return replace(template.labels.place(point[0]), tissue=template.tissue(point[0]))


def locate(
    image: NDArray[np.floating], brain: NDArray[np.bool_], affine: NDArray[np.float64]
) -> Locator:
    """Align the template to a scan.

    Args:
        image: (z, y, x) brightness, any unit and contrast.
        brain: Mask of the same shape.
        affine: (4, 4), index (z, y, x, 1) to RAS+ mm.
    """
    brain_ml = np.count_nonzero(brain) * abs(np.linalg.det(affine[:3, :3])) / 1000
    if brain_ml < LEAST_BRAIN_ML:
        return Locator(
            None,
            f"no regions are given: at least {LEAST_BRAIN_ML:g} ml of brain are required, "
            f"got {brain_ml:.0f}",
        )
    # More threads would not be quicker here, and wait busily while other work has the processors.
    with threadpool_limits(1, user_api="blas"):
        coarse = cells_of(image, brain, affine, blur_mm=COARSE_MM)
        found = align(coarse, cells_of(image, brain, affine), head_template().tissues)
    return Locator(found, _why_bad(found))


def _why_bad(found: Alignment) -> str:
    measures = (
        ("overlap of the brain", found.overlap, LEAST_OVERLAP),
        ("brightness that the tissues explain", found.explained, LEAST_EXPLAINED),
    )
    return _sentence((name, value, least) for name, value, least in measures if value < least)


def _sentence(short: Iterable[tuple[str, float, float]]) -> str:
    # Rounded down: what falls short of a limit must not be printed as the limit.
    said = " and ".join(
        f"{name} {floor(100 * value) / 100:g} (required {least:g})" for name, value, least in short
    )
    return f"no regions are given: the template head does not fit the scan: {said}" if said else ""
