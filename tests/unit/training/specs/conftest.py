"""Tiny phantoms, laid out as each public data set is. The converters live here, not in cmbnet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openpyxl
import pytest
from scipy.io import savemat

from cmbnet.io import read_nifti, write_nifti
from cmbnet.lesions import measure_components
from cmbnet.phantom import CohortPlan, write_cohort
from cmbnet.volume import Volume

POSITIVES, CONTROLS = 3, 1


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `cmbnet phantom` writes: three cases with microbleeds and a control."""
    root = tmp_path_factory.mktemp("phantoms")
    plan = CohortPlan(
        positives=POSITIVES,
        negatives=CONTROLS,
        seed=5,
        protocols="tiny",
        anatomy="procedural",
        cases_per_head=1,
        lesions=(4, 5),
    )
    write_cohort(root, plan)
    return root


def scans(phantoms: Path) -> list[tuple[Volume, Volume]]:
    """Image and instance labels of each phantom, positives and control."""
    paths = sorted((phantoms / "images").glob("*.nii.gz"))
    return [(read_nifti(path), read_nifti(phantoms / "lesions" / path.name)) for path in paths]


def centres_xyz(labels: Volume) -> list[tuple[int, int, int]]:
    """Centres of the lesions, as x, y, z counted from 1, in the way of MATLAB."""
    parts = measure_components(labels.data.astype(np.int32), labels.affine)
    rounded = [[round(value) + 1 for value in part.centroid_zyx[::-1]] for part in parts]
    return [(x, y, z) for x, y, z in rounded]


def save(volume: Volume, path: Path, dtype: type[np.generic] = np.int16) -> None:
    """Write an image with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(volume, path, dtype=dtype)


def mask_of(labels: Volume) -> Volume:
    """1 in lesions."""
    return labels.with_data((labels.data > 0).astype(np.uint8))


@pytest.fixture(scope="session")
def valdo(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Task2/sub-101/sub-101_space-T2S_desc-masked_T2S.nii.gz; what was masked is NaN."""
    root = tmp_path_factory.mktemp("valdo")
    for number, (image, labels) in enumerate(scans(phantoms), start=101):
        folder = root / "Task2" / f"sub-{number}"
        data = image.data.astype(np.float32)
        data[-1, :4, :4] = np.nan
        save(
            image.with_data(data), folder / f"sub-{number}_space-T2S_desc-masked_T2S.nii.gz",
            np.float32,
        )  # fmt: skip
        save(mask_of(labels), folder / f"sub-{number}_space-T2S_CMB.nii.gz", np.uint8)
        save(image, folder / f"sub-{number}_space-T2S_desc-masked_T1.nii.gz")
    return root


@pytest.fixture(scope="session")
def momeni(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A row for each scan: name, then x, y, z of one lesion after the other; blanks are spaces."""
    root = tmp_path_factory.mktemp("momeni")
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    heads = [cell for n in range(1, 8) for cell in (f"Location CMB # {n}", None, None)]
    sheet.append(["NIFTI File Name ", *heads])
    for number, (image, labels) in enumerate(scans(phantoms), start=122):
        name = f"{number}_T1_MRI_SWI_BFC_50mm_HM.nii.gz"
        centres = centres_xyz(labels)
        save(image, root / ("rCMB_DefiniteSubject" if centres else "NoCMBSubject") / name)
        if centres:
            cells = [value for centre in centres for value in centre]
            sheet.append([name, *cells, *[" "] * (21 - len(cells))])
    book.save(root / "rCMBInformationInfo.xlsx")
    return root


@pytest.fixture(scope="session")
def dou(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nii/01.nii and ground_truth/01.mat with the array `cen`; positives only."""
    root = tmp_path_factory.mktemp("dou")
    for number, (image, labels) in enumerate(scans(phantoms), start=1):
        if centres := centres_xyz(labels):
            save(image, root / "nii" / f"{number:02d}.nii")
            (root / "ground_truth").mkdir(exist_ok=True)
            savemat(root / "ground_truth" / f"{number:02d}.mat", {"cen": np.array(centres)})
    return root


@pytest.fixture(scope="session")
def bids(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SWI with and without sessions, a plain T2*, a phase image, masks among the derivatives."""
    root = tmp_path_factory.mktemp("bids")
    places = ["sub-01/swi/sub-01_swi", "sub-02/anat/sub-02_acq-hr_T2starw",
              "sub-03/ses-a/swi/sub-03_ses-a_swi", "sub-04/swi/sub-04_swi"]  # fmt: skip
    for place, (image, labels) in zip(places, scans(phantoms), strict=True):
        save(image, root / f"{place}.nii.gz")
        mask = place.rsplit("_", 1)[0] + "_label-CMB_mask.nii.gz"
        save(mask_of(labels), root / "derivatives" / "readers" / mask, np.uint8)
    save(image, root / "sub-04/swi/sub-04_part-phase_swi.nii.gz")
    return root
