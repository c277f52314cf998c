"""Where a lesion lies: regions of the Microbleed Anatomical Rating Scale, from a coarse head."""

from cmbnet.regions.atlas import HeadTemplate, head_template
from cmbnet.regions.locate import Locator, locate
from cmbnet.regions.places import REGIONS, UNKNOWN, Place, group_of, pattern_of

__all__ = [
    "REGIONS",
    "UNKNOWN",
    "HeadTemplate",
    "Locator",
    "Place",
    "group_of",
    "head_template",
    "locate",
    "pattern_of",
]
