"""What tissues are: relaxation, density, susceptibility, and the signal they give.

Values and their sources: docs/phantom.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cmbnet.phantom.protocol import Protocol


@dataclass(frozen=True, slots=True)
class Tissue:
    """Properties of one tissue."""

    density: float  # Proton density, water is 1
    t1_ms: tuple[float, float]  # T1 at 1.5 T and at 3 T
    r2s_per_s: tuple[float, float]  # R2* at 1.5 T and at 3 T
    chi_ppm: float  # Volume susceptibility relative to water, SI

    def at(self, field_t: float) -> tuple[float, float]:
        """Return T1 in ms and R2* in 1/s at a field, linear through 1.5 T and 3 T."""
        share = (field_t - 1.5) / 1.5
        t1 = self.t1_ms[0] + share * (self.t1_ms[1] - self.t1_ms[0])
        r2s = self.r2s_per_s[0] + share * (self.r2s_per_s[1] - self.r2s_per_s[0])
        return t1, r2s


TISSUES: dict[str, Tissue] = {
    "white": Tissue(0.70, (650, 850), (15.1, 20.1), -0.030),
    "cortex": Tissue(0.82, (1050, 1350), (12.4, 17.8), 0.020),
    "csf": Tissue(1.00, (4100, 4200), (1.5, 2.0), 0.019),
    "thalamus": Tissue(0.76, (850, 1100), (15, 21), 0.020),
    "caudate": Tissue(0.80, (1000, 1250), (17, 24), 0.044),
    "putamen": Tissue(0.80, (950, 1200), (18, 30), 0.060),
    "pallidus": Tissue(0.72, (780, 950), (24, 37.8), 0.131),
    "red nucleus": Tissue(0.74, (800, 1000), (22, 36), 0.100),
    "nigra": Tissue(0.74, (830, 1050), (23, 38), 0.111),
    "dentate": Tissue(0.76, (900, 1150), (22, 36), 0.152),
    "vein": Tissue(0.85, (1450, 1650), (18, 45), 0.38),
    "scalp": Tissue(0.80, (290, 370), (15, 25), 0.0),
    "bone": Tissue(0.05, (400, 500), (300, 500), -2.1),
    "lesion": Tissue(0.60, (900, 1150), (250, 250), 1.0),
    "calcification": Tissue(0.02, (900, 1150), (400, 400), -2.5),
}

NUCLEI = ("thalamus", "caudate", "putamen", "pallidus", "red nucleus", "nigra", "dentate")
"""Order of the nucleus labels, 1 for the first; a later one is written over an earlier one."""


def spoiled_echo(tissue: Tissue, protocol: Protocol, *, r2s_factor: float = 1.0) -> float:
    """Compute the magnitude of a spoiled gradient echo, relative to fully recovered water.

    ``PD sin(a) (1 - E1) / (1 - cos(a) E1) exp(-TE R2*)`` with ``E1 = exp(-TR / T1)``.
    `r2s_factor` multiplies R2*, for individual iron.
    """
    t1_ms, r2s = tissue.at(protocol.field_t)
    angle = np.deg2rad(protocol.flip_deg)
    e1 = np.exp(-protocol.tr_ms / t1_ms)
    steady = np.sin(angle) * (1 - e1) / (1 - np.cos(angle) * e1)
    decay = np.exp(-protocol.te_ms * 1e-3 * r2s * r2s_factor)
    return float(tissue.density * steady * decay)
