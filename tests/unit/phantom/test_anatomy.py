from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from numpy.typing import NDArray

from cmbnet.errors import MissingExtra
from cmbnet.phantom import template
from cmbnet.phantom.anatomy import Anatomy, make_anatomy
from cmbnet.phantom.regions import Region
from cmbnet.phantom.tissue import NUCLEI
from cmbnet.phantom.veins import thicken, trace


def test_shares_fill_the_brain(head: Anatomy) -> None:
    parts = (head.grey, head.white, head.csf, head.nucleus_share)
    total = np.sum([part.astype(int) for part in parts], axis=0)
    assert np.abs(total[head.brain] - 255).max() <= 3
    assert total[~head.brain].max() == 0


def test_a_head_has_its_parts(head: Anatomy) -> None:
    present = set(np.unique(head.region[head.brain]).tolist())
    assert {Region.FRONTAL, Region.PARIETAL, Region.OCCIPITAL, Region.THALAMUS,
            Region.PUTAMEN, Region.CEREBELLUM, Region.BRAINSTEM} <= present  # fmt: skip
    assert {1, 3, 4} <= set(np.unique(head.nucleus).tolist())
    assert NUCLEI[0] == "thalamus"
    for part in (head.grey, head.white, head.csf):
        assert 0.03 < part[head.brain].mean() / 255 < 0.8
    assert head.scalp[~head.brain].max() > 200
    assert not head.scalp[head.brain].any()


def test_regions_lie_where_they_should(head: Anatomy) -> None:
    def middle(region: Region) -> NDArray[np.float32]:
        points = head.grid.points_of(np.argwhere(head.region == region))
        place: NDArray[np.float32] = head.deformation.to_mni(points).mean(axis=0)
        return place

    assert middle(Region.FRONTAL)[1] > middle(Region.PARIETAL)[1] > middle(Region.OCCIPITAL)[1]
    assert middle(Region.CEREBELLUM)[0] < middle(Region.THALAMUS)[0] < middle(Region.PARIETAL)[0]


def test_same_seed_same_head(head: Anatomy) -> None:
    make_anatomy.cache_clear()
    first = make_anatomy("procedural", 3, 0.5)
    make_anatomy.cache_clear()
    again = make_anatomy("procedural", 3, 0.5)
    assert first is not again
    np.testing.assert_array_equal(first.grey, again.grey)
    assert not np.array_equal(first.grey, head.grey)
    np.testing.assert_array_equal(first.veins.points_mm, again.veins.points_mm)


def test_deformation_has_an_inverse(head: Anatomy) -> None:
    mni = np.array([[0, 0, 0], [20, -40, 30], [-30, -60, -20]], np.float32)
    back = head.deformation.to_mni(head.deformation.from_mni(mni))
    np.testing.assert_allclose(back, mni, atol=0.5)


def test_veins_lie_in_the_head_and_hold_their_blood(head: Anatomy) -> None:
    index = head.grid.index_of(head.veins.points_mm)
    inside = np.all((index >= 0) & (index < np.array(head.grid.shape) - 1), axis=1)
    assert inside.mean() > 0.97
    path = np.stack([np.arange(0, 10, 0.35), np.zeros(29), np.zeros(29)], axis=1)
    radius = np.linspace(0.2, 1.5, 29, dtype=np.float32)
    points = thicken(np.random.default_rng(0), path.astype(np.float32), radius, 0.35)
    assert points.volume_mm3.sum() == pytest.approx(np.sum(np.pi * radius**2 * 0.35), rel=1e-4)
    off_axis = np.hypot(points.points_mm[:, 1], points.points_mm[:, 2])
    assert off_axis.max() <= 1.5


def test_lines_turn_toward_their_guide() -> None:
    start = np.zeros((5, 3), np.float32)
    heading = np.tile(np.array([1, 0, 0], np.float32), (5, 1))
    up = np.array([0, 0, 1], np.float32)
    points, share, line = trace(
        np.random.default_rng(0), start, heading, lambda p: np.tile(up, (len(p), 1)),
        steps=np.array([30, 30, 10, 30, 30]), turn=0.3, jitter=0.05,
    )  # fmt: skip
    assert np.sum(line == 2) == 10
    assert np.sum(line == 0) == 30
    assert points[line == 0][-1, 2] > 6
    assert share.max() < 1


def test_missing_nilearn_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    template.load_template.cache_clear()
    with pytest.raises(MissingExtra, match=r"nilearn.*cmbnet\[phantom\]"):
        template.load_template("mni")
