"""SWI from magnitude and phase, against the phantom's own SWI of the same noise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cmbnet.cli import main
from cmbnet.errors import InputRefused
from cmbnet.io import write_nifti
from cmbnet.io.nifti import read_nifti
from cmbnet.phantom.case import make_case
from cmbnet.phantom.protocol import TINY
from cmbnet.phase.swi import minimum_projection, susceptibility_weighted
from cmbnet.volume import grid_difference
from tests.helpers.phase_scan import sphere_scan, vein_scan

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"


@pytest.mark.parametrize("vendor", ["philips", "siemens"])
def test_it_is_the_swi_of_the_phantom(vendor: str) -> None:
    asked = {"positive": False, "anatomy": "procedural"}
    own = make_case(4, protocol=TINY, **asked)  # type: ignore[arg-type]
    plain = make_case(4, protocol=replace(TINY, output="magnitude"), phase=vendor, **asked)  # type: ignore[arg-type]
    assert plain.phase is not None
    blood = "positive" if vendor == "philips" else "negative"
    swi, _, _ = susceptibility_weighted(plain.image, plain.phase, blood=blood)  # type: ignore[arg-type]
    brain = plain.brain.data > 0

    def darker(image: NDArray[Any]) -> Any:
        return 1 - image[brain] / np.maximum(plain.image.data[brain], 1)

    assert np.corrcoef(darker(swi.data), darker(own.image.data))[0, 1] > 0.8
    assert (swi.data <= plain.image.data + 1e-3).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_veins_get_darker_whatever_the_sign(sign: int) -> None:
    magnitude, phase = vein_scan(sign)
    swi, found, _ = susceptibility_weighted(magnitude, phase)
    assert found.sign == sign
    veins = (magnitude.data > 0.3) & (magnitude.data < 0.5)
    tissue = magnitude.data > 0.9
    assert np.median(swi.data[veins] / magnitude.data[veins]) < 0.4
    assert np.median(swi.data[tissue] / magnitude.data[tissue]) > 0.8


def test_a_sign_that_cannot_be_found_is_asked_for() -> None:
    with pytest.raises(InputRefused, match="whose sign can be found"):
        susceptibility_weighted(*sphere_scan(4.0))


def test_command_writes_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    magnitude, phase = vein_scan(1)
    files = [tmp_path / "mag.nii.gz", tmp_path / "phase.nii.gz"]
    for volume, file in zip((magnitude, phase), files, strict=True):
        write_nifti(volume, file, dtype=np.float32)
    out = tmp_path / "swi.nii.gz"
    with pytest.raises(SystemExit) as left:
        main(["swi", *map(str, files), "-o", str(out), "--projection", "5"])
    assert left.value.code == 0
    assert str(out) in capsys.readouterr().out
    swi, lowest = read_nifti(out), read_nifti(tmp_path / "swi_minip.nii.gz")
    assert grid_difference(swi, magnitude) is None
    np.testing.assert_array_equal(lowest.data, minimum_projection(swi, 5).data)
    made = json.loads((tmp_path / "swi.json").read_text())
    assert made["sign_of_blood"] == 1
    assert made["phase"][0].startswith("The phase has radians")


@pytest.mark.skipif(not DATA.is_dir(), reason="shared test data not present: ../shared/data")
def test_a_real_crop_is_weighted_once_its_sign_is_given() -> None:
    """A midline crop at 7 T with in-plane veins, too small to find the sign in."""
    folder = DATA / "megre_7t_crop"
    magnitude, phase = (read_nifti(folder / name, frame=2) for name in ("Mag.nii", "Phase.nii"))
    with pytest.raises(InputRefused, match="whose sign can be found"):
        susceptibility_weighted(magnitude, phase)
    swi, _, _ = susceptibility_weighted(magnitude, phase, blood="positive")
    lost = 1 - swi.data / np.maximum(magnitude.data, 1e-12)
    dark = magnitude.data < np.percentile(magnitude.data, 10)
    assert lost[dark].mean() - lost[~dark].mean() > 0.03
