"""Every DICOM set of ../shared/data, with what its README says a reader must do."""

from __future__ import annotations

import gzip
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="the dicom extra is not installed")

from cmbnet.errors import CmbnetError, InputRefused
from cmbnet.io import read_nifti
from cmbnet.io.detect import holds_dicom
from cmbnet.io.dicom import ImageKind, SelectionRules, examine_dicom, read_dicom, read_dicom_series
from cmbnet.volume import Volume, grid_difference

DATA = Path("../shared/data")
HEADERS = DATA / "dicom2nifti_headers"
FMAP = DATA / "dcm_qa_fmap"
ORIENTATION = DATA / "dcm_qa_orientation"
CANON = DATA / "dcm_qa_canon_61"

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="shared test data not present: ../shared/data"
)


def on_grid_of(volume: Volume, reference: Volume) -> np.ndarray:
    """The voxels of `volume` in the axis order of `reference`; both must be one grid."""
    step = np.linalg.inv(volume.affine) @ reference.affine
    turn = np.rint(step[:3, :3])
    axes = [int(np.argmax(np.abs(turn[:, axis]))) for axis in range(3)]
    data = np.transpose(volume.data, axes)
    flips = tuple(axis for axis in range(3) if turn[axes[axis], axis] < 0)
    data = np.flip(data, flips)
    corner = np.array([0 if turn[a, axes.index(a)] > 0 else volume.shape[a] - 1 for a in range(3)])
    moved = volume.affine.copy()
    moved[:3, 3] = (volume.affine @ [*corner, 1.0])[:3]
    moved[:3, :3] = volume.affine[:3, :3] @ turn
    same = grid_difference(Volume(data, moved), Volume(reference.data, reference.affine))
    assert same is None, same
    return data


def assert_equals(volume: Volume, reference: Path, *, frame: int | None = None) -> None:
    expected = read_nifti(reference, frame=frame)
    np.testing.assert_allclose(on_grid_of(volume, expected), expected.data, rtol=1e-6, atol=1e-4)


def reasons_of(folder: Path) -> str:
    """Why nothing is read; it must be refused, and as a CmbnetError."""
    with pytest.raises(InputRefused) as caught:
        read_dicom(folder)
    return str(caught.value)


@pytest.fixture(scope="module")
def canon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("canon")
    for kind in ("cl", "enh"):
        (root / kind).mkdir()
        for packed in (CANON / "In" / kind).iterdir():
            (root / kind / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    return root


# --- dicom2nifti_headers


def test_philips_magnitude_and_phase_under_one_uid_are_split() -> None:
    folder = HEADERS / "philips/anatomical/002"
    magnitude, phase = examine_dicom(folder).verdicts
    assert (magnitude.kind, phase.kind) == (ImageKind.SWI, ImageKind.PHASE)
    assert magnitude.series_instance_uid == phase.series_instance_uid
    assert magnitude.shape == phase.shape == (4, 768, 768)
    assert "the echo time is unknown" in magnitude.notes
    # 4 slices are too few to be taken unasked; the split alone leaves one candidate.
    volume, source = read_dicom_series(folder, rules=SelectionRules(fewest_slices=4))
    assert volume.shape == (4, 768, 768)
    np.testing.assert_allclose(volume.spacing_mm, (1.0, 0.29947915, 0.29947915), atol=1e-4)
    assert source.echo_ms is None
    assert len(source.headers) == 4


def test_philips_kinds_are_rescaled_each_by_its_own_slope() -> None:
    folder = HEADERS / "philips/anatomical/002"
    magnitude = read_dicom(folder, series="501.1").data
    phase = read_dicom(folder, series="501.2").data
    steps = magnitude / 3.90695970695970
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
    assert magnitude.min() >= 0
    assert phase.min() >= -3142
    assert phase.min() < 0
    stored = (phase + 3142) / 1.53455433455433
    np.testing.assert_allclose(stored, np.rint(stored), atol=1e-2)


def test_every_transfer_syntax_gives_the_same_volume() -> None:
    plain = read_dicom(HEADERS / "generic/anatomical/001", series="4")
    volumes = [
        read_dicom(HEADERS / f"generic/compressed_{name}/001", series="4")
        for name in ("j2k", "jpeg", "jpegls", "rle")
    ]
    for volume in volumes:
        np.testing.assert_array_equal(volume.data, volumes[0].data)
        assert grid_difference(volume, plain) is None
    assert not np.array_equal(volumes[0].data, plain.data)
    assert_equals(volumes[0], HEADERS / "generic/compressed_j2k/001_ground_truth.nii.gz")


@pytest.mark.parametrize("name", ["siemens_multiframe", "hyperfine"])
def test_enhanced_equals_its_ground_truth(name: str) -> None:
    (verdict,) = examine_dicom(HEADERS / name / "anatomical/001").verdicts
    volume = read_dicom(HEADERS / name / "anatomical/001", series=verdict.key)
    assert_equals(volume, HEADERS / name / "anatomical/001_ground_truth.nii.gz")


def test_hyperfine_spacings_are_not_swapped() -> None:
    volume = read_dicom(HEADERS / "hyperfine/anatomical/001", series="10")
    np.testing.assert_allclose(volume.spacing_mm, (5.0, 1.61, 1.59))
    assert volume.shape == (8, 138, 112)


def test_philips_enhanced_is_rescaled() -> None:
    volume = read_dicom(HEADERS / "philips_enhanced/anatomical/001", series="301")
    np.testing.assert_allclose(volume.spacing_mm, (1.2, 1.0, 1.0), atol=1e-4)
    assert volume.shape[0] == 8
    steps = volume.data / 4.25885225885225
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-2)
    assert np.rint(steps).max() > 1


def test_hitachi_reads_and_is_no_swi() -> None:
    folder = HEADERS / "hitachi/anatomical/001"
    assert "no sign of SWI" in reasons_of(folder)
    volume = read_dicom(folder, series="10")
    np.testing.assert_allclose(volume.spacing_mm, (4.0, 2.34375, 2.34375), atol=1e-3)
    assert volume.shape == (4, 64, 64)
    assert any("spin echo" in note for note in volume.notes)


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("generic/rgb/001", r"MONOCHROME2\) are required, got RGB"),
        ("generic/rgb/001", "Secondary Capture"),
        ("siemens/fmri/001", "mosaic"),
        ("ge/anatomical/001_single_slice", "one slice is no volume"),
        ("failing/sliceincrement/001", "unequal spacing, a slice is missing: 10.000 mm between"),
        ("failing/sliceincrement/001", "modality MR is required, got CT"),
        ("failing/sliceorientation/001", "mixed orientations: instance 1"),
        ("failing/slicecount/001", "too few slices"),
    ],
)
def test_refused_with_the_right_reason(folder: str, reason: str) -> None:
    verdicts = examine_dicom(HEADERS / folder).verdicts
    assert [verdict.status for verdict in verdicts] == ["refused"]
    with pytest.raises(InputRefused, match=reason):
        read_dicom(HEADERS / folder)
    # Naming it does not help: it is no volume of grey values.
    with pytest.raises(InputRefused, match="cannot be read"):
        read_dicom(HEADERS / folder, series=verdicts[0].key)


# --- dcm_qa_fmap


def test_ge_field_map_and_magnitude_are_never_mixed() -> None:
    folder = FMAP / "In/GE/6_CV_Neuro"
    assert "2 share each of 16 positions" in reasons_of(folder)
    with pytest.raises(InputRefused, match="choose one with frame 0 to 1"):
        read_dicom(folder, series="6")
    field_map = read_dicom(folder, series="6", frame=0)
    magnitude = read_dicom(folder, series="6", frame=1)
    assert (field_map.data.min(), field_map.data.max()) == (-217, 217)
    assert magnitude.spacing_mm[0] == pytest.approx(9.0, abs=1e-3)
    assert any("5 mm thick and their centres 9.00 mm apart" in note for note in magnitude.notes)
    assert_equals(magnitude, FMAP / "Ref/GE_6_CV_Neuro_HH_Adv.nii")


def test_siemens_echoes_are_split() -> None:
    folder = FMAP / "In/Siemens/2_gre_field_magph"
    assert [verdict.images for verdict in examine_dicom(folder).verdicts] == [36, 36]
    for key, name in (("2.1", "_e1"), ("2.2", "_e2")):
        (reference,) = (FMAP / "Ref").glob(f"Si_*{name}.nii")
        assert_equals(read_dicom(folder, series=key), reference)
    assert read_dicom_series(folder, series="2.2")[1].echo_ms == 7.65


def test_philips_frames_of_two_kinds_are_split() -> None:
    folder = FMAP / "In/Philips/fmap"
    magnitude, field_map = examine_dicom(folder).verdicts
    assert (magnitude.kind, field_map.kind) == (ImageKind.MAGNITUDE, ImageKind.MAP)
    assert magnitude.shape == field_map.shape == (32, 64, 64)
    volume = read_dicom(folder, series=magnitude.key)
    steps = volume.data / 1.27985347985347
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
    field_hz = read_dicom(folder, series=field_map.key).data
    assert field_hz.min() >= -500
    assert field_hz.min() < 0


# --- dcm_qa_canon_61


def test_canon_series_of_13_images_is_reported_as_such(canon: Path) -> None:
    for kind in ("cl", "enh"):
        reason = reasons_of(canon / kind)
        assert "13 share each of 40 positions" in reason
        assert "spin echo" in reason


@pytest.mark.parametrize("frame", [0, 12])
def test_canon_enhanced_equals_classic_and_reference(canon: Path, frame: int) -> None:
    classic = read_dicom(canon / "cl", series="3000", frame=frame)
    enhanced = read_dicom(canon / "enh", series="3000", frame=frame)
    assert classic.shape == (40, 80, 80)
    np.testing.assert_array_equal(classic.data, enhanced.data)
    assert grid_difference(classic, enhanced) is None
    for reference in sorted((CANON / "Ref").iterdir()):
        assert_equals(classic, reference, frame=frame)


def test_canon_zip_and_dicomdir_free_of_names(canon: Path, tmp_path: Path) -> None:
    archive = tmp_path / "cd211006a_dcm2niix.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(canon / "enh/3000.dcm", "../../cd211006a/3000.dcm")
    volume = read_dicom(archive, series="3000", frame=3)
    plain = read_dicom(canon / "enh", series="3000", frame=3)
    np.testing.assert_array_equal(volume.data, plain.data)
    assert "cd211006a" not in repr((volume.source, volume.notes))
    assert "cd211006a" not in reasons_of(archive)


# --- dcm_qa_orientation


@pytest.mark.parametrize(
    "folder", ["ax/axasc35", "ax/axint36", "cor/corint36", "sag/sagasc35", "axmb/AxInt36mb"]
)
def test_mosaics_are_refused_as_mosaics(folder: str) -> None:
    reason = reasons_of(ORIENTATION / "In" / folder)
    assert "a mosaic (many slices in one image) is not read" in reason


def test_text_and_nifti_among_the_files_do_not_break_the_reader() -> None:
    verdicts = examine_dicom(ORIENTATION / "In").verdicts
    assert len(verdicts) == 21
    assert {verdict.kind for verdict in verdicts} == {ImageKind.MOSAIC}


def test_messages_name_no_patient(tmp_path: Path) -> None:
    folder = tmp_path / "STC_Test_19000101"
    shutil.copytree(ORIENTATION / "In/ax/axasc35", folder)
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(folder / f"crlab-stc_test-{number}.dcm")
    said = reasons_of(folder) + repr(examine_dicom(folder).verdicts)
    for secret in ("stc_test", "crlab", "19000101"):
        assert secret not in said.lower()


# --- all of them


@pytest.mark.parametrize(
    "folder", [HEADERS / "generic/anatomical/001", FMAP / "In/GE", CANON / "In"], ids=str
)
def test_dicom_is_told_from_other_files(folder: Path) -> None:
    assert holds_dicom(folder) == (folder != CANON / "In")  # the Canon set is gzipped


def test_not_one_set_is_taken_for_swi_unasked(canon: Path) -> None:
    """The headers are of several patients and studies, which is refused before anything else."""
    for folder in (HEADERS, FMAP / "In", ORIENTATION / "In", canon):
        with pytest.raises(CmbnetError, match=r"no SWI series|one patient and one study"):
            read_dicom(folder)
