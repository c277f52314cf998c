"""Each convention, end to end: spec, folder, cases, lesions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cmbnet.io import read_nifti
from cmbnet.lesions import label_components, measure_components
from cmbnet.training.data.specs import ScanCase, ScanSpec, discover, load_scan_spec
from cmbnet.training.data.specs.labels import read_labels

SPECS = Path(__file__).parents[4] / "data_specs"


def cases_of(name: str, root: Path) -> tuple[ScanSpec, tuple[ScanCase, ...]]:
    spec = load_scan_spec(SPECS / f"{name}.yaml")
    found = discover(spec, root)
    assert [fault for fault in found.faults if fault.severity == "wrong"] == []
    return spec, found.cases


def counts(cases: tuple[ScanCase, ...]) -> list[int]:
    images = [read_nifti(case.image) for case in cases]
    return [
        len(read_labels(case.label, case.ignore, image).components)
        for case, image in zip(cases, images, strict=True)
    ]


@pytest.fixture(scope="module")
def truth(phantoms: Path) -> list[int]:
    """Lesions of each phantom in order, as components of the mask."""
    labels = [read_nifti(path) for path in sorted((phantoms / "lesions").glob("*.nii.gz"))]
    found = [label_components(one.data > 0)[1] for one in labels]
    assert sorted(found)[0] == 0
    assert sum(found) >= 6
    return found


def test_phantom(phantoms: Path, truth: list[int]) -> None:
    _, cases = cases_of("phantom", phantoms)
    assert counts(cases) == truth
    assert len({case.patient for case in cases}) == 4  # heads, out of cases.csv
    assert [case.stated_lesions for case in cases] == truth
    assert all(case.ignore and case.mimics for case in cases)


def test_valdo(valdo: Path, truth: list[int]) -> None:
    _, cases = cases_of("valdo2021", valdo)
    assert [case.name for case in cases] == ["sub-101", "sub-102", "sub-103", "sub-104"]
    assert counts(cases) == truth


def test_bids(bids: Path, truth: list[int]) -> None:
    spec, cases = cases_of("bids", bids)
    assert {case.name: case.patient for case in cases} == {
        "sub-01_swi": "01",
        "sub-02_acq-hr_T2starw": "02",
        "sub-03_ses-a_swi": "03",
        "sub-04_swi": "04",
    }
    assert counts(cases) == truth
    assert discover(spec, bids).excluded == (("sub-04_part-phase_swi", "a phase image"),)


def test_dou(dou: Path, truth: list[int]) -> None:
    _, cases = cases_of("dou2016", dou)
    assert [len(case.label.points) for case in cases] == [n for n in truth if n]  # type: ignore[union-attr]
    assert all(case.expects_lesions for case in cases)


def test_momeni(momeni: Path, truth: list[int]) -> None:
    _, cases = cases_of("momeni_scmb", momeni)
    assert sorted(len(case.label.points) if case.label else 0 for case in cases) == sorted(truth)  # type: ignore[union-attr]
    assert {case.patient for case in cases} == {"122", "123", "124", "125"}


def test_regions_of_centres_are_the_lesions_or_nothing(phantoms: Path, momeni: Path) -> None:
    """The rule against the phantoms' own truth, which is drawn by another (apparent contrast).

    In heads as small as these most lesions touch something dark; those are ignored. What is
    kept must be the lesion.
    """
    overlaps, total = [], 0
    _, cases = cases_of("momeni_scmb", momeni)
    files = sorted((phantoms / "images").glob("*.nii.gz"))
    for case in (case for case in cases if case.label is not None):
        number = int(case.name.split("_")[0]) - 122
        lesions = read_nifti(phantoms / "lesions" / files[number].name)
        found = read_labels(case.label, None, read_nifti(case.image))
        regions = measure_components(found.target, lesions.affine)
        total += len(measure_components(lesions.data.astype(np.int32), lesions.affine))
        for part in regions:
            region = found.target == part.label
            truth = np.isin(lesions.data, np.unique(lesions.data[region])) & (lesions.data > 0)
            overlaps.append((region & truth).sum() / (region | truth).sum())
        assert case.label is not None
        assert len(found.faults) + len(found.components) == len(case.label.points)  # type: ignore[union-attr]
    assert min(overlaps) > 0.5
    assert np.median(overlaps) > 0.75
    assert len(overlaps) >= 0.35 * total


def test_centres_are_counted_from_1(momeni: Path) -> None:
    """The first index is right: at the places the scan is darker than around them."""
    _, cases = cases_of("momeni_scmb", momeni)
    depth = []
    for case in (case for case in cases if case.label is not None):
        image = read_nifti(case.image)
        for z, y, x in case.label.indices_zyx(image):  # type: ignore[union-attr]
            here = image.data[round(z), round(y), round(x)]
            box = image.data[round(z), round(y) - 6 : round(y) + 7, round(x) - 6 : round(x) + 7]
            depth.append(here / np.median(box))
    assert np.median(depth) < 0.8
