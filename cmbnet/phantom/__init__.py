"""The digital SWI phantom: heads, veins, microbleeds and what resembles them, with truth.

It checks physics, not realism: no image of a patient was used to build or to tune it.
"""

from cmbnet.phantom.case import PhantomCase, make_case
from cmbnet.phantom.cohort import CohortPlan, write_cohort
from cmbnet.phantom.mimics import MimicKind
from cmbnet.phantom.protocol import PROTOCOL_SETS, Protocol, draw_protocol

__all__ = [
    "PROTOCOL_SETS",
    "CohortPlan",
    "MimicKind",
    "PhantomCase",
    "Protocol",
    "draw_protocol",
    "make_case",
    "write_cohort",
]
