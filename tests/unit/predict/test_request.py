"""One request, from whoever asks, through the pipeline into the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cmbnet
from cmbnet.backends import Backend
from cmbnet.bundle import Bundle
from cmbnet.deploy.triton.scan import answer_scan
from cmbnet.deploy.triton.spec import RESULT, decode_text
from cmbnet.edge.config import WorkerSettings
from cmbnet.errors import UsageError
from cmbnet.io import write_nifti
from cmbnet.io.case import Case
from cmbnet.predict import Request
from cmbnet.report.batch import run_batch
from cmbnet.report.result import RecordedRequest, Result
from tests.helpers.tiny_scan import small_scan

STRICT = Request(operating_point="strict", backend="litert", force=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"forced": True}, "unknown key 'forced' .nearest: 'force'"),
        ({"frame": "first"}, "frame: .*got 'first'"),
    ],
)
def test_what_is_no_request_is_said(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Request().but(**changes)


def test_every_way_of_asking_is_the_same_request_in_the_result(
    tiny_bundle: Bundle, tiny_backend: Backend, tmp_path: Path
) -> None:
    scan = small_scan()
    write_nifti(scan, tmp_path / "scan.nii", dtype=np.float32)
    by_name = cmbnet.Model(tiny_bundle, tiny_backend).predict(
        tmp_path / "scan.nii", operating_point="strict", force=True
    )
    by_object = cmbnet.Model(tiny_bundle, tiny_backend).predict(scan, STRICT)
    (in_batch,) = run_batch(
        [Case(name="one", path=tmp_path / "scan.nii")],
        tmp_path / "out",
        bundle=tiny_bundle,
        backend=tiny_backend,
        request=STRICT,
    )
    tensors: dict[str, Any] = {
        "VOLUME_FP32": scan.data.astype(np.float32),
        "AFFINE": scan.affine,
        "OPERATING_POINT": np.frombuffer(b"strict", np.uint8),
        "FORCE": np.array([1], np.uint8),
    }
    answer = answer_scan(tensors, tiny_bundle, tiny_backend, max_voxels=10**8)
    served = Result.model_validate_json(decode_text(answer[RESULT.name]))
    assert in_batch.result is not None
    requests = [by_name.result.request, by_object.result.request, in_batch.result.request]
    for recorded in (*requests, served.request):
        assert {name: getattr(recorded, name) for name in Request.model_fields} == {
            **STRICT.model_dump(),
            "backend": recorded.backend,
        }
    assert requests[0].input_sha256 == requests[2].input_sha256
    assert by_name.result.scan == in_batch.result.scan == served.scan


def test_a_node_asks_for_the_objects_of_its_settings() -> None:
    request = WorkerSettings(operating_point="screening", pdf=True).request
    assert request.dicom == {"seg", "sr", "pdf"}
    assert request.operating_point == "screening"


def test_the_result_keeps_the_fields_of_its_request() -> None:
    assert set(RecordedRequest.model_fields) == {
        "input_sha256", "bundle_sha256", "cmbnet", "operating_point", "backend", "frame",
        "brain_mask_sha256", "force", "save_probability", "series", "dicom_seg", "dicom_sr",
        "dicom_key_images", "dicom_pdf", "count_calcifications", "phase_sha256", "phase_series",
        "code_sha256",
    }  # fmt: skip
