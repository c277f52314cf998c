"""dcmqi, which wrote the first of such objects, reads from ours what was written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine

pytest.importorskip("dcmqi", reason="dcmqi is not installed (pip install dcmqi)")

from cmbnet.io.dicom import read_dicom_series
from cmbnet.report.dicom import DicomPaths, write_dicom_results
from tests.helpers.dicom_series import write_tiny
from tests.unit.report_dicom.test_objects import result


def dcmqi(program: str, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-c", f"import dcmqi; dcmqi.{program}()", *arguments],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip


@pytest.fixture(params=[False, True], ids=["classic", "enhanced"])
def paths(request: pytest.FixtureRequest, tmp_path: Path) -> DicomPaths:
    _, source = read_dicom_series(write_tiny(tmp_path / "scan", enhanced=request.param))
    return write_dicom_results(result(), source, tmp_path / "out")


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_segments_lie_where_they_were_found(paths: DicomPaths, tmp_path: Path) -> None:
    volume, _ = read_dicom_series(tmp_path / "scan")
    dcmqi("segimage2itkimage", "--inputDICOM", str(paths.segmentation), "--outputDirectory",
          str(tmp_path), "--prefix", "seg", "-t", "nifti")  # fmt: skip
    for number, lesion in enumerate(result().lesions, start=1):
        image = nib.load(tmp_path / f"seg-{number}.nii.gz")
        found = np.argwhere(np.asarray(image.dataobj) > 0)
        there = apply_affine(image.affine, found)
        expected = apply_affine(volume.affine, np.argwhere(result().labels == lesion.id))
        assert len(there) == len(expected)
        distances = np.linalg.norm(there[:, None] - expected, axis=2)
        assert distances.min(axis=1).max() < 1e-3
    (first, *_), *_ = read(tmp_path / "seg-meta.json")["segmentAttributes"]
    assert first["SegmentLabel"] == "Candidate 3: 3.2 mm, score 0.91"


def test_measurements_are_those_of_the_lesions(paths: DicomPaths, tmp_path: Path) -> None:
    out = tmp_path / "sr.json"
    dcmqi("tid1500reader", "--inputDICOM", str(paths.report), "--outputMetadata", str(out))
    groups = [one for one in read(out)["Measurements"] if "ReferencedSegment" in one]
    assert [one["ReferencedSegment"] for one in groups] == [1, 2, 3]
    for group, lesion in zip(groups, result().lesions, strict=True):
        assert group["TrackingIdentifier"] == f"Microbleed candidate {lesion.id}"
        values = [float(item["value"]) for item in group["measurementItems"]]
        margin = [] if lesion.place is None else [lesion.place.margin_mm]
        assert values == [3.2, lesion.score, 12.3457, 2.86, -10, 20, 30, *margin]
