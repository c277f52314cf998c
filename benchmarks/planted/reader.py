"""A reader's rule, the same in every image: what a microbleed needs in order to be counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cmbnet.lesions.sizes import SMALLEST_MM, reaches
from cmbnet.phantom.truth import FAINTEST_DROP


@dataclass(frozen=True, slots=True)
class Look:
    """A microbleed in one image.

    Args:
        drop: Largest relative loss of signal, 0 to 1.
        diameter_mm: Apparent, largest in a slice.
        contrast_to_noise: Largest loss of signal over the sd of the brain around it: noise,
            tissue and veins.
    """

    drop: float
    diameter_mm: float
    contrast_to_noise: float


@dataclass(frozen=True, slots=True)
class Reader:
    """The rule: that of the truth of a case, and Rose's criterion against the surroundings.

    Args:
        least_contrast_to_noise: Rose: what differs from its surroundings by five standard
            deviations is told apart nearly always.
        least_drop: Of a `Look`.
        least_diameter_mm: Of a `Look`.

    References:
        A. Rose, Vision: Human and Electronic, Plenum Press 1973.
    """

    least_contrast_to_noise: float = 5.0
    least_drop: float = FAINTEST_DROP
    least_diameter_mm: float = SMALLEST_MM

    def counts(self, look: Look) -> bool:
        """Whether a microbleed is counted."""
        return (
            look.contrast_to_noise >= self.least_contrast_to_noise
            and look.drop >= self.least_drop
            and reaches(look.diameter_mm, self.least_diameter_mm)
        )

    def found_of(self, looks: Sequence[Look], reference: Sequence[Look]) -> tuple[int, int]:
        """Count in one image what is counted in another.

        Args:
            looks: Microbleeds in the image in question.
            reference: The same ones, in the same order, in the image that says which there are.

        Returns:
            How many are counted in both images, and how many in the reference.
        """
        there = [look for look, other in zip(looks, reference, strict=True) if self.counts(other)]
        return sum(self.counts(look) for look in there), len(there)
