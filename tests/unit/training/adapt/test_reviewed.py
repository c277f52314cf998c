"""Folders of readers as labelled scans, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cmbnet.backends import Backend
from cmbnet.bundle import Bundle
from cmbnet.errors import CmbnetError, InputRefused, UnreadableFile, UsageError
from cmbnet.io import read_nifti, write_nifti
from cmbnet.io.digest import content_sha256
from cmbnet.training.adapt.reviewed import read_reviewed, write_reviewed
from cmbnet.training.adapt.sides import gather, site_cases, split_by_patient, write_patients
from cmbnet.training.data.consensus import agreed
from cmbnet.training.data.labelled import read_labelled
from cmbnet.training.data.specs import ScanCase
from cmbnet.training.data.specs.labels import LabelImage
from cmbnet.volume import Volume
from tests.helpers.review_results import MISSED, write_results
from tests.helpers.simulated_reader import review_by_truth
from tests.helpers.tiny_scan import DOTS, SHAPE


def truth(name: str) -> np.ndarray:
    """The faint dot, and two of the three dark ones; the third is no lesion."""
    labels = np.zeros(SHAPE, np.uint16)
    for number, (z, y, x) in enumerate((MISSED, *DOTS[:2]), start=1):
        labels[z : z + 2, y : y + 4, x : x + 4] = number if name == "scan-0" else 0
    return labels


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle, tiny_backend: Backend
         ) -> Path:  # fmt: skip
    study = tmp_path_factory.mktemp("study")
    results = write_results(study, tiny_bundle, tiny_backend)
    for reader in ("Ann", "Ben"):
        review_by_truth(results, results / "reviews" / reader, truth)
    return study


@pytest.fixture
def study(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "study")


def lesions_of(case: ScanCase) -> Path:
    assert isinstance(case.label, LabelImage)
    return case.label.path


def test_what_a_reader_said_becomes_a_cohort(study: Path, tmp_path: Path) -> None:
    cases = read_reviewed([study / "results" / "reviews" / "Ann"])
    assert [one.name for one in cases] == ["scan-0", "scan-1"]
    counts = write_reviewed(cases, tmp_path / "site", how="majority", report=print)
    assert counts == {"scan-0": 3, "scan-1": 0}
    first, second = read_labelled(tmp_path / "site").cases
    assert content_sha256(first.image) == content_sha256(study / "scans" / "scan-0.nii.gz")
    labels = read_nifti(lesions_of(first)).data
    assert np.array_equal(labels > 0, truth("scan-0") > 0)
    assert len(np.unique(labels)) == 4
    assert first.mimics is not None
    mimic = read_nifti(first.mimics).data > 0
    z, y, x = DOTS[2]
    assert mimic[z, y, x]
    assert not (mimic & (labels > 0)).any()
    assert not read_nifti(lesions_of(second)).data.any()


def test_folders_of_readers_are_found_at_each_level(study: Path) -> None:
    for folder in (study / "results", study / "results" / "reviews"):
        (first, _) = read_reviewed([folder])
        assert [each.reader for each in first.readings] == ["Ann", "Ben"]
    moved = study / "elsewhere" / "Ann"
    shutil.move(study / "results" / "reviews" / "Ann", moved)
    assert len(read_reviewed([moved], results=study / "results")) == 2
    with pytest.raises(UnreadableFile, match="got none"):
        read_reviewed([moved])


def test_where_two_readers_differ_nothing_is_learned(study: Path, tmp_path: Path) -> None:
    case = study / "results" / "reviews" / "Ben" / "scan-0"
    labels = read_nifti(case / "lesions.nii.gz")
    z, y, x = MISSED
    labels.data[z : z + 2, y : y + 4, x : x + 4] = 0
    write_nifti(labels, case / "lesions.nii.gz", dtype=np.uint16)
    lines: list[str] = []
    cases = read_reviewed([study / "results"])
    counts = write_reviewed(cases, tmp_path / "site", how="majority", report=lines.append)
    assert counts["scan-0"] == 2
    assert lines[0] == "scan-0: 2 lesions by majority of Ann, Ben"
    first = read_labelled(tmp_path / "site").cases[0]
    assert first.ignore is not None
    ignored = read_nifti(first.ignore).data > 0
    assert ignored[z, y, x]
    assert ignored.sum() == 2 * 4 * 4


def test_three_readers_by_majority_and_by_staple() -> None:
    spot, other = np.zeros((2, 4, 6, 6), np.int32)
    spot[1, 1:3, 1:3], other[2, 4, 4] = 1, 1
    for how in ("majority", "staple"):
        labels, even = agreed([spot, spot, other], how)
        assert np.array_equal(labels, spot)
        assert not even.any()
    empty, even = agreed([spot * 0, spot * 0], "staple")
    assert not empty.any()
    assert not even.any()
    labels, even = agreed([spot, other], "majority")
    assert not labels.any()
    assert np.array_equal(even, (spot + other) > 0)


def _edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def _unfinished(study: Path) -> None:
    for reader in ("Ann", "Ben"):
        file = study / "results" / "reviews" / reader / "verdicts.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"cases": []}))


def _hash(study: Path, key: str) -> str:
    review = json.loads((study / "results" / "reviews" / "Ben" / "verdicts.json").read_text())
    value: str = review["cases"][0][key]
    return value


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("unfinished", InputRefused, "a finished case is required"),
        ("moved", InputRefused, "was not found"),
        ("changed", InputRefused, "has changed since the prediction"),
        (
            "scan",
            InputRefused,
            r"Ben reviewed .* another scan \(SHA-256 ffffffffffff\)",
        ),
        ("model", InputRefused, "Ben reviewed case scan-0 of another model"),
        ("path", InputRefused, r"a name of letters, .* got '\.\./\.\./scan-0'"),
        ("result", InputRefused, "case scan-1 of the reader Ann has no result in"),
        ("damaged", UnreadableFile, "cannot be read by this version"),
        ("mask", InputRefused, "must lie on the grid of its image"),
        ("gone", CmbnetError, r"lesions\.nii\.gz"),
    ],
)
def test_what_does_not_fit_is_refused(
    study: Path, tmp_path: Path, fault: str, error: type[CmbnetError], words: str
) -> None:
    results, scan = study / "results", study / "scans" / "scan-0.nii.gz"
    ben = results / "reviews" / "Ben"
    if fault == "unfinished":
        _unfinished(study)
    elif fault == "moved":
        shutil.move(scan, tmp_path / "far-away.nii.gz")
    elif fault == "changed":
        scan.write_bytes((study / "scans" / "scan-1.nii.gz").read_bytes())
    elif fault in ("scan", "model"):
        key = {"scan": "input_sha256", "model": "bundle_sha256"}[fault]
        _edit(ben / "verdicts.json", _hash(study, key), "f" * 64)
    elif fault == "path":
        _edit(ben / "verdicts.json", '"case": "scan-0"', '"case": "../../scan-0"')
    elif fault == "result":
        shutil.rmtree(results / "scan-1")
    elif fault == "damaged":
        (ben / "verdicts.json").write_text("{")
    elif fault == "mask":
        labels = read_nifti(scan)
        fewer = replace(labels, data=labels.data[1:] * 0)
        write_nifti(fewer, ben / "scan-0" / "lesions.nii.gz", dtype=np.uint16)
    else:
        (ben / "scan-0" / "lesions.nii.gz").unlink()
    with pytest.raises(error, match=words):
        write_reviewed(read_reviewed([results]), tmp_path / "s", how="majority", report=print)


def test_a_reader_comes_once_and_a_scan_has_one_name(study: Path) -> None:
    ann = study / "results" / "reviews" / "Ann"
    with pytest.raises(UsageError, match="got Ann twice"):
        read_reviewed([ann, study / "results"])
    again = shutil.copytree(study / "results", study / "again")
    with pytest.raises(InputRefused, match="a case has one result, got two of scan-0"):
        read_reviewed([ann, again / "reviews" / "Ben"])
    (again / "scan-0").rename(again / "copy")
    shutil.rmtree(again / "scan-1")
    review = json.loads((again / "reviews" / "Ben" / "verdicts.json").read_text())
    review["cases"] = [one | {"case": "copy"} for one in review["cases"] if one["case"] == "scan-0"]
    (again / "reviews" / "Ben" / "verdicts.json").write_text(json.dumps(review))
    with pytest.raises(InputRefused, match="each scan is one case, got copy and scan-0"):
        read_reviewed([ann, again / "reviews" / "Ben"])


def test_patients_stay_together_and_every_side_has_lesions(tmp_path: Path) -> None:
    labels = np.zeros((4, 8, 8), np.uint8)
    rows = {}
    for number in range(12):
        case, ill = f"c{number:02d}", number < 7
        for kind in ("images", "lesions"):
            (tmp_path / "site" / kind).mkdir(parents=True, exist_ok=True)
            data = labels.copy()
            data[1, 2, 2] = data[3, 6, 6] = ill
            volume = Volume(data.astype(np.float32), np.eye(4))
            write_nifti(volume, tmp_path / "site" / kind / f"{case}.nii", dtype=np.uint8)
        rows[case] = (f"p{number // 2 if ill else number}", 2 * ill)
    write_patients(tmp_path / "site", rows)
    cases = site_cases(tmp_path / "site")
    assert {one.lesions for one in cases} == {0, 2}
    seen = set()
    for seed in range(5):
        sides = split_by_patient(cases, seed, "cases")
        assert split_by_patient(cases, seed, "cases") == sides
        patients = {name: {one.patient for one in side} for name, side in sides.items()}
        assert sum(map(len, patients.values())) == len(set.union(*patients.values()))
        assert all(any(one.lesions for one in side) for side in sides.values())
        assert len(sides["training"]) > len(sides["held-out"]) > 0
        seen.add(tuple(sorted(patients["held-out"])))
    assert len(seen) > 1
    side = gather(sides["training"], tmp_path / "training")
    written = read_labelled(side).cases
    assert len(written) == len(sides["training"])
    assert {one.patient for one in written} == patients["training"]
    with pytest.raises(InputRefused, match="of 3 patients with microbleeds are required"):
        split_by_patient([one for one in cases if one.patient in ("p0", "p1", "p9")], 0, "cases")
    with pytest.raises(UsageError, match="different names, got c00 twice"):
        gather([cases[0], cases[0]], tmp_path / "twice")
