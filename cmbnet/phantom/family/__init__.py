"""The wide family of phantoms: heads, contrasts, veins and diseases from priors wider than life.

A network that has seen one simulator knows its home. Here every tissue, fluid, vessel and bone may
be dark, grey or bright, so that what is left to learn is the thing itself: a small roundish spot of
susceptibility inside brain.
"""

from cmbnet.phantom.family.case import make_family_case
from cmbnet.phantom.family.head import FamilyHead, make_family_head

__all__ = ["FamilyHead", "make_family_case", "make_family_head"]
