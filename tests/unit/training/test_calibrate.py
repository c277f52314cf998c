from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cmbnet.bundle import Bundle, Training, load_bundle
from cmbnet.bundle.manifest import ChosenOn
from cmbnet.cli.calibrate import command
from cmbnet.data_kind import DataKind
from cmbnet.errors import InputRefused, UsageError
from cmbnet.io import read_nifti, write_nifti
from cmbnet.training.choose.calibrate import calibrate
from cmbnet.training.choose.statement import calibrated as trained_and_calibrated
from cmbnet.training.choose.statement import continued, statement
from cmbnet.training.data.labelled import read_labelled
from tests.helpers.tiny_scan import DOTS, tiny_scan

WITHOUT_TRAINING_SOFTWARE = (
    "import sys; sys.modules.update(dict.fromkeys(('tensorflow', 'keras', 'h5py')))\n"
    "from cmbnet.cli import main; main(sys.argv[1:])\n"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scans with three dots each, of which the reader marked two, and two without dots."""
    folder = tmp_path_factory.mktemp("site")
    for number, dots in enumerate((DOTS, DOTS, (), ())):
        scan = tiny_scan(dots, seed=number)
        labels = np.zeros(scan.shape, np.uint8)
        for label, (k, j, i) in enumerate(dots[:2], start=1):
            labels[k : k + 2, j : j + 4, i : i + 4] = label
        for kind, volume, dtype in (
            ("images", scan, np.float32),
            ("lesions", scan.with_data(labels), np.uint8),
        ):
            (folder / kind).mkdir(exist_ok=True)
            write_nifti(volume, folder / kind / f"s{number}.nii.gz", dtype=dtype)
    return folder


@pytest.fixture(scope="module")
def calibrated(
    tiny_bundle: Bundle, site: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Bundle, list[str]]:
    lines: list[str] = []
    folder = tmp_path_factory.mktemp("out") / "b"
    made = calibrate(
        tiny_bundle,
        read_labelled(site),
        folder,
        data_kind="phantoms",
        backend="litert:float32",
        report=lines.append,
    )
    return made, lines


def test_the_thresholds_are_those_of_the_site(calibrated: tuple[Bundle, list[str]]) -> None:
    points = {p.name: p.measured for p in calibrated[0].manifest.operating_points}
    assert set(points) == {"balanced", "sensitive", "screening"}
    balanced = points["balanced"]
    assert balanced is not None
    assert (balanced.n_positive, balanced.n_negative) == (2, 2)
    assert balanced.sensitivity == 1.0
    assert balanced.precision == pytest.approx(2 / 3)  # one dot of three was not marked
    assert (balanced.patient_fpr, balanced.patient_fnr) == (0.0, 0.0)
    assert balanced.cohort.startswith("site")


def test_the_network_and_the_rules_stay(
    calibrated: tuple[Bundle, list[str]], tiny_bundle: Bundle
) -> None:
    made = calibrated[0]
    made.verify()
    assert made.manifest.artefacts == tiny_bundle.manifest.artefacts
    assert made.manifest.training.details == tiny_bundle.manifest.training.details
    assert made.manifest.rules == tiny_bundle.manifest.rules
    assert made.manifest.versions["calibrated_from_sha256"] == tiny_bundle.sha256


def test_few_scans_are_called_few(calibrated: tuple[Bundle, list[str]]) -> None:
    assert calibrated[1][-1].startswith("4 scans, 2 of the rarer kind: read the intervals")


def test_truth_given_as_classes_is_warned_of(
    tiny_bundle: Bundle, site: Path, tmp_path: Path
) -> None:
    """The reader's two lesions get one value, and a third value makes the file instances."""
    shutil.copytree(site, tmp_path / "c")
    path = tmp_path / "c" / "lesions" / "s0.nii.gz"
    truth = read_nifti(path)
    k2, j2, i2 = DOTS[1]
    data = np.minimum(truth.data, 1).astype(np.uint8)
    data[k2, j2, i2] = 2
    far = data.copy()
    far[-3:-1, -6:-2, -6:-2] = 1
    write_nifti(truth.with_data(far), path, dtype=np.uint8)
    lines: list[str] = []
    calibrate(
        tiny_bundle, read_labelled(tmp_path / "c"), tmp_path / "b", data_kind="phantoms",
        backend="litert:float32", report=lines.append,
    )  # fmt: skip
    assert any(line.startswith("warning: case s0: label 1 has") for line in lines)


def test_a_folder_that_holds_a_bundle_is_not_overwritten(
    calibrated: tuple[Bundle, list[str]], tiny_bundle: Bundle, site: Path
) -> None:
    with pytest.raises(UsageError, match="holds a bundle already"):
        calibrate(
            tiny_bundle, read_labelled(site), calibrated[0].path, data_kind="phantoms", report=print
        )


def test_controls_alone_are_refused(tiny_bundle: Bundle, site: Path, tmp_path: Path) -> None:
    for kind in ("images", "lesions"):
        (tmp_path / "c" / kind).mkdir(parents=True)
        shutil.copy(site / kind / "s2.nii.gz", tmp_path / "c" / kind)
    with pytest.raises(InputRefused, match="scans with lesions"):
        calibrate(
            tiny_bundle,
            read_labelled(tmp_path / "c"),
            tmp_path / "b",
            data_kind="patients",
            report=print,
        )
    assert not (tmp_path / "b").exists()


def test_the_command_needs_no_training_software(
    tiny_bundle: Bundle, site: Path, tmp_path: Path
) -> None:
    arguments = ["calibrate", tiny_bundle.path, "--data", site, "-o", tmp_path / "b"]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            WITHOUT_TRAINING_SOFTWARE,
            *map(str, arguments),
            "--name",
            "ward 3",
            "--data-kind",
            "patients",
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Research use only" in done.stdout
    manifest = load_bundle(tmp_path / "b").manifest
    measured = manifest.operating_points[0].measured
    assert measured is not None
    assert measured.cohort == "ward 3"
    training = manifest.training
    assert training.real_patient_data
    assert training.statement.endswith(
        "Operating points were chosen and measured on scans of patients."
    )
    assert training.data[-1] == "operating points: 4 scans, scans of patients (ward 3)"
    assert training.chosen_on is not None
    images = sorted((site / "images").iterdir())
    assert training.chosen_on.scans == tuple(
        hashlib.sha256(image.read_bytes()).hexdigest() for image in images
    )


def test_the_command_asks_what_the_scans_are(tiny_bundle: Bundle, site: Path) -> None:
    arguments = [str(tiny_bundle.path), "--data", str(site), "-o", str(site / "new")]
    refused = CliRunner().invoke(command, arguments)
    assert refused.exit_code == 2
    assert "--data-kind" in refused.output


def test_the_statement_of_a_network_that_learned_more_is_true() -> None:
    before = statement("phantoms")
    assert continued(before, "phantoms") == before
    after = continued(before, "mixed")
    assert after == (
        "Trained on digital phantoms only. Trained further on scans of several kinds. Operating "
        "points were chosen and measured on scans of several kinds."
    )
    assert continued(after, "phantoms").count("Operating points") == 1


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("phantoms", statement("phantoms")),
        ("patients", "Trained on digital phantoms only. Operating points were chosen and measured "
                     "on scans of patients."),
        ("volunteers", "Trained on digital phantoms only. Operating points were chosen and "
                       "measured on scans of volunteers."),
    ],
)  # fmt: skip
def test_the_statement_of_a_calibrated_bundle_is_true(kind: DataKind, expected: str) -> None:
    before = Training(statement=statement("phantoms"), real_patient_data=False)
    after = trained_and_calibrated(before, ChosenOn(data_kind=kind, scans=()), "ward 3")
    assert after.statement == expected
    assert after.real_patient_data == (kind == "patients")
    again = trained_and_calibrated(after, ChosenOn(data_kind="patients", scans=()), "ward 4")
    assert again.statement.count("Operating points were chosen") == 1
    assert "no image of a patient" not in again.statement
