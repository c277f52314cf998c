"""Bootstrap bands, by patient, of the ordinate of ROC and FROC curves at fixed abscissae."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmbnet.evaluation.match.score import ScoredCase
from cmbnet.evaluation.stats.bootstrap import draw_weights
from cmbnet.evaluation.stats.columns import counted_truth, scored_predicted
from cmbnet.evaluation.stats.froc import Samples
from cmbnet.evaluation.stats.intervals import TAILS
from cmbnet.evaluation.stats.ratios import ratio

EVENTS_AT_ONCE = 4_000_000
"""Number of weights in memory at a time: resamples times lesions."""


@dataclass(frozen=True, slots=True)
class Events:
    """The steps of a curve as the threshold falls."""

    score: NDArray[np.float64]  # Threshold of each step, shape (events,)
    owner: NDArray[np.int64]  # Row of the patient of each step
    rises: NDArray[np.bool_]  # Whether a step goes up (a found lesion) or right (a false lesion)
    up: NDArray[np.float64]  # Denominator of the ordinate per patient (number of true lesions)
    right: NDArray[np.float64]  # Denominator of the abscissa per patient (scans, or negatives)


@dataclass(frozen=True, slots=True)
class Band:
    """The interval of a curve's ordinate at fixed abscissae."""

    x: NDArray[np.float64]  # The abscissae
    low: NDArray[np.float64]  # Lower quantile of the ordinate over the resamples
    high: NDArray[np.float64]  # Upper quantile of the ordinate over the resamples


def froc_events(cases: Sequence[ScoredCase], patients: Sequence[str]) -> Events:
    """Make the events of a FROC from found true lesions and false lesions with scores."""
    row = {name: index for index, name in enumerate(patients)}
    found = [
        (t.detection_score, row[c.patient], True)
        for c in cases
        for t in counted_truth([c])
        if not np.isnan(t.detection_score)
    ]
    false = [
        (p.detection_score, row[c.patient], False)
        for c in cases
        for p in scored_predicted([c])
        if p.verdict == "false"
    ]
    up, right = np.zeros(len(patients)), np.zeros(len(patients))
    for case in cases:
        up[row[case.patient]] += len(counted_truth([case]))
        right[row[case.patient]] += 1
    return _events([*found, *false], up, right)


def roc_events(samples: Samples, patients: Sequence[str]) -> Events:
    """Make the events of a ROC curve."""
    row = {name: index for index, name in enumerate(patients)}
    owner = np.array([row[name] for name in samples.patient], np.int64)
    n = len(patients)
    up = np.bincount(owner[samples.positive], minlength=n).astype(float)
    right = np.bincount(owner[~samples.positive], minlength=n).astype(float)
    return Events(samples.score, owner, samples.positive, up, right)


def curve_band(events: Events, x: NDArray[np.float64], *, resamples: int, seed: int) -> Band:
    """Compute the percentile interval of the highest ordinate up to each abscissa."""
    values = np.concatenate(
        [_ordinates(events, x, weights) for weights in _chunks(events, resamples, seed)]
    )
    values = values[~np.isnan(values).any(axis=1)]
    if not len(values):
        return Band(x, np.full(len(x), np.nan), np.full(len(x), np.nan))
    low, high = np.quantile(values, TAILS, axis=0)
    return Band(x, low, high)


def _events(
    rows: list[tuple[float, int, bool]], up: NDArray[np.float64], right: NDArray[np.float64]
) -> Events:
    return Events(
        score=np.array([row[0] for row in rows], float),
        owner=np.array([row[1] for row in rows], np.int64),
        rises=np.array([row[2] for row in rows], bool),
        up=up,
        right=right,
    )


def _chunks(events: Events, resamples: int, seed: int) -> list[NDArray[np.float64]]:
    rows = max(1, EVENTS_AT_ONCE // max(1, len(events.score)))
    every = np.concatenate(list(draw_weights(len(events.up), resamples, seed)))
    return np.split(every, range(rows, resamples, rows))


def _ordinates(
    events: Events, x: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute the ordinates (resamples, len(x)) of the weighted curves."""
    order = np.argsort(-events.score, kind="stable")
    weight = weights[:, events.owner[order]]
    rises = events.rises[order]
    up = np.cumsum(np.where(rises, weight, 0), axis=1)
    right = np.cumsum(np.where(rises, 0, weight), axis=1)
    # Equal scores happen together: only the last of them is a point of the curve.
    score = events.score[order]
    last = np.append(score[1:] != score[:-1], True)[: len(score)]
    start = np.zeros((len(weights), 1))
    up, right = np.hstack([start, up[:, last]]), np.hstack([start, right[:, last]])
    total_up, total_right = weights @ events.up, weights @ events.right
    right = ratio(right, total_right[:, np.newaxis])
    up = ratio(up, total_up[:, np.newaxis])
    reached = np.stack([(right <= at).sum(axis=1) for at in x], axis=1)
    values = np.take_along_axis(up, np.maximum(reached - 1, 0), axis=1)
    values[np.isnan(right[:, :1]).repeat(len(x), axis=1)] = np.nan
    return values
