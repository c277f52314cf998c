"""Slices of a run's own scans for calibration, and cases for the parity gate.

`cmbnet.deploy.samples` makes phantoms for the same purposes.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cmbnet.backends.base import Shape
from cmbnet.deploy.gate import GateCase, small_lesions
from cmbnet.deploy.samples import CalibrationSlices, centre_crop
from cmbnet.training.data.cache_index import side_of
from cmbnet.training.data.labelled import Labelled, read_truth
from cmbnet.training.data.reader import Cache
from cmbnet.training.data.specs.discover import ScanCase
from cmbnet.training.data.specs.splits import TRAINING
from cmbnet.training.fit.recipe import Recipe
from cmbnet.training.fit.sampler import Sampler
from cmbnet.training.fit.validation import choose_slices

STACKS = 64
"""Number of slices on which int8 ranges are measured."""


def cached_slices(cache: Path, recipe: Recipe) -> CalibrationSlices:
    """Take calibration slices from a training cache, which is read once for each draw."""

    @lru_cache(maxsize=1)
    def drawn(draw: int) -> NDArray[np.float32]:
        return whole_stacks(Cache(*side_of(cache, TRAINING)), recipe, STACKS, draw=draw)

    def slices(shape: Shape, draw: int) -> NDArray[np.float32]:
        return centre_crop(drawn(draw), shape)

    return slices


def whole_stacks(cache: Cache, recipe: Recipe, count: int, *, draw: int = 0) -> NDArray[np.float32]:
    """Choose whole slices, half of them with a lesion: float32 (n, frame, frame, 3) in [0, 1].

    Another `draw` chooses other slices.
    """
    sampler = Sampler(cache, recipe.sampling, recipe.sampling.crop_px)
    chosen = choose_slices(sampler, count, recipe.seed + draw)
    frame = cache.cases[0].frame_shape
    stacks = np.zeros((len(chosen), *frame[1:], 3), np.float32)
    for stack, (case, z) in zip(stacks, chosen, strict=True):
        _, y, x = cache.cases[case].origin
        part = np.moveaxis(sampler.stack(case, z), 0, -1)
        stack[y : y + part.shape[0], x : x + part.shape[1]] = part / np.float32(255.0)
    return stacks


def gate_cases(cohort: Labelled, count: int) -> tuple[GateCase, ...]:
    """Return at most `count` scans with lesions of a cohort, for the parity gate."""
    with_lesions = (case for case in map(_gate_case, cohort.cases) if case.lesions.any())
    return tuple(islice(with_lesions, count))


def _gate_case(case: ScanCase) -> GateCase:
    image, labels = read_truth(case)
    rows = [(one.label, one.max_in_plane_diameter_mm) for one in labels.components]
    return GateCase(
        name=case.name,
        scan=image,
        lesions=labels.instances,
        small=small_lesions(labels.instances, rows),
    )
