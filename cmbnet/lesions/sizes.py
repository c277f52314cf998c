"""The size classes of microbleeds. Nothing else defines them.

The maximum in-plane diameter decides. A microbleed is small from 2 to below 5 mm, and large from 5
to 10 mm. 2 and 10 mm themselves count (Greenberg et al. 2009, doi:10.1016/S1474-4422(09)70013-4;
Fan et al. 2022).
"""

from __future__ import annotations

SMALLEST_MM, LARGE_FROM_MM, LARGEST_MM = 2.0, 5.0, 10.0

BOUNDARY_TOLERANCE_MM = 1e-6
"""Tolerance of a bound. With it, 25 pixels of 0.4 mm are 10 mm although the affine is rounded."""

SIZES = ("below 2 mm", "2-5 mm", "5-10 mm", "above 10 mm")
"""Names of the classes, in order. `COUNTED_SIZES` names those of microbleeds."""
COUNTED_SIZES = SIZES[1:3]


def reaches(diameter_mm: float, bound_mm: float) -> bool:
    """Return whether a diameter is at least a bound.

    Examples:
        >>> reaches(4.9999999, 5.0), reaches(4.999, 5.0)
        (True, False)
    """
    return diameter_mm >= bound_mm - BOUNDARY_TOLERANCE_MM


def exceeds(diameter_mm: float, bound_mm: float) -> bool:
    """Return whether a diameter is more than a bound.

    Examples:
        >>> exceeds(10.0000001, 10.0), exceeds(10.001, 10.0)
        (False, True)
    """
    return diameter_mm > bound_mm + BOUNDARY_TOLERANCE_MM


def size_name(diameter_mm: float) -> str:
    """Return the class of a maximum in-plane diameter, one of `SIZES`.

    Examples:
        >>> [size_name(d) for d in (1.99, 2.0, 4.99, 5.0, 10.0, 10.01)]
        ['below 2 mm', '2-5 mm', '2-5 mm', '5-10 mm', '5-10 mm', 'above 10 mm']
    """
    if exceeds(diameter_mm, LARGEST_MM):
        return SIZES[3]
    return SIZES[reaches(diameter_mm, SMALLEST_MM) + reaches(diameter_mm, LARGE_FROM_MM)]
