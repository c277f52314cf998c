"""Ratios and harmonic means with nothing to count.

Undefined is NaN in Python, ``null`` in JSON and ``-`` in tables. It is never 0 and never 1. Means
over patients leave undefined values out, and the number of counted patients stands beside every
mean. ``docs/metrics.md`` says for each metric when it is undefined, and a test checks every case.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


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
    """Compute the harmonic mean of precision and recall, if it is defined.

    It is undefined if both are undefined, and 0 if one is 0 or only one is defined.

    Examples:
        >>> nan = float("nan")
        >>> f1_score([0.5, 0.0, nan, nan, 0.0], [1.0, 0.0, 0.0, nan, nan]).round(3).tolist()
        [0.667, 0.0, 0.0, nan, 0.0]
    """
    p, r = np.broadcast_arrays(np.asarray(precision, float), np.asarray(recall, float))
    known_p, known_r = np.nan_to_num(p, nan=0.0), np.nan_to_num(r, nan=0.0)
    score = np.nan_to_num(ratio(2 * known_p * known_r, known_p + known_r), nan=0.0)
    return np.where(np.isnan(p) & np.isnan(r), np.nan, score)
