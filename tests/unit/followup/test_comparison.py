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
from cmbnet.followup.changes import Spot
from cmbnet.followup.comparison import protocol_of, require_one_patient
from cmbnet.followup.look import View, looking
from cmbnet.followup.register import IDENTITY
from cmbnet.io import write_nifti
from cmbnet.io.dicom import DicomSource
from cmbnet.predict import Answer, Request, predict_file
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
    flipped = replace(moved, data=np.ascontiguousarray(moved.data[:, :, ::-1]))
    cut = replace(moved, data=moved.data[10:], affine=moved.affine @ _shift(10))
    return {
        "first": stored(folder, "first", tiny_scan(DOTS[:2])),
        "later": stored(folder, "later", moved),
        "wide": stored(folder, "wide", replace(moved, affine=wide)),
        "mirrored": stored(folder, "mirrored", flipped),
        "cut": stored(folder, "cut", cut),
    }


def _shift(slices: int) -> NDArray[np.float64]:
    shift = np.eye(4)
    shift[0, 3] = slices
    return shift


class Finder:
    """Finds the lesions of a scan, once."""

    def __init__(self, scans: dict[str, Path], bundle: Bundle, backend: Backend) -> None:
        self._scans, self._how = scans, (bundle, backend, Request(force=True))
        self._known: dict[str, Answer] = {}

    def __call__(self, *names: str) -> list[Answer]:
        for name in names:
            if name not in self._known:
                self._known[name] = predict_file(self._scans[name], *self._how)
        return [self._known[name] for name in names]


@pytest.fixture(scope="module")
def find(scans: dict[str, Path], tiny_bundle: Bundle, tiny_backend: Backend) -> Finder:
    return Finder(scans, tiny_bundle, tiny_backend)


@pytest.fixture(scope="module")
def compared(find: Finder) -> Compared:
    return compare_scans(find("first", "later"), same_protocol=True)


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


def test_the_other_order_loses_the_dot(find: Finder) -> None:
    (follow_up,) = compare_scans(find("later", "first")).comparison.follow_ups
    assert (follow_up.counts["no longer seen"], follow_up.counts["persistent"]) == (1, 2)
    assert follow_up.aria_h.category is None
    assert follow_up.aria_h.refused == (
        "no category: the field strength is unknown; the sequence is unknown"
    )


def test_a_place_that_the_later_scan_does_not_show_is_not_assessable(find: Finder) -> None:
    """The follow-up has fewer slices: the dot of slice 8 is not on it."""
    (follow_up,) = compare_scans(find("later", "cut")).comparison.follow_ups
    assert (follow_up.counts["not assessable"], follow_up.counts["no longer seen"]) == (1, 0)


def test_a_dark_dot_that_the_network_missed_before_is_not_new(find: Finder) -> None:
    """What the network found before is forgotten; the scan itself still shows it."""
    first, later = find("first", "later")
    missed = replace(first, found=replace(first.found, lesions=(), excluded=()))
    (follow_up,) = compare_scans([missed, later]).comparison.follow_ups
    assert (follow_up.counts["new"], follow_up.counts["newly above threshold"]) == (1, 2)
    shown = [one.other_darkness or 0.0 for one in follow_up.changes]
    assert [round(one) for one in sorted(shown)] == [0, 1, 1]


def test_three_scans_against_the_first(find: Finder) -> None:
    comparison = compare_scans(find("first", "later", "cut")).comparison
    assert [one.time_point for one in comparison.follow_ups] == [1, 2]
    assert [one.counts["new"] for one in comparison.follow_ups] == [1, 1]
    (new,) = (one for one in comparison.tracks if one.lesions[0] is None)
    assert None not in new.lesions[1:]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("first",), "two scans or more are required"),
        (("first", "first"), "got one scan twice"),
        (("first", "wide"), "cannot be laid on each other"),
        (("first", "mirrored"), "seems to be mirrored"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    find: Finder, names: tuple[str, ...], message: str
) -> None:
    with pytest.raises((InputRefused, UsageError), match=message):
        compare_scans(find(*names))


def test_what_nothing_says_is_to_be_checked(compared: Compared) -> None:
    unknown = "no header says that the scans are of one person: check that they are"
    assert compared.comparison.warnings == (unknown,)
    assert compared.maps[1].doubt == ""
    unlike = replace(compared.maps[1].alignment, explained=0.459)
    assert replace(compared.maps[1], alignment=unlike).doubt == (
        "only 45 % of the brightness agrees: check that the scans are of one person"
    )


def test_operating_points_must_agree(compared: Compared) -> None:
    first, later = compared.answers
    strict = replace(later, operating_point=later.bundle.operating_point("strict"))
    with pytest.raises(InputRefused, match="one operating point are required, got balanced and"):
        compare_scans([first, strict])


def test_files(compared: Compared, tmp_path: Path) -> None:
    stale = tmp_path / "out" / "scan-1" / "sr.dcm"
    stale.parent.mkdir(parents=True)
    stale.touch()
    page = write_comparison(compared, tmp_path / "out")
    assert not stale.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    values = json.loads((tmp_path / "out" / "compare.json").read_text())
    schema = schema_text("compare.schema.json")
    jsonschema.validate(values, json.loads(schema))
    assert (FOLDER / "compare.schema.json").read_text() == schema, "python -m tests.helpers.schemas"
    text = page.read_text()
    assert text.count("<img ") == 1 + 3 * 2  # a checkerboard, three lesions on two scans
    assert "1 new, 0 newly above threshold" in text
    assert values["notice"] in text


def view(data: NDArray[np.float32], like: Answer) -> View:
    """A scan of voxels of 1 mm without lesions or candidates."""
    affine = np.diag([1.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]]  # z to superior, x to right
    found = replace(like.found, lesions=(), excluded=())
    return View(replace(like, volume=Volume(data, affine), found=found), IDENTITY)


def test_darkness_is_that_of_a_ball_against_its_surroundings(compared: Compared) -> None:
    z, y, x = np.indices((31, 31, 31))
    ball = (z - 15) ** 2 + (y - 15) ** 2 + (x - 15) ** 2 <= 4**2
    full = view(np.where(ball, 100.0, 400.0).astype(np.float32), compared.answers[0])
    half = view(np.where(ball, 250.0, 400.0).astype(np.float32), compared.answers[0])
    none = view(np.full((31, 31, 31), 400.0, np.float32), compared.answers[0])
    spot = Spot(1, (15.0, 15.0, 15.0), 4.0, 33.5)
    assert full.darkness(spot) == pytest.approx(0.75)
    for other, share in ((full, 1.0), (half, 0.5), (none, 0.0)):
        there = looking(other, full)(spot)
        assert there is not None
        assert there.darkness == pytest.approx(share)
    assert looking(none, full)(Spot(1, (15.0, 15.0, 40.0), 4.0, 33.5)) is None


def dicom(answer: Answer, **header: str) -> Answer:
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
    return replace(answer, record=replace(answer.record, dicom=source, sha256=hashed))


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
        ({"PatientBirthDate": "19500102"}, {"PatientBirthDate": "19510102"}, "birth dates differ"),
        ({"PatientSex": "F"}, {"PatientSex": "M"}, "sexes differ"),
    ],
)
def test_headers_that_forbid_a_comparison(
    compared: Compared, first: dict[str, str], later: dict[str, str], message: str
) -> None:
    one, other = compared.answers
    with pytest.raises(InputRefused, match=message):
        require_one_patient([dicom(one, **first), dicom(other, **later)])
    require_one_patient([dicom(one, PatientID="a"), dicom(other, PatientID="a", StudyID="2")])


def test_a_dicom_scan_states_its_protocol(compared: Compared) -> None:
    protocol = protocol_of(dicom(compared.answers[0], SequenceName="*swi3d1r"))
    assert protocol.spacing_mm == pytest.approx((1.0, 1.0, 3.0))
    assert (protocol.field_t, protocol.te_ms) == (3.0, 20.0)
    assert protocol.sequence == "GR\\RM *swi3d1r"
