"""The value of every metric if there is nothing to count, as a table that the tests check.

Undefined is NaN in Python, ``null`` in JSON and ``-`` in tables. It is never 0 and never 1. Means
over patients leave undefined values out, and the number of counted patients stands beside every
mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNDEFINED = float("nan")


@dataclass(frozen=True, slots=True)
class EmptyCase:
    """One row of `EMPTY_CASES`."""

    metric: str  # Family of metrics to which the row applies
    situation: str  # Description of what is missing
    value: float  # The returned value. NaN means undefined.
    why: str  # The reason in one sentence


EMPTY_CASES: tuple[EmptyCase, ...] = (
    EmptyCase("dice", "no truth, no prediction", UNDEFINED, "0/0; 1 would let controls lift it"),
    EmptyCase("dice", "no truth, prediction", 0.0, "everything predicted is wrong"),
    EmptyCase("dice", "truth, no prediction", 0.0, "everything true is missed"),
    EmptyCase("precision", "no prediction", UNDEFINED, "nothing was claimed, right or wrong"),
    EmptyCase("precision", "prediction, no truth", 0.0, "every claim is wrong"),
    EmptyCase("recall", "no truth", UNDEFINED, "there was nothing to find"),
    EmptyCase("recall", "truth, no prediction", 0.0, "everything is missed"),
    EmptyCase("f1", "no truth, no prediction", UNDEFINED, "neither precision nor recall exists"),
    EmptyCase("f1", "no truth, prediction", 0.0, "precision is 0"),
    EmptyCase("f1", "truth, no prediction", 0.0, "recall is 0"),
    EmptyCase("volume error, mm3", "no truth, no prediction", 0.0, "both volumes are 0"),
    EmptyCase("volume error, share", "no truth", UNDEFINED, "no volume to relate it to"),
    EmptyCase("fp per scan", "no false lesion", 0.0, "a count; defined for every cohort"),
    EmptyCase("patient fpr", "no controls", UNDEFINED, "nobody could be a false positive"),
    EmptyCase("patient fnr", "no patients with lesions", UNDEFINED, "nobody could be missed"),
    EmptyCase("patient tpr", "no patients with lesions", UNDEFINED, "nobody could be found"),
    EmptyCase("auc", "one class only", UNDEFINED, "no pair of a positive and a negative"),
    EmptyCase("froc", "no truth", UNDEFINED, "sensitivity has no denominator"),
    EmptyCase("froc", "truth, no prediction", 0.0, "no threshold finds anything"),
    EmptyCase("average precision", "no truth", UNDEFINED, "recall has no denominator"),
    EmptyCase("average precision", "truth, no prediction", 0.0, "recall never rises"),
    EmptyCase("kappa", "all ratings in one category", UNDEFINED, "chance agreement is 1: 0/0"),
    EmptyCase("icc", "fewer than two cases", UNDEFINED, "no variance between cases"),
    EmptyCase("icc", "no variance at all", UNDEFINED, "0/0"),
    EmptyCase("bland-altman limits", "one case", UNDEFINED, "no standard deviation"),
)
"""Every empty case, with the value that `cmbnet.evaluation` returns."""


def ratio(numerator: Any, denominator: Any) -> NDArray[np.float64]:
    """Divide. The result is NaN if the denominator is 0.

    Examples:
        >>> ratio(np.array([1.0, 0.0]), np.array([4.0, 0.0])).tolist()
        [0.25, nan]
    """
    top, bottom = np.broadcast_arrays(
        np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    )
    result = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=result, where=bottom != 0)
    return result


def f1_score(precision: Any, recall: Any) -> NDArray[np.float64]:
    """Compute the harmonic mean of precision and recall, with the rules of the table.

    It is undefined if both are undefined, and 0 if one is 0 or only one is defined.

    Examples:
        >>> nan = UNDEFINED
        >>> f1_score([0.5, 0.0, nan, nan, 0.0], [1.0, 0.0, 0.0, nan, nan]).round(3).tolist()
        [0.667, 0.0, 0.0, nan, 0.0]
    """
    p, r = np.broadcast_arrays(np.asarray(precision, float), np.asarray(recall, float))
    known_p, known_r = np.nan_to_num(p, nan=0.0), np.nan_to_num(r, nan=0.0)
    score = np.nan_to_num(ratio(2 * known_p * known_r, known_p + known_r), nan=0.0)
    return np.where(np.isnan(p) & np.isnan(r), np.nan, score)
