"""A folder of results with scans beside it, as `cmbnet predict` leaves them, for reviews."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cmbnet.backends import Backend
from cmbnet.bundle import Bundle
from cmbnet.io import read_nifti, write_nifti
from cmbnet.io.digest import content_sha256
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


def add_phase(results: Path, case: str) -> None:
    """Put a phase beside the scan of a case: a ramp that gets brighter to the front."""
    scans, file = results.parent / "scans", results / case / "result.json"
    scan = read_nifti(scans / f"{case}.nii.gz")
    ramp = np.linspace(-np.pi, np.pi, scan.data.shape[1])[:, np.newaxis]
    phase = scans / f"{case}_phase.nii.gz"
    write_nifti(scan.with_data(np.broadcast_to(ramp, scan.data.shape)), phase, dtype=np.float32)
    result = json.loads(file.read_text())
    result["request"]["phase_sha256"] = content_sha256(phase)
    file.write_text(json.dumps(result))
