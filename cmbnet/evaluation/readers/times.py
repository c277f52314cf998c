"""Reading times with and without the system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from cmbnet.errors import InputRefused
from cmbnet.evaluation.stats.bootstrap import draw_weights
from cmbnet.evaluation.stats.intervals import Interval, percentile
from cmbnet.evaluation.stats.ratios import ratio
from cmbnet.io.table import read_rows

FEWEST_PAIRS = 6
"""Smallest number of pairs with which Wilcoxon's test can reach P < 0.05."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading: the reader, the case, with or without the system, and the time."""

    reader: str
    case: str
    arm: str  # with or without
    seconds: float


@dataclass(frozen=True, slots=True)
class TimeResult:
    """Reading times of one reader, or of all."""

    reader: str  # Name, or ``all``
    pairs: int  # Number of cases that were read in both arms. Only these are compared.
    mean_with_s: float  # Mean time with the system
    mean_without_s: float  # Mean time without the system
    median_with_s: float  # Median time with the system
    median_without_s: float  # Median time without the system
    saved: float  # 1 - total time with / total time without
    saved_interval: Interval  # Interval of the saved share by case
    p: float  # Two-sided Wilcoxon signed-rank P. NaN with fewer than `FEWEST_PAIRS` pairs.


def read_times(path: Path) -> list[Reading]:
    """Read a CSV with the columns reader, case, arm (``with`` or ``without``), seconds.

    Raises:
        UnreadableFile: If the file is not such a table.
        InputRefused: If an arm or a time is impossible, or a reading occurs twice.
    """
    readings = read_rows(path, "columns reader, case, arm, seconds", _reading)
    for one in readings:
        if one.arm not in ("with", "without") or not 0 < one.seconds < np.inf:
            raise InputRefused(
                f"arm with or without and a positive time are required, got {one.arm!r} and "
                f"{one.seconds:g} s for reader {one.reader}, case {one.case}, in {path}"
            )
    if len({(r.reader, r.case, r.arm) for r in readings}) < len(readings):
        raise InputRefused(f"a reader read a case twice in the same arm in {path}")
    return readings


def _reading(row: dict[str, str]) -> Reading:
    return Reading(row["reader"], row["case"], row["arm"], float(row["seconds"]))


def compare_times(
    readings: Sequence[Reading], *, resamples: int = 10_000, seed: int = 0
) -> list[TimeResult]:
    """Compare the arms for each reader, then for all readers together.

    Raises:
        InputRefused: If a reader has no case in both arms.
    """
    paired: dict[str, dict[str, tuple[float, float]]] = {}
    times = {(r.reader, r.case, r.arm): r.seconds for r in readings}
    for reader, case, arm in sorted(times):
        if arm == "with" and (reader, case, "without") in times:
            both = times[reader, case, "with"], times[reader, case, "without"]
            paired.setdefault(reader, {})[case] = both
    unpaired = sorted({r.reader for r in readings} - paired.keys())
    if unpaired:
        raise InputRefused(f"no case was read in both arms by {', '.join(unpaired)}")
    results = [
        _compare(reader, np.array(list(cases.values())), list(cases), resamples, seed)
        for reader, cases in paired.items()
    ]
    names = [case for cases in paired.values() for case in cases]
    every = np.array([both for cases in paired.values() for both in cases.values()])
    return [*results, _compare("all", every, names, resamples, seed)]


def _compare(
    reader: str, times: NDArray[np.float64], cases: Sequence[str], resamples: int, seed: int
) -> TimeResult:
    # By case, not by reading: readings of one case by several readers are not independent.
    names, row = np.unique(np.array(cases), return_inverse=True)
    totals = np.zeros((len(names), 2))
    np.add.at(totals, row, times)
    sums = np.concatenate(list(draw_weights(len(names), resamples, seed))) @ totals
    differ = times[:, 0] - times[:, 1]
    enough = len(times) >= FEWEST_PAIRS and np.any(differ)
    return TimeResult(
        reader=reader,
        pairs=len(times),
        mean_with_s=float(times[:, 0].mean()),
        mean_without_s=float(times[:, 1].mean()),
        median_with_s=float(np.median(times[:, 0])),
        median_without_s=float(np.median(times[:, 1])),
        saved=float(1 - times[:, 0].sum() / times[:, 1].sum()),
        saved_interval=percentile(1 - ratio(sums[:, 0], sums[:, 1])),
        p=float(wilcoxon(differ).pvalue) if enough else float("nan"),
    )
