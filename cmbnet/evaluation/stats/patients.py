"""The patient level: missed patients and alarmed controls. Nothing else defines them.

If none of the true lesions of a patient is found, the patient is *missed*. If at least one
predicted lesion of a control is false, the control is *alarmed*. At a threshold, only predicted
lesions of that score or more count. The call of a scan by its best score, right or wrong, is
another thing (`cmbnet.evaluation.stats.froc.patient_samples`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEVER = -np.inf
"""Reach of a patient without a found lesion, and of a control without a false lesion."""


def patient_classes(has_lesions: Any, found: Any, false: Any) -> dict[str, NDArray[np.bool_]]:
    """Tell which patients are TP, FN (missed), FP (alarmed) and TN.

    `found` says whether at least one true lesion is found, `false` whether at least one predicted
    one is false.

    Examples:
        >>> classes = patient_classes([True, True, False], [True, False, False], [True, True, True])
        >>> [name for name, of in classes.items() for member in of if member]
        ['tp', 'fn', 'fp']
    """
    has, found, false = (np.asarray(one, bool) for one in (has_lesions, found, false))
    return {"tp": has & found, "fn": has & ~found, "fp": ~has & false, "tn": ~has & ~false}


@dataclass(frozen=True, slots=True)
class PatientScores:
    """The patient level by threshold."""

    has_lesions: NDArray[np.bool_]  # Whether each patient has true lesions
    # For a patient with lesions, the highest threshold at which one of them is found. For a
    # control, the highest score of a false lesion. Otherwise `NEVER`.
    reach: NDArray[np.float64]

    def at(self, threshold: float) -> dict[str, int]:
        """Count TP, FN, FP and TN at a threshold."""
        reached = self.reach >= threshold
        classes = patient_classes(self.has_lesions, reached, reached)
        return {name: int(members.sum()) for name, members in classes.items()}
