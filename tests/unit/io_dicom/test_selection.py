"""Which series is taken, and what is said of the others."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset

from cmbnet.errors import InputRefused, UsageError
from cmbnet.io.dicom import (
    ImageKind,
    SelectionRules,
    SeriesVerdict,
    examine_dicom,
    read_dicom,
    read_dicom_series,
)
from cmbnet.phantom.dicom import Vendor
from tests.helpers.dicom_series import edit, edit_all, swi_only, tiny_swi, write_tiny

CHOSEN = {Vendor.SIEMENS: "5", Vendor.GE: "7", Vendor.PHILIPS: "501.1", Vendor.CANON: "6000"}


def verdicts(folder: Path) -> dict[str, SeriesVerdict]:
    return {verdict.key: verdict for verdict in examine_dicom(folder).verdicts}


@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])
@pytest.mark.parametrize("vendor", Vendor)
def test_the_swi_of_every_vendor_is_found(tmp_path: Path, vendor: Vendor, enhanced: bool) -> None:
    folder = write_tiny(tmp_path, vendor=vendor, enhanced=enhanced)
    found = verdicts(folder)
    assert [key for key, verdict in found.items() if verdict.chosen] == [CHOSEN[vendor]]
    volume, source = read_dicom_series(folder)
    assert source.verdict.key == CHOSEN[vendor]
    assert source.echo_ms == 20.0
    assert source.field_t == (None if enhanced else 3.0) or source.field_t == 3.0
    # The grey values are the SWI's, in the order of its slices, by each frame's own slope.
    expected = tiny_swi().data
    correlation = np.corrcoef(np.sort(volume.data, axis=None), np.sort(expected, axis=None))
    assert correlation[0, 1] > 0.9999


@pytest.mark.parametrize("vendor", Vendor)
def test_classic_and_enhanced_give_the_same_volume(tmp_path: Path, vendor: Vendor) -> None:
    classic = read_dicom(write_tiny(tmp_path / "c", vendor=vendor))
    enhanced = read_dicom(write_tiny(tmp_path / "e", vendor=vendor, enhanced=True))
    np.testing.assert_array_equal(classic.data, enhanced.data)
    np.testing.assert_allclose(classic.affine, enhanced.affine, atol=1e-6)


@pytest.mark.parametrize(
    ("vendor", "key", "reason"),
    [
        (Vendor.SIEMENS, "2", "magnitude by its description"),
        (Vendor.SIEMENS, "3", r"phase: image type ND\P"),
        (Vendor.SIEMENS, "4", r"intensity projection (mIP, MIP): image type MNIP\ND\NORM"),
        (Vendor.GE, "700", "phase: GE image kind 1"),
        (Vendor.GE, "701", "intensity projection (mIP, MIP) by its description"),
        (Vendor.PHILIPS, "501.2", r"phase: image type FFE\SW_P\SW_P_FFE"),
        (Vendor.PHILIPS, "502", "intensity projection (mIP, MIP): image type PROJECTION IMAGE"),
        (Vendor.CANON, "6001", "phase: image type PHASE MAP"),
        (Vendor.CANON, "6002", "intensity projection (mIP, MIP): image type MIP"),
    ],
)
def test_every_other_series_is_refused_with_its_reason(
    tmp_path: Path, vendor: Vendor, key: str, reason: str
) -> None:
    assert reason in verdicts(write_tiny(tmp_path, vendor=vendor))[key].reasons


def test_a_token_outweighs_the_description(tmp_path: Path) -> None:
    """A projection that calls itself SWI and ORIGINAL is none: only the token tells."""
    folder = write_tiny(tmp_path, volume=tiny_swi(shape=(30, 20, 16)))
    edit_all(folder / "4", lambda dataset: setattr(dataset, "SeriesDescription", "SWI_Images"))
    shutil.rmtree(folder / "5")
    verdict = verdicts(folder)["4"]
    assert verdict.shape == (23, 20, 16)
    assert verdict.kind is ImageKind.PROJECTION
    with pytest.raises(InputRefused, match="no SWI series"):
        read_dicom(folder)


def test_siemens_magnitude_of_an_swi_protocol_is_not_taken(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path)
    edit_all(folder / "2", lambda dataset: setattr(dataset, "SeriesDescription", "t2_swi3d_tra"))
    shutil.rmtree(folder / "5")
    assert "without the token SWI" in verdicts(folder)["2"].reasons


def test_description_alone_never_selects_mr_of_another_kind(tmp_path: Path) -> None:
    folder = swi_only(tmp_path)

    def change(dataset: FileDataset) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "P", "ND"]
        dataset.SeriesDescription = "SWI"

    edit_all(folder, change)
    with pytest.raises(InputRefused, match="phase"):
        read_dicom(folder)


def scanned_twice(folder: Path) -> Path:
    """A study with two SWI series, the second in the folder ``again``."""
    write_tiny(folder)
    shutil.copytree(folder / "5", folder / "again")

    def once_more(dataset: FileDataset) -> None:
        dataset.SOPInstanceUID = f"{dataset.SOPInstanceUID[-50:].lstrip('.0')}.7"
        dataset.SeriesInstanceUID = f"{dataset.SeriesInstanceUID}.7"

    edit_all(folder / "again", once_more)
    return folder


def test_two_equal_candidates_are_ambiguous_until_one_is_named(tmp_path: Path) -> None:
    scanned_twice(tmp_path)
    with pytest.raises(InputRefused, match=r"ambiguous: 2 series .* 5 \(SWI_Images\), 5b"):
        read_dicom(tmp_path)
    assert read_dicom(tmp_path, series="5b").shape == (24, 20, 16)


def test_console_reformat_loses_to_the_original(tmp_path: Path) -> None:
    folder = scanned_twice(tmp_path)

    def reformat(dataset: FileDataset) -> None:
        dataset.ImageType = ["DERIVED", "SECONDARY", "M", "SWI", "NORM"]

    edit_all(folder / "again", reformat)
    chosen = [verdict for verdict in examine_dicom(folder).verdicts if verdict.chosen]
    assert [verdict.score for verdict in chosen] == [10]


def called(folder: Path, description: str, **more: object) -> None:
    def rename(dataset: FileDataset) -> None:
        dataset.SeriesDescription = description
        for keyword, value in more.items():
            setattr(dataset, keyword, value)

    edit_all(folder, rename)


@pytest.mark.parametrize("frame_of_reference", ["kept", "absent"])
def test_a_projection_called_swi_does_not_win_over_its_original(
    tmp_path: Path, frame_of_reference: str
) -> None:
    """GE: the original is called "AX 3D", the projection, made at the console, "SWI"."""
    folder = write_tiny(tmp_path, vendor=Vendor.GE, volume=tiny_swi(shape=(40, 20, 16)))
    absent = {"FrameOfReferenceUID": None} if frame_of_reference == "absent" else {}
    called(folder / "7", "AX 3D", **absent)
    called(folder / "701", "SWI", **absent)
    with pytest.raises(InputRefused, match=r"only sign of SWI is its description, beside .* 7"):
        read_dicom(folder)
    assert read_dicom(folder, series="7").shape == (40, 20, 16)
    notes = " ".join(read_dicom(folder, series="701").notes)
    assert "named in spite of: a derived image" in notes
    # Where both are called SWI, the original is read.
    called(folder / "7", "SWI")
    assert read_dicom_series(folder)[1].verdict.key == "7"


def test_a_derived_swi_beside_no_gradient_echo_of_its_echo_is_read(tmp_path: Path) -> None:
    """An anatomical 3D gradient echo (short echo) is not what an SWI is made of."""
    folder = write_tiny(tmp_path, vendor=Vendor.GE, volume=tiny_swi(shape=(40, 20, 16)))
    called(folder / "7", "Ax SPGR", EchoTime="3")
    called(folder / "701", "SWI")
    assert read_dicom_series(folder)[1].verdict.key == "701"


def test_a_mosaic_token_on_plain_slices_is_passed_over_by_name(tmp_path: Path) -> None:
    folder = swi_only(tmp_path)
    plain = read_dicom(folder)
    called(folder, "SWI_Images", ImageType=["ORIGINAL", "PRIMARY", "M", "SWI", "MOSAIC"])
    with pytest.raises(InputRefused, match="image type says mosaic, though each image lies"):
        read_dicom(folder)
    volume = read_dicom(folder, series="5")
    np.testing.assert_array_equal(volume.data, plain.data)
    assert any("named in spite of: image type says mosaic" in note for note in volume.notes)


def test_a_true_mosaic_is_never_read(tmp_path: Path) -> None:
    folder = swi_only(tmp_path)

    def mosaic(dataset: FileDataset) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "SWI", "MOSAIC"]
        block = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
        block.add_new(0x0A, "US", 36)

    edit_all(folder, mosaic)
    with pytest.raises(InputRefused, match=r"a mosaic .* is not read"):
        read_dicom(folder, series="5")


@pytest.mark.parametrize("part", ["KOPF", "SCHAEDEL", "TETE", "CABEZA", "ENCEFALO", "NEUROCRANIUM"])
def test_the_head_in_another_language_is_read(tmp_path: Path, part: str) -> None:
    folder = swi_only(tmp_path)
    edit_all(folder, lambda dataset: setattr(dataset, "BodyPartExamined", part))
    notes = " ".join(read_dicom(folder).notes)
    assert ("is no word that is known" in notes) == (part != "NEUROCRANIUM")


@pytest.mark.parametrize("part", ["CSPINE", "L SPINE", "HIP", "ABDOMEN"])
def test_another_part_of_the_body_is_refused(tmp_path: Path, part: str) -> None:
    folder = swi_only(tmp_path)
    edit_all(folder, lambda dataset: setattr(dataset, "BodyPartExamined", part))
    with pytest.raises(InputRefused, match=f"body part {part}, not the head"):
        read_dicom(folder)


def test_a_single_phase_slice_inside_the_series_leaves_a_gap(tmp_path: Path) -> None:
    """Instances are looked at one by one: one phase slice does not hide in 23 others."""
    folder = swi_only(tmp_path)

    def phase(dataset: FileDataset) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "P", "ND"]

    edit(folder / "IM000009", phase)
    with pytest.raises(InputRefused, match="a slice is missing"):
        read_dicom(folder)


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("Modality", "CT", "modality MR is required, got CT"),
        ("BurnedInAnnotation", "YES", "burned-in annotation"),
        ("ScanningSequence", "SE", "spin echo"),
        ("BodyPartExamined", "KNEE", "body part KNEE"),
        ("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"], "localizer"),
        ("ImageType", ["DERIVED", "PRIMARY", "SWI", "MINIMUM"], "intensity projection"),
        ("ImageType", ["DERIVED", "SECONDARY", "REFORMATTED", "MIN IP"], "intensity projection"),
        ("ImageType", ["DERIVED", "PRIMARY", "R2STAR"], "quantitative map"),
        ("ImageType", ["ORIGINAL", "PRIMARY", "R", "SWI"], "real part"),
        ("ImageType", ["ORIGINAL", "PRIMARY", "I"], "imaginary part"),
        ("SeriesDescription", "mIP_Images(SW)", "by its description"),
    ],
)
def test_refused(tmp_path: Path, keyword: str, value: object, reason: str) -> None:
    folder = swi_only(tmp_path)
    edit_all(folder, lambda dataset: setattr(dataset, keyword, value))
    with pytest.raises(InputRefused, match=reason):
        read_dicom(folder)


def test_too_few_and_too_coarse(tmp_path: Path) -> None:
    write_tiny(tmp_path, volume=tiny_swi(shape=(19, 20, 16)))
    with pytest.raises(InputRefused, match="too few slices: at least 20, got 19"):
        read_dicom(tmp_path)
    assert read_dicom(tmp_path, rules=SelectionRules(fewest_slices=19)).shape[0] == 19
    with pytest.raises(InputRefused, match=r"too coarse: at most 1.9 mm, got 2.00 mm"):
        read_dicom(tmp_path, rules=SelectionRules(fewest_slices=19, largest_spacing_mm=1.9))


def test_magnitude_only_when_asked_for(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path)
    shutil.rmtree(folder / "5")
    with pytest.raises(InputRefused, match="no SWI series"):
        read_dicom(folder)
    volume, source = read_dicom_series(folder, rules=SelectionRules(allow_magnitude=True))
    assert source.verdict.kind is ImageKind.MAGNITUDE
    assert any("magnitude in place of SWI" in note for note in volume.notes)


def test_magnitude_asked_for_still_loses_to_swi(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path)
    _, source = read_dicom_series(folder, rules=SelectionRules(allow_magnitude=True))
    assert source.verdict.kind is ImageKind.SWI


def test_named_by_uid_and_unknown_names(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path)
    uid = verdicts(folder)["3"].series_instance_uid
    volume = read_dicom(folder, series=uid)
    assert any("named in spite of: phase" in note for note in volume.notes)
    with pytest.raises(UsageError, match=r"0 series of .* are named 99: choose of 2, 3, 4, 5"):
        read_dicom(folder, series="99")
    with pytest.raises(UsageError, match="frame 0 to 0"):
        read_dicom(folder, frame=1)


def test_ge_private_kind_is_read_in_implicit_vr_too(tmp_path: Path) -> None:
    from pydicom.uid import ImplicitVRLittleEndian

    folder = write_tiny(tmp_path, vendor=Vendor.GE)
    for path in sorted((folder / "7").iterdir()):

        def real_part(dataset: FileDataset) -> None:
            dataset[0x0043102F].value = 2
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian

        edit(path, real_part)
    assert verdicts(folder)["7"].kind is ImageKind.REAL
