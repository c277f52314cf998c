"""Run the pipeline on the scans of the parity gate, which are prepared once for all backends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from cmbnet.deploy.gate import GateCase
from cmbnet.predict import Prediction, Request, predict_prepared, predict_volume
from cmbnet.preprocess import prepare
from cmbnet.slices import DEFAULT_MARGIN_PIXELS

if TYPE_CHECKING:
    from cmbnet.backends import Backend
    from cmbnet.backends.base import Shape
    from cmbnet.bundle import Bundle
    from cmbnet.preprocess import PreprocessRecipe
    from cmbnet.volume import Volume

BORDER_PIXELS = DEFAULT_MARGIN_PIXELS + 4
"""Pixels between the brain and the border of its crop, with room for resampling."""


def gate_predictions(
    bundle: Bundle, backend: Backend, cases: Iterable[GateCase]
) -> list[Prediction]:
    """Predict the cases by one backend, in order.

    The quality gate is overruled, because it judges the scan, which is the same for all backends.
    """
    return [
        predict_volume(
            case.scan,
            bundle,
            backend,
            Request(force=True),
            brain_mask=_within(case, bundle.recipe, backend.shapes[-1]),
        )
        for case in cases
    ]


def predict_like(
    bundle: Bundle, backend: Backend, reference: Iterable[Prediction]
) -> list[Prediction]:
    """Predict the same scans by another backend of the same shapes.

    Preparation does not depend on the backend, so the scans prepared for the reference are used.
    """
    return [
        predict_prepared(seen.volume, bundle, backend, prepared=seen.prepared, quality=seen.quality)
        for seen in reference
    ]


def _within(case: GateCase, recipe: PreprocessRecipe, shape: Shape) -> Volume | None:
    """Return the part of the brain that fits into a crop.

    Without it, a network for small crops would never see a brain that is too large for it.
    """
    if shape == (recipe.size, recipe.size):
        return case.brain
    prepared = prepare(case.scan, recipe, brain_mask=case.brain)
    window = np.zeros_like(prepared.brain)
    y, x = (
        slice((size - length) // 2 + BORDER_PIXELS, (size + length) // 2 - BORDER_PIXELS)
        for size, length in zip(prepared.brain.shape[1:], shape, strict=True)
    )
    window[:, y, x] = prepared.brain[:, y, x]
    inside = prepared.frame.to_native(window)
    return case.scan.with_data((inside > 0).astype(np.uint8))
