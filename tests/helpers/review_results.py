"""A folder of results with scans beside it, as `cmbnet predict` leaves them, for reviews."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cmbnet.backends import Backend
from cmbnet.bundle import Bundle
from cmbnet.io import write_nifti
from cmbnet.predict import predict_file
from cmbnet.report import write_prediction
from tests.helpers.tiny_scan import DOTS, tiny_scan

MISSED = (10, 60, 40)
"""First corner of a grey dot that the network does not call a lesion."""

SIX = (*DOTS, (12, 30, 45), (5, 55, 52), (16, 42, 38))


def write_results(
    folder: Path,
    bundle: Bundle,
    backend: Backend,
    cases: Sequence[Sequence[tuple[int, int, int]]] = (DOTS, ()),
) -> Path:
    """Write ``scans/scan-0.nii.gz``... and their results; return the folder of the results.

    Each scan has the dark dots of its case, and a faint one at `MISSED`.
    """
    for number, dots in enumerate(cases):
        scan = tiny_scan(dots, seed=number)
        z, y, x = MISSED
        scan.data[z : z + 2, y : y + 4, x : x + 4] = 330
        file = folder / "scans" / f"scan-{number}.nii.gz"
        write_nifti(scan, file, dtype=np.float32)
        prediction = predict_file(file, bundle, backend)
        write_prediction(prediction, folder / "results" / f"scan-{number}")
    return folder / "results"
