"""The template head that ships is what its script makes, and agrees with an atlas."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from cmbnet.io import read_nifti
from cmbnet.phantom.template import load_template
from cmbnet.regions import REGIONS, group_of, head_template

ROOT = Path(__file__).parents[2]
ATLAS = ROOT.parent / "shared/data/mars_atlas/MARS_scale_parcellation_map_mni.nii.gz"


def test_the_script_makes_the_file() -> None:
    pytest.importorskip("nilearn", reason="the ICBM152 maps come with nilearn")
    spec = importlib.util.spec_from_file_location("derived", ROOT / "training/head_template.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    made = script.derive(load_template("mni"))
    with np.load(ROOT / "cmbnet/regions/head.npz") as file:
        assert sorted(file) == sorted(made)
        for name in made:
            # A rounding of the last bit may turn a cell at a border, or a shade.
            differing = np.mean(file[name] != made[name])
            assert differing < 1e-4, (name, differing)


@pytest.mark.skipif(not ATLAS.is_file(), reason="shared test data not present: ../shared/data")
def test_regions_agree_with_the_atlas() -> None:
    """Free numbers were set in sight of this atlas: the agreement is that of a fit."""
    atlas = read_nifti(ATLAS)
    numbers = np.rint(np.sqrt(np.abs(np.asarray(atlas.data, np.float64)))).astype(int)
    index = np.argwhere(numbers > 0)[::5]
    world = (index @ atlas.affine[:3, :3].T + atlas.affine[:3, 3])[:, ::-1]
    template = head_template()
    inside = template.tissues.at(world)[0][:, 0] > 0.5
    true, stated = numbers[tuple(index[inside].T)], template.labels.numbers(world[inside])
    groups = np.array(["unknown", *map(group_of, REGIONS)])
    assert np.mean(true == stated) >= 0.80
    assert np.mean(groups[true] == groups[stated]) >= 0.92
