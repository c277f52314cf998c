"""Predictions and readers that are made from a reference by known errors.

For tests, worked examples and benchmarks: the number of missed and false lesions is known, so the
scorer can be checked. They say nothing about any model or person.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmbnet.evaluation.match.labels import read_labels
from cmbnet.volume import Volume


@dataclass(frozen=True, slots=True)
class Errors:
    """How a simulated prediction differs from the truth.

    Args:
        miss: Probability that a true lesion is left out.
        false_per_scan: Expected number of added lesions.
        shift_voxels: Largest in-plane displacement of a kept lesion.
        diameter_mm: Smallest and largest diameter of an added lesion.
    """

    miss: float = 0.15
    false_per_scan: float = 0.5
    shift_voxels: int = 1
    diameter_mm: tuple[float, float] = (2.0, 5.0)


@dataclass(frozen=True, slots=True)
class Simulated:
    """A simulated prediction.

    Args:
        labels: Instance labels, uint16.
        probability: float32 in [0, 1]: constant 0.5 to 1 in each lesion, below 0.5 outside.
    """

    labels: Volume
    probability: Volume


def simulate_prediction(
    truth: Volume, errors: Errors, seed: int, *, brain: NDArray[np.bool_] | None = None
) -> Simulated:
    """Leave lesions out, displace the others, add false ones.

    Args:
        truth: Mask or instance labels.
        errors: What goes wrong.
        seed: The same seed gives the same prediction.
        brain: Where false lesions are put; everywhere if None.
    """
    rng = np.random.default_rng(seed)
    reference = read_labels(truth)
    labels = np.zeros(truth.shape, np.uint16)
    score = np.zeros(truth.shape, np.float32)
    for number in range(reference.count):
        if rng.random() < errors.miss:
            continue
        voxels = reference.where()[reference.lesion == number]
        shift = rng.integers(-errors.shift_voxels, errors.shift_voxels + 1, size=2)
        voxels[:, 1:] += shift
        _put(labels, score, voxels, rng.uniform(0.6, 1.0))
    places = np.argwhere(brain if brain is not None else np.ones(truth.shape, bool))
    for _ in range(rng.poisson(errors.false_per_scan)):
        centre = places[rng.integers(len(places))]
        radius = rng.uniform(*errors.diameter_mm) / 2
        _put(labels, score, _ball(truth, centre, radius), rng.uniform(0.5, 0.9))
    noise = rng.random(truth.shape, np.float32) * np.float32(0.1)
    return Simulated(truth.with_data(labels), truth.with_data(np.where(labels > 0, score, noise)))


def simulate_reader(
    system: Volume, truth: Volume, seed: int, *, oversight: float = 0.1, doubt: float = 0.05
) -> Volume:
    """A reader who revises the system's output towards the truth, not always noticing.

    Args:
        system: Instance labels or mask of the system.
        truth: Instance labels or mask of the truth.
        seed: The same seed gives the same reader.
        oversight: Probability that a false lesion is left in, or a missed one not added.
        doubt: Probability that a right lesion is removed.
    """
    rng = np.random.default_rng(seed)
    given, right = read_labels(system), read_labels(truth)
    held, wanted = given.dense(), right.dense()
    revised = np.zeros(system.shape, np.uint16)
    for number in range(1, given.count + 1):
        voxels = held == number
        removed = doubt if np.any(wanted[voxels]) else 1 - oversight
        if rng.random() >= removed:
            revised[voxels] = revised.max() + 1
    for number in range(1, right.count + 1):
        voxels = wanted == number
        if not np.any(held[voxels]) and rng.random() >= oversight:
            revised[voxels] = revised.max() + 1
    return system.with_data(revised)


def _ball(grid: Volume, centre: NDArray[np.int64], radius_mm: float) -> NDArray[np.int64]:
    reach = np.ceil(radius_mm / np.array(grid.spacing_mm)).astype(int)
    offsets = np.stack(
        np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1
    ).reshape(-1, 3)
    distance = np.linalg.norm(offsets @ grid.affine[:3, :3].T, axis=1)
    inside: NDArray[np.int64] = offsets[distance <= radius_mm] + centre
    return inside


def _put(
    labels: NDArray[np.uint16], score: NDArray[np.float32], voxels: NDArray[np.int64], value: float
) -> None:
    """Draw a lesion where the grid and no other lesion is."""
    inside = np.all((voxels >= 0) & (voxels < labels.shape), axis=1)
    z, y, x = voxels[inside].T
    free = labels[z, y, x] == 0
    if not free.any():
        return
    at = (z[free], y[free], x[free])
    labels[at] = labels.max() + 1
    score[at] = value
