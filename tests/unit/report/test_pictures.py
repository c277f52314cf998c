"""Where things are drawn, checked in pixels."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from cmbnet.backends import Backend
from cmbnet.bundle import Bundle
from cmbnet.predict import Prediction, predict_volume
from cmbnet.report.pictures import MARK, OUTLINE, SLICE_PIXELS, TILE_PIXELS, Painter, Picture
from tests.helpers.tiny_scan import tiny_scan

DOT = (12, 60, 70)
"""Toward anterior and toward the patient's right."""


@pytest.fixture(scope="module")
def prediction(tiny_bundle: Bundle, tiny_backend: Backend) -> Prediction:
    return predict_volume(tiny_scan([DOT]), tiny_bundle, tiny_backend)


def pixels(picture: Picture) -> np.ndarray:
    content = base64.b64decode(picture.uri.removeprefix("data:image/jpeg;base64,"))
    return np.asarray(Image.open(io.BytesIO(content))).astype(int)


def orange(image: np.ndarray) -> np.ndarray:
    return np.asarray(np.abs(image - OUTLINE).sum(axis=2) < 120)


def test_right_is_left_and_anterior_is_up(prediction: Prediction) -> None:
    painter = Painter(prediction)
    picture = painter.slice(DOT[0])
    assert picture.height == SLICE_PIXELS
    rows, columns = np.nonzero(orange(pixels(picture)))
    assert rows.size > 20
    # The frame spans the brain's box; a dot right and anterior of its middle is up and left.
    assert rows.mean() < picture.height / 2 - 10
    assert columns.mean() < picture.width / 2 - 10
    assert painter.lesions_on(DOT[0]) == [1]
    assert painter.lesions_on(3) == []


def test_a_slice_without_lesion_has_no_outline(prediction: Prediction) -> None:
    assert not orange(pixels(Painter(prediction).slice(4))).any()


def test_a_tile_shows_the_lesion_in_the_middle_of_three_planes(prediction: Prediction) -> None:
    (lesion,) = prediction.found.lesions
    image = pixels(Painter(prediction).tile(lesion))
    assert image.shape == (TILE_PIXELS, 3 * TILE_PIXELS + 8, 3)
    for plane in range(3):
        left = plane * (TILE_PIXELS + 4)
        tile = image[:, left : left + TILE_PIXELS]
        middle = slice(TILE_PIXELS // 2 - 4, TILE_PIXELS // 2 + 4)
        assert tile[middle, middle].mean() < 60
        rows, columns = np.nonzero(orange(tile))
        for places in (rows, columns):
            assert places.min() < TILE_PIXELS / 2 < places.max()


def test_slices_are_spread_where_there_is_no_lesion(prediction: Prediction) -> None:
    painter = Painter(prediction)
    shown = painter.slices_to_show((), (), most=8)
    brain = np.flatnonzero(prediction.prepared.brain.any(axis=(1, 2)))
    assert len(shown) == 4
    assert (shown[0], shown[-1]) == (brain[0], brain[-1])
    (lesion,) = prediction.found.lesions
    through = painter.slices_to_show((), (lesion,), most=8)
    assert set(through) - set(shown) <= {12, 13}
    assert set(through) & {12, 13}
    assert painter.slices_to_show((lesion,), (), most=8) in ([12], [13])


def bright(image: np.ndarray) -> np.ndarray:
    return np.asarray(np.abs(image - MARK).sum(axis=2) < 60)


def bar_pixels(image: np.ndarray) -> int:
    """Width of the bar in the lower right corner."""
    rows = bright(image)[-8:, image.shape[1] // 3 :]
    return int(rows.sum(axis=1).max())


def test_a_scale_bar_is_as_long_as_it_says(tiny_bundle: Bundle, tiny_backend: Backend) -> None:
    other = (DOT[0], DOT[1], DOT[2] - 30)
    found = predict_volume(tiny_scan([DOT, other]), tiny_bundle, tiny_backend)
    painter = Painter(found)
    image = pixels(painter.slice(DOT[0]))
    columns = np.nonzero(orange(image))[1]
    apart = columns[columns > columns.mean()].mean() - columns[columns < columns.mean()].mean()
    # 20 mm beside 30 mm; the number beside a lesion is as orange as its outline.
    assert bar_pixels(image) == pytest.approx(apart * 20 / 30, abs=5)
    tile = pixels(painter.tile(found.found.lesions[0]))
    for plane in range(3):
        left = plane * (TILE_PIXELS + 4)
        # 12 pixels of 1 mm on both sides of the middle one.
        expected = 5 * TILE_PIXELS / 25
        assert bar_pixels(tile[:, left : left + TILE_PIXELS]) == pytest.approx(expected, abs=2)


def test_both_sides_are_lettered(prediction: Prediction) -> None:
    painter = Painter(prediction)
    (lesion,) = prediction.found.lesions
    tile = pixels(painter.tile(lesion))
    planes = [tile[:, n * (TILE_PIXELS + 4) :][:, :TILE_PIXELS] for n in range(3)]
    for image in (pixels(painter.slice(DOT[0])), *planes):
        marked = bright(image)
        assert marked[3:20, 3:18].sum() >= 10
        assert marked[3:20, -18:-3].sum() >= 10
        assert not np.array_equal(marked[3:20, 3:18], marked[3:20, -18:-3])
