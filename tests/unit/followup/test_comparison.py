"""Tiny scans with dots, turned and moved: what is new is found, and what does not fit refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from cmbnet.backends import Backend
from cmbnet.bundle import Bundle
from cmbnet.errors import InputRefused, UsageError
from cmbnet.followup import Compared, compare_scans, write_comparison
from cmbnet.followup.comparison import looking, protocol_of, require_one_patient
from cmbnet.io import write_nifti
from cmbnet.io.dicom import DicomSource
from cmbnet.predict import Prediction, Request
from cmbnet.volume import Volume
from tests.helpers.schemas import FOLDER, schema_text
from tests.helpers.tiny_scan import DOTS, tiny_scan


def movement() -> NDArray[np.float64]:
    """A turn of 8 degrees about the left-right axis, and a shift."""
    angle = np.deg2rad(8)
    move = np.eye(4)
    move[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    move[:3, 3] = (5.0, -7.0, 4.0)
    return move


def stored(folder: Path, name: str, volume: Volume) -> Path:
    path = folder / f"{name}.nii.gz"
    write_nifti(volume, path, dtype=np.float32)
    return path


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(5)
    later = tiny_scan(DOTS)
    noisy = later.data + 8 * rng.standard_normal(later.shape).astype(np.float32)
    moved = replace(later, data=np.abs(noisy), affine=movement() @ later.affine)
    wide = moved.affine @ np.diag([1, 1, 1.45, 1])
    cut = replace(moved, data=moved.data[10:], affine=moved.affine @ _shift(10))
    return {
        "first": stored(folder, "first", tiny_scan(DOTS[:2])),
        "later": stored(folder, "later", moved),
        "wide": stored(folder, "wide", replace(moved, affine=wide)),
        "cut": stored(folder, "cut", cut),
    }


def _shift(slices: int) -> NDArray[np.float64]:
    shift = np.eye(4)
    shift[0, 3] = slices
    return shift


@pytest.fixture(scope="module")
def compared(scans: dict[str, Path], tiny_bundle: Bundle, tiny_backend: Backend) -> Compared:
    paths = (scans["first"], scans["later"])
    return compare_scans(paths, tiny_bundle, tiny_backend, Request(), same_protocol=True)


def test_the_added_dot_is_new_and_the_others_persist(compared: Compared) -> None:
    (follow_up,) = compared.comparison.follow_ups
    counts = {name: n for name, n in follow_up.counts.items() if n}
    assert counts == {"new": 1, "persistent": 2}
    (new,) = (one for one in follow_up.changes if one.category == "new")
    z, y, x = DOTS[2]
    there = tiny_scan().world_mm((z + 0.5, y + 1.5, x + 1.5))
    assert new.centre_mm == pytest.approx(there, abs=1.5)
    assert new.before == ()
    assert follow_up.aria_h.category == "mild"
    assert follow_up.aria_h.baseline_band == "1-4"


def test_the_scans_lie_on_each_other(compared: Compared) -> None:
    found = compared.maps[1]
    assert found.turn_deg == pytest.approx(8.0, abs=0.7)
    point = np.array([[10.0, -5.0, 3.0], [-20.0, 20.0, -10.0]])
    there = point @ movement()[:3, :3].T + movement()[:3, 3]
    assert np.allclose(found.to_first(there), point, atol=1.0)
    assert np.allclose(found.from_first(found.to_first(there)), there, atol=1e-6)


def test_the_other_order_loses_the_dot(
    scans: dict[str, Path], tiny_bundle: Bundle, tiny_backend: Backend
) -> None:
    paths = (scans["later"], scans["first"])
    (follow_up,) = compare_scans(paths, tiny_bundle, tiny_backend, Request()).comparison.follow_ups
    assert (follow_up.counts["no longer seen"], follow_up.counts["persistent"]) == (1, 2)
    assert follow_up.aria_h.category is None
    assert follow_up.aria_h.refused == (
        "no category: the field strength is unknown; the sequence is unknown"
    )


def test_a_place_that_the_later_scan_does_not_show_is_not_assessable(
    scans: dict[str, Path], tiny_bundle: Bundle, tiny_backend: Backend
) -> None:
    paths = (scans["later"], scans["cut"])  # the dot of slice 8 is not on the second
    request = Request(force=True)
    (follow_up,) = compare_scans(paths, tiny_bundle, tiny_backend, request).comparison.follow_ups
    assert (follow_up.counts["not assessable"], follow_up.counts["no longer seen"]) == (1, 0)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("first",), "two scans or more are required"),
        (("first", "first"), "got one scan twice"),
        (("first", "wide"), "cannot be laid on each other"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    scans: dict[str, Path],
    tiny_bundle: Bundle,
    tiny_backend: Backend,
    names: tuple[str, ...],
    message: str,
) -> None:
    with pytest.raises((InputRefused, UsageError), match=message):
        compare_scans([scans[name] for name in names], tiny_bundle, tiny_backend, Request())


def test_files(compared: Compared, tmp_path: Path) -> None:
    page = write_comparison(compared, tmp_path / "out")
    values = json.loads((tmp_path / "out" / "compare.json").read_text())
    schema = schema_text("compare.schema.json")
    jsonschema.validate(values, json.loads(schema))
    assert (FOLDER / "compare.schema.json").read_text() == schema, "python -m tests.helpers.schemas"
    text = page.read_text()
    assert text.count("<img ") == 1 + 3 * 2  # a checkerboard, three lesions on two scans
    assert "1 new, 0 newly above threshold" in text
    assert values["notice"] in text


def test_a_look_is_the_highest_probability_near_a_place() -> None:
    data = np.zeros((5, 9, 9), np.float32)
    data[2, 4, 6] = 0.7
    affine = np.diag([2.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]]  # z to superior, x to right
    look = looking(Volume(data, affine))
    assert look((4.0, 4.0, 4.0)) == pytest.approx(0.7)
    assert look((3.0, 4.0, 4.0)) == 0.0
    assert look((4.0, 4.0, 20.0)) is None


def dicom(prediction: Prediction, **header: str) -> Prediction:
    """The same as if it came from a DICOM series with these values in its headers."""
    dataset = Dataset()
    dataset.ScanningSequence = ["GR", "RM"]
    for keyword, value in header.items():
        setattr(dataset, keyword, value)
    source = DicomSource(
        headers=(dataset,),
        frame_numbers=(),
        affine_lps=np.eye(4),
        verdict=None,  # type: ignore[arg-type]
        echo_ms=20.0,
        field_t=3.0,
        attributes=dataset,
        sop_instance_uids=(),
    )
    hashed = ",".join(header.values())
    return replace(prediction, record=replace(prediction.record, dicom=source, sha256=hashed))


@pytest.mark.parametrize(
    ("first", "later", "message"),
    [
        (
            {"PatientID": "a", "StudyDate": "20250101"},
            {"PatientID": "b", "StudyDate": "20260101"},
            "patient IDs differ",
        ),
        (
            {"PatientID": "a", "StudyDate": "20260102"},
            {"PatientID": "a", "StudyDate": "20260101"},
            "a later one has an earlier date",
        ),
    ],
)
def test_headers_that_forbid_a_comparison(
    compared: Compared, first: dict[str, str], later: dict[str, str], message: str
) -> None:
    one, other = compared.predictions
    with pytest.raises(InputRefused, match=message):
        require_one_patient([dicom(one, **first), dicom(other, **later)])
    require_one_patient([dicom(one, PatientID="a"), dicom(other, PatientID="a", StudyID="2")])


def test_a_dicom_scan_states_its_protocol(compared: Compared) -> None:
    protocol = protocol_of(dicom(compared.predictions[0], SequenceName="*swi3d1r"))
    assert protocol.spacing_mm == pytest.approx((1.0, 1.0, 3.0))
    assert (protocol.field_t, protocol.te_ms) == (3.0, 20.0)
    assert protocol.sequence == "GR\\RM *swi3d1r"
