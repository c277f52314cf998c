"""The gate: real files with their verdicts, and heads that were spoilt on purpose."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cmbnet.io import read_nifti
from cmbnet.preprocess import PreprocessRecipe, QualityReport, check_quality, prepare
from cmbnet.volume import HeaderForms, Volume
from tests.unit.preprocess.heads import make_head

DATA = Path("../shared/data")
NIBABEL = Path(nib.__file__).parent / "tests" / "data"
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="shared test data not present: ../shared/data"
)
RECIPE = PreprocessRecipe(size=128, pixel_mm=1.8)

VERDICTS = [
    # Real gradient-echo brains: analysable, with what is odd about them.
    (
        DATA / "dcm_qa_fmap/Ref/GE_6_CV_Neuro_HH_Adv.nii",
        None,
        {"thick_slices", "coarse_pixels", "cut_off"},
    ),
    (NIBABEL / "example4d.nii.gz", 0, {"slab", "coarse_pixels"}),
    (DATA / "dcm_qa_orientation/Ref/ax_asc_36sl_9.nii", 0, {"thick_slices", "coarse_pixels"}),
    (DATA / "dcm_qa_orientation/Ref/ax_asc_36sl_11.nii", 1, {"thick_slices", "coarse_pixels"}),
    (DATA / "dcm_qa_orientation/Ref/ax_int_36sl_12.nii", 0, {"thick_slices", "coarse_pixels"}),
    (DATA / "dcm_qa_orientation/Ref/cor_int_36sl_15.nii", 0, {"part_of_brain", "coarse_pixels"}),
    (DATA / "dcm_qa_orientation/Ref/fMRI_MB_asc_25.nii", 0, {"thick_slices", "coarse_pixels"}),
    (DATA / "dcm_qa_orientation/Ref/fMRI_MB_int_26.nii", 1, {"thick_slices", "coarse_pixels"}),
    # Perfusion EPI: its contrast measures like T2*, so only its voxels are warned of.
    (DATA / "niivue_headers/pcasl.nii.gz", 0, {"thick_slices", "coarse_pixels", "cut_off"}),
]
REFUSALS = [
    (DATA / "megre_7t_crop/Mag.nii", 1, "too_small"),
    (DATA / "sct_t2s_and_bad_headers/t2s.nii.gz", None, "too_small"),
    (DATA / "sct_t2s_and_bad_headers/t2s_uncropped.nii.gz", None, "not_a_brain"),
    (DATA / "dcm_qa_fmap/Ref/Si_2_gre_field_magph_e1.nii", None, "not_a_brain"),
    (DATA / "dcm_qa_fmap/Ref/Si_2_gre_field_magph_e2.nii", None, "not_a_brain"),
    (DATA / "dcm_qa_fmap/Ref/Ph_801_WIP_B0_NS_e1.nii", None, "not_a_brain"),
    (DATA / "dcm_qa_canon_61/Ref/3000_DTI_PA-ortho_cl.nii.gz", 0, "no_t2star_contrast"),
    (
        DATA / "dicom2nifti_headers/hyperfine/anatomical/001_ground_truth.nii.gz",
        None,
        "noise",
    ),
    (
        DATA / "dicom2nifti_headers/siemens_multiframe/anatomical/001_ground_truth.nii.gz",
        None,
        "noise",
    ),
    (
        DATA / "dicom2nifti_headers/generic/compressed_j2k/001_ground_truth.nii.gz",
        None,
        "noise",
    ),
]


def judge(volume: Volume) -> QualityReport:
    return check_quality(volume, prepare(volume, RECIPE))


def codes(report: QualityReport, severity: str) -> set[str]:
    return {finding.code for finding in report.findings if finding.severity == severity}


@needs_data
@pytest.mark.parametrize(
    ("path", "frame", "warnings"), VERDICTS, ids=[f"{path.stem}" for path, *_ in VERDICTS]
)
def test_real_brains_are_analysed_with_warnings(
    path: Path, frame: int | None, warnings: set[str]
) -> None:
    report = judge(read_nifti(path, frame=frame))
    assert report.analysable, report.findings
    assert codes(report, "warning") == warnings


@needs_data
@pytest.mark.parametrize(
    ("path", "frame", "code"), REFUSALS, ids=[f"{path.stem}-{code}" for path, _, code in REFUSALS]
)
def test_what_would_mislead_is_refused(path: Path, frame: int | None, code: str) -> None:
    report = judge(read_nifti(path, frame=frame))
    assert not report.analysable
    assert codes(report, "refuse") == {code}
    assert report.findings[0].severity == "refuse"


def test_a_good_head_has_no_warning() -> None:
    head, _ = make_head(shape=(60, 192, 160), spacing_mm=(2.5, 1.1, 1.1))
    report = judge(head)
    assert report.analysable
    assert report.findings[0].code == "preprocessing"
    assert codes(report, "warning") == codes(report, "refuse") == set()


@pytest.mark.parametrize("slice_mm", [1.0, 2.0, 5.0])
def test_slices_of_1_to_5_mm_are_never_refused(slice_mm: float) -> None:
    head, _ = make_head(shape=(int(160 / slice_mm), 96, 80), spacing_mm=(slice_mm, 2.4, 2.4))
    report = judge(head)
    assert report.analysable
    assert ("thick_slices" in codes(report, "warning")) == (slice_mm > 3.5)


@pytest.mark.parametrize(
    ("kept", "end"),
    [
        (slice(None), None),
        (slice(0, 42), "top"),
        (slice(18, 60), "base"),
        (slice(0, 48), "top"),
    ],
    ids=["whole", "last 30 % absent", "first 30 % absent", "last 20 % absent"],
)
def test_a_scan_that_ends_inside_the_brain_is_warned_of(kept: slice, end: str | None) -> None:
    head, _ = make_head(shape=(60, 96, 80), spacing_mm=(2.5, 2.4, 2.4))
    affine = head.affine.copy()
    affine[:3, 3] += affine[:3, 0] * (kept.start or 0)
    report = judge(Volume(head.data[kept], affine))
    assert report.analysable
    messages = [one.message for one in report.findings if one.code == "cut_off"]
    assert len(messages) == (end is not None)
    assert end is None or f"ends inside the brain at its {end} (" in messages[0]


def test_noise_is_warned_of_then_refused() -> None:
    noisy, _ = make_head(noise=0.2)
    drowned, _ = make_head(noise=0.6)
    assert "noisy" in codes(judge(noisy), "warning")
    assert codes(judge(drowned), "refuse") == {"noise"}


def test_phase_is_refused() -> None:
    head, truth = make_head()
    rng = np.random.default_rng(0)
    ramp = np.linspace(-9, 9, head.shape[1])[None, :, None]
    phase = np.where(truth, np.angle(np.exp(1j * ramp)), 0) + 0.1 * rng.normal(size=head.shape)
    report = judge(head.with_data(phase.astype(np.float32)))
    assert codes(report, "refuse") & {"phase_image", "no_brain", "not_a_brain", "too_small"}


def test_dark_csf_on_both_sides_is_no_t2star() -> None:
    head, _ = make_head(shape=(60, 96, 80), spacing_mm=(2.5, 2.4, 2.4))
    data = head.data.copy()
    z, y, x = np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in head.shape], indexing="ij")
    for side in (-1, 1):  # ventricles of 25 x 40 x 15 mm
        data[(z / 5) ** 2 + (y / 9) ** 2 + ((x - side * 5) / 3.5) ** 2 < 1] = 150
    assert codes(judge(head.with_data(data)), "refuse") == {"no_t2star_contrast"}

    # The same on one side only may be a haemorrhage: warned of, not refused.
    one_side = data.copy()
    one_side[:, :, 40:] = head.data[:, :, 40:]
    one_side[(z / 6) ** 2 + (y / 11) ** 2 + ((x + 8) / 5) ** 2 < 1] = 150
    report = judge(head.with_data(one_side))
    assert report.analysable
    assert "large_dark_places" in codes(report, "warning")


def test_uniform_bottle_is_refused() -> None:
    head, truth = make_head(scalp=False)
    bottle = np.where(truth, 1000, 0) + np.abs(np.random.default_rng(0).normal(0, 10, truth.shape))
    assert codes(judge(head.with_data(bottle.astype(np.float32))), "refuse") == {"not_a_brain"}


def test_coronal_scan_is_warned_of() -> None:
    head, _ = make_head(shape=(120, 40, 120), spacing_mm=(1.5, 5.0, 1.5))
    warnings = codes(judge(head), "warning")
    assert {"not_axial", "coarse_pixels", "oblong_pixels"} <= warnings


def test_voxels_in_the_wrong_unit_are_refused_and_said() -> None:
    head, _ = make_head()
    metres = head.affine.copy()
    metres[:3] /= 1000
    recipe = PreprocessRecipe(size=128, pixel_mm=0.05)
    volume = Volume(head.data, metres)
    report = check_quality(volume, prepare(volume, recipe))
    assert codes(report, "refuse") == {"no_brain"}
    assert "tiny_voxels" in codes(report, "warning")


def test_notes_of_reading_and_preparing_are_passed_on() -> None:
    head, _ = make_head()
    noted = Volume(head.data, head.affine, "head", ("3 voxels were NaN and became 0",))
    messages = [finding.message for finding in judge(noted).findings]
    assert "3 voxels were NaN and became 0" in messages
    assert any("were resampled" in message for message in messages)


def test_a_mask_that_leaves_out_half_of_the_brain_is_warned_of() -> None:
    head, truth = make_head()
    half = truth.copy()
    half[:, :, : truth.shape[2] // 2] = False
    codes = {}
    for name, mask in (("whole", truth), ("half", half)):
        prepared = prepare(head, RECIPE, brain_mask=Volume(mask, head.affine))
        codes[name] = {finding.code for finding in check_quality(head, prepared).findings}
    assert codes["half"] - codes["whole"] >= {"part_of_brain_mask"}
    assert "part_of_brain_mask" not in codes["whole"]


def test_mirrored_forms_of_a_header_are_warned_of() -> None:
    head, _ = make_head()
    form = head.affine[:, [2, 1, 0, 3]]
    mirrored = HeaderForms(np.diag([-1.0, 1, 1, 1]) @ form, form, 1, 1, 2)
    report = judge(replace(head, forms=mirrored))
    warned = [finding for finding in report.findings if finding.code == "mirrored_header"]
    assert [finding.severity for finding in warned] == ["warning"]
    same = judge(replace(head, forms=HeaderForms(form, form, 1, 1, 2)))
    assert "mirrored_header" not in {finding.code for finding in same.findings}
