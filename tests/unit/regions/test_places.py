from __future__ import annotations

import numpy as np
import pytest

from cmbnet.regions import REGIONS, UNKNOWN, Place, group_of, head_template, pattern_of
from cmbnet.regions.counts import count_regions
from cmbnet.regions.places import LabelMap


def boxes() -> LabelMap:
    """2 mm cells: frontal (9) for x below 20 mm, thalamus (4) beyond, nothing above z = 40."""
    labels = np.full((30, 30, 30), 9, np.uint8)
    labels[:, :, 20:] = 4
    labels[25:] = 0
    return LabelMap(labels, np.array([-10.0, -30.0, -20.0]), 2.0)


def test_margin_is_the_distance_to_the_border_of_the_next_region() -> None:
    # Cell 19 of x ends at -20 + 39 = 19 mm.
    place = boxes().place(np.array([10.0, 0.0, 13.0]))
    assert (place.region, place.group, place.side) == ("frontal", "lobar", "right")
    assert place.margin_mm == place.group_margin_mm == 6.0
    assert place.mni_mm == (13.0, 0.0, 10.0)


def test_a_group_margin_is_no_smaller_than_that_of_the_region() -> None:
    labels = boxes().labels.copy()
    labels[:, :, 12:20] = 10  # parietal lies between frontal and thalamus
    place = LabelMap(labels, boxes().origin_mm, 2.0).place(np.array([10.0, 0.0, 0.0]))
    assert (place.margin_mm, place.group_margin_mm) == (3.0, 19.0)


@pytest.mark.parametrize(("right", "side"), [(-2.0, "left"), (-1.9, "midline"), (2.0, "right")])
def test_side(right: float, side: str) -> None:
    assert boxes().place(np.array([0.0, 0.0, right])).side == side


@pytest.mark.parametrize("point", [(45.0, 0.0, 5.0), (-500.0, 0.0, 0.0), (0.0, 0.0, 1e4)])
def test_a_place_outside_the_template_is_unknown(point: tuple[float, float, float]) -> None:
    place = boxes().place(np.array(point))
    assert (place.region, place.side, place.group) == ("unknown", "unknown", "unknown")
    assert place.margin_mm is None
    assert place.mni_mm == point[::-1]


@pytest.mark.parametrize(
    ("mni", "region", "side"),
    [  # Places that any atlas agrees on: right, anterior, superior.
        ((-12, -18, 8), "thalamus", "left"),
        ((26, 4, 0), "basal ganglia", "right"),
        ((-35, 45, 25), "frontal", "left"),
        ((40, -60, 45), "parietal", "right"),
        ((-55, -20, -15), "temporal", "left"),
        ((15, -95, 0), "occipital", "right"),
        ((0, -28, -30), "brainstem", "midline"),
        ((-25, -65, -40), "cerebellum", "left"),
        ((0, 0, 25), "corpus callosum", "midline"),
        ((26, -15, 30), "deep white matter", "right"),
        ((-38, 5, 2), "insula", "left"),
    ],
)
def test_the_template_knows_places_without_doubt(
    mni: tuple[float, float, float], region: str, side: str
) -> None:
    place = head_template().labels.place(np.array(mni[::-1], float))
    assert (place.region, place.side) == (region, side)


def test_every_region_is_in_the_template() -> None:
    numbers = np.unique(head_template().labels.labels)
    assert numbers.tolist() == list(range(len(REGIONS) + 1))
    assert [group_of(name) for name in REGIONS].count("deep") == 6


@pytest.mark.parametrize(
    ("regions", "pattern"),
    [
        ([], "none"),
        (["frontal", "insula"], "strictly lobar"),
        (["frontal", "cerebellum"], "strictly lobar"),
        (["thalamus", "cerebellum"], "strictly deep"),
        (["brainstem"], "strictly deep"),
        (["occipital", "deep white matter"], "mixed"),
        (["cerebellum"], "other"),
        (["occipital", "thalamus", "unknown"], "mixed"),
        (["occipital", "unknown"], "unknown"),
    ],
)
def test_pattern(regions: list[str], pattern: str) -> None:
    assert pattern_of(regions) == pattern


def lobar(side: str = "left") -> Place:
    return Place("frontal", side, "lobar", 5.0)  # type: ignore[arg-type]


DEEP = Place("thalamus", "right", "deep", 5.0)
CEREBELLUM = Place("cerebellum", "midline", "infratentorial", 5.0)


@pytest.mark.parametrize(
    ("places", "marker", "svd", "caa", "band"),
    [
        ([], "no", 0, 0, "0"),
        ([lobar()], "no", 1, 0, "1"),
        ([lobar()] * 2, "yes", 1, 1, "2-4"),
        ([lobar()] * 4 + [CEREBELLUM], "yes", 1, 1, "5-10"),
        ([lobar()] * 5 + [DEEP], "no", 1, 2, "5-10"),
        ([lobar()] * 11, "yes", 1, 2, "11-20"),
        ([CEREBELLUM] * 21, "no", 1, 0, "> 20"),
        ([lobar(), UNKNOWN], "not assessable", 1, None, "2-4"),
        ([DEEP, UNKNOWN], "no", 1, None, "2-4"),
        ([None, None], "not assessable", 1, None, "2-4"),
    ],
)
def test_scores(
    places: list[Place | None], marker: str, svd: int, caa: int | None, band: str
) -> None:
    counts = count_regions(places)
    assert (counts.boston_marker, counts.svd_points, counts.caa_svd_points) == (marker, svd, caa)
    assert counts.band == band


def test_rows_add_up() -> None:
    counts = count_regions([lobar(), lobar("right"), DEEP, CEREBELLUM, UNKNOWN])
    assert [(row.left, row.right, row.midline, row.total) for row in counts.groups] == [
        (1, 1, 0, 2), (0, 1, 0, 1), (0, 0, 1, 1), (0, 0, 0, 1),
    ]  # fmt: skip
    assert sum(row.total for row in counts.regions) == 4
