"""Validation on whole slices while training: pixel Dice, and hits and false alarms by blob."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmbnet.errors import InputRefused
from cmbnet.training.data.cache_part import IGNORE, LESION
from cmbnet.training.fit.recipe import Recipe
from cmbnet.training.fit.sampler import Sampler

EIGHT_CONNECTED = np.ones((3, 3), bool)
THRESHOLDS = tuple(np.round(np.arange(0.1, 0.95, 0.05), 2).tolist())


@dataclass(frozen=True, slots=True)
class ValidationScores:
    """The scores over all validation slices together."""

    dice: float  # Dice of the pixels of all slices at the recipe's threshold
    best_dice: float  # Dice at the best threshold of `THRESHOLDS`
    best_threshold: float  # This best threshold
    loss: float  # Mean binary cross-entropy of a pixel
    sensitivity: float  # Share of lesion blobs (2D, 8-connected) that the mask touches
    false_blobs: float  # Number of blobs per slice that touch no lesion

    def to_dict(self) -> dict[str, float]:
        """Return the columns of the log, whose names begin with ``val_``."""
        return {f"val_{name}": float(getattr(self, name)) for name in self.__slots__}


def choose_slices(sampler: Sampler, count: int, seed: int) -> list[tuple[int, int]]:
    """Choose fixed validation slices (case, z), half with a lesion and half without.

    Negative slices have mimics or dark blobs.

    Raises:
        InputRefused: If the validation cases hold no lesion.
    """
    rng = np.random.default_rng(seed)
    positive: set[tuple[int, int]] = set()
    hard: set[tuple[int, int]] = set()
    for index, case in enumerate(sampler.cache.cases):
        with_lesion = set(case.crop_centres.lesion[:, 0].tolist())
        positive |= {(index, z) for z in with_lesion}
        others = [*case.crop_centres.mimic[:, 0].tolist(), *case.crop_centres.dark[:, 0].tolist()]
        hard |= {(index, z) for z in others if z not in with_lesion}
    if not positive:
        raise InputRefused("validation needs a case with lesions, the cache holds none")
    return _some(positive, count - count // 2, rng) + _some(hard, count // 2, rng)


def _some(slices: set[tuple[int, int]], count: int, rng: Any) -> list[tuple[int, int]]:
    """Draw at most `count` slices without repetition, and sort them."""
    ordered = sorted(slices)
    chosen = rng.choice(len(ordered), min(count, len(ordered)), replace=False)
    return [ordered[n] for n in np.sort(chosen)]


class SlicePredictor:
    """A function that runs a model on whole slices of the cache.

    Every case has a box of its own size. JAX compiles the network anew for every size, so there
    the box is laid into the frame, with 0 around it as in the crops of training.
    The network takes any size of slice.
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    def __call__(self, sampler: Sampler, case: int, z: int) -> NDArray[np.float32]:
        """Compute the probability (y, x) of one slice."""
        stack = np.moveaxis(sampler.stack(case, z), 0, -1)[np.newaxis]
        batch = stack.astype(np.float32) / np.float32(255.0)
        if keras.backend.backend() == "tensorflow":
            answer = np.asarray(self._model(batch, training=False))
        else:
            _, height, width = sampler.cache.cases[case].frame_shape
            around = ((0, 0), (0, height - batch.shape[1]), (0, width - batch.shape[2]), (0, 0))
            whole = self._model.predict_on_batch(np.pad(batch, around))
            answer = np.asarray(whole)[:, : batch.shape[1], : batch.shape[2]]
        probability: NDArray[np.float32] = answer[0, ..., 0]
        return probability


def validate(
    predict: Any, sampler: Sampler, slices: list[tuple[int, int]], recipe: Recipe
) -> ValidationScores:
    """Score the model on the chosen slices.

    `predict` maps (sampler, case, z) to a probability (y, x).
    """
    overlap = np.zeros((len(THRESHOLDS) + 1, 3))
    loss, pixels = 0.0, 0
    blobs = np.zeros(3)
    thresholds = (recipe.validation.threshold, *THRESHOLDS)
    for case, z in slices:
        probability = predict(sampler, case, z)
        marks = sampler.cache.cases[case].marks[z]
        counted = (marks & IGNORE) == 0
        truth = ((marks & LESION) > 0) & counted
        for row, threshold in enumerate(thresholds):
            mask = (probability > threshold) & counted
            overlap[row] += (np.sum(mask & truth), np.sum(mask), np.sum(truth))
        p = np.clip(probability[counted].astype(np.float64), 1e-7, 1 - 1e-7)
        loss -= float(np.sum(np.where(truth[counted], np.log(p), np.log1p(-p))))
        pixels += p.size
        blobs += _blobs((probability > thresholds[0]) & counted, truth)
    dice = 2 * overlap[:, 0] / np.maximum(overlap[:, 1] + overlap[:, 2], 1)
    best = int(np.argmax(dice[1:]))
    return ValidationScores(
        dice=float(dice[0]),
        best_dice=float(dice[1 + best]),
        best_threshold=THRESHOLDS[best],
        loss=loss / max(pixels, 1),
        sensitivity=float(blobs[0] / max(blobs[1], 1)),
        false_blobs=float(blobs[2] / max(len(slices), 1)),
    )


def _blobs(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Count the lesion blobs that are hit, all lesion blobs, and the false blobs of the mask."""
    lesions, n_lesions = ndimage.label(truth, EIGHT_CONNECTED)
    found, n_found = ndimage.label(mask, EIGHT_CONNECTED)
    hit = len(np.unique(lesions[mask & truth]))
    true_found = len(np.unique(found[mask & truth]))
    return np.array([hit, n_lesions, n_found - true_found], float)
