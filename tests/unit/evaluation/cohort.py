"""A small cohort on disk, made from a seed: truths, two predictions, probabilities, images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cmbnet.io import write_nifti
from cmbnet.lesions import spacing_affine
from cmbnet.volume import Volume
from tests.helpers.simulate import Errors, simulate_prediction

SHAPE = (8, 40, 40)
AFFINE = spacing_affine((2.0, 0.8, 0.8))


def truth_of(case: int) -> Volume:
    """Boxes of 3.2 or 5.6 mm; every third case is a control."""
    rng = np.random.default_rng(case)
    labels = np.zeros(SHAPE, np.uint16)
    places = [(y, x) for y in (4, 16, 28) for x in (4, 16, 28)]
    count = 0 if case % 3 == 0 else int(rng.integers(1, 6))
    for number, place in enumerate(rng.permutation(len(places))[:count], start=1):
        (y, x), size = places[place], 4 if rng.random() < 0.7 else 7
        z = int(rng.integers(1, 5))
        labels[z : z + 2, y : y + size, x : x + size] = number
    return Volume(labels, AFFINE)


def write_cohort(root: Path, n: int = 9) -> Path:
    """Write ``truth``, ``pred``, ``other``, ``prob``, ``images``, ``brain`` and ``cases.csv``."""
    rows = ["case,patient,field_t,site"]
    brain = np.zeros(SHAPE, np.uint8)
    brain[:, 1:-1, 1:-1] = 1
    for case in range(n):
        name, truth = f"c{case:02}.nii.gz", truth_of(case)
        good = simulate_prediction(truth, Errors(0.1, 2.0), 100 + case)
        poor = simulate_prediction(truth, Errors(0.5, 2.0), 200 + case)
        image = np.where(truth.data > 0, 50.0, 200.0)
        for folder, volume, dtype in (
            ("truth", truth, np.uint16),
            ("pred", good.labels, np.uint16),
            ("other", poor.labels, np.uint16),
            ("prob", good.probability, np.float32),
            ("images", truth.with_data(image), np.float32),
            ("brain", truth.with_data(brain), np.uint8),
        ):
            write_nifti(volume, root / folder / name, dtype=dtype)
        rows.append(f"c{case:02},P{case},{1.5 if case % 2 else 3},S{case % 2}")
    (root / "cases.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root
