"""Phase beside the SWI: its unit, its sign, and what it says of each candidate.

Calcium is diamagnetic, old blood paramagnetic. In SWI both are dark; in phase they are opposite.
"""

from cmbnet.phase.fringes import fringe_ends
from cmbnet.phase.sign import ScanSign, Susceptibility, scan_sign, susceptibility
from cmbnet.phase.units import Phase, PhaseRefused, read_phase

__all__ = [
    "Phase",
    "PhaseRefused",
    "ScanSign",
    "Susceptibility",
    "fringe_ends",
    "read_phase",
    "scan_sign",
    "susceptibility",
]
