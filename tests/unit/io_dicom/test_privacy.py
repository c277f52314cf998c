"""Nothing that names the patient leaves the reader but inside `DicomSource`."""

from __future__ import annotations

import logging
import shutil
import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydicom import config
from pydicom.dataset import Dataset, FileDataset

from cmbnet.cli.dicom import command
from cmbnet.errors import CmbnetError
from cmbnet.io.dicom import examine_dicom, read_dicom_series
from cmbnet.io.dicom.privacy import patient_identifiers, scrub
from tests.helpers.dicom_series import edit_all, swi_only

SECRETS = ("zimmermann", "friederike", "19470213", "kis-998877")


@pytest.fixture
def named(tmp_path: Path) -> Path:
    folder = swi_only(tmp_path)

    def identify(dataset: FileDataset) -> None:
        dataset.PatientName = "Zimmermann^Friederike"
        dataset.PatientID = "KIS-998877"
        dataset.PatientBirthDate = "19470213"
        dataset.SeriesDescription = "SWI Zimmermann, Friederike"

    edit_all(folder, identify)
    target = tmp_path / "ZIMMERMANN_Friederike_19470213"
    target.mkdir()
    for path in sorted(folder.iterdir()):
        shutil.move(path, target / f"kis-998877_{path.name}_friederike-zimmermann.dcm")
    return target


def assert_silent(said: str) -> None:
    for secret in SECRETS:
        assert secret not in said.lower()


def test_volume_and_source_name_no_patient(named: Path) -> None:
    volume, source = read_dicom_series(named)
    assert_silent(repr((volume.source, volume.notes, source, source.verdict)))
    assert "of ***" in volume.source
    # The objects that go back into the study do carry the patient.
    assert str(source.headers[0].PatientName) == "Zimmermann^Friederike"


def test_refusals_name_no_patient(named: Path) -> None:
    files = sorted(named.iterdir())
    files[5].unlink()
    files[9].write_bytes(files[9].read_bytes()[:900])
    shutil.copy(files[12], named / "Friederike again.dcm")
    seen = examine_dicom(named)
    assert_silent(repr(seen))
    assert "a slice is missing" in repr(seen)
    with pytest.raises(CmbnetError) as caught:
        read_dicom_series(named)
    assert_silent(str(caught.value))


def test_command_names_no_patient(named: Path) -> None:
    for options in ((), ("--json",)):
        result = CliRunner().invoke(command, ["explain", str(named), *options])
        assert result.exit_code == 0, result.output
        assert_silent(result.output)
        assert "SWI ***" in result.output


def test_the_parser_says_nothing(named: Path, caplog: pytest.LogCaptureFixture) -> None:
    """pydicom warns of invalid values and quotes them."""

    def spoil(dataset: FileDataset) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset.PatientAge = "FRIEDERIKE"
            dataset.StudyDate = "KIS-998877"

    edit_all(named, spoil)
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        read_dicom_series(named)
    assert_silent(caplog.text + " ".join(str(one.message) for one in heard))


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("doe-jane.dcm", "***.dcm"),
        ("DOE JANE", "***"),
        ("Jane Doe", "*** ***"),
        ("IM0001", "IM0001"),
    ],
)
def test_scrub(text: str, clean: str) -> None:
    assert scrub(text, {"doe^jane", "doe", "jane"}) == clean


def test_a_name_of_a_hundred_thousand_words_takes_no_time() -> None:
    """A damaged length makes the pixels the patient's name; found by benchmarks/dicom_fuzz.py."""
    header = Dataset()
    with config.disable_value_validation():
        header.PatientName = "Zimmermann^" + " ".join(f"w{n}" for n in range(100_000))
    identifiers = patient_identifiers(header)
    assert len(identifiers) < 200
    assert "zimmermann" in identifiers
