from __future__ import annotations

from typing import Any

import numpy as np

from cmbnet.training.data.crop_centres import MIMICS_PER_LABEL, PIXELS_PER_CENTRE, find_crop_centres

SHAPE = (3, 40, 40)


def centres(**changes: Any) -> Any:
    empty = np.zeros(SHAPE, int)
    values = {
        "image": np.full(SHAPE, 0.6, np.float32),
        "lesions": empty,
        "excluded": empty > 0,
        "mimics": empty,
        "brain": empty == 0,
        "spacing_mm": (2.0, 0.6, 0.6),
    }
    values |= changes
    image = values.pop("image")
    return find_crop_centres(image, **values)


def test_a_lesion_has_a_place_in_each_of_its_slices() -> None:
    lesions = np.zeros(SHAPE, int)
    lesions[0, 9:12, 19:22] = 7
    lesions[1, 10:13, 20:23] = 7
    lesions[1, 30, 5] = 9
    rows = centres(lesions=lesions).lesion
    assert sorted(map(tuple, rows.tolist())) == [(0, 10, 20, 7), (1, 11, 21, 7), (1, 30, 5, 9)]


def test_negatives_lie_in_the_brain_and_on_nothing_that_is_marked() -> None:
    lesions, mimics = np.zeros(SHAPE, int), np.zeros(SHAPE, int)
    excluded, brain = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    brain[:, 5:30, 5:30] = True
    lesions[1, 10:14, 10:14] = 1
    excluded[1, 20:24, 20:24] = True
    mimics[1, 12:18, 12:18] = 1  # runs over the lesion
    image = np.random.default_rng(0).random(SHAPE, np.float32)
    found = centres(image=image, lesions=lesions, excluded=excluded, mimics=mimics, brain=brain)
    allowed = brain & ~excluded & (lesions == 0)
    for rows in (found.brain, found.dark, found.mimic):
        assert len(rows)
        assert allowed[tuple(rows.T)].all()


def test_the_darkest_blob_comes_first() -> None:
    image = np.full(SHAPE, 0.6, np.float32)
    image[1, 10:15, 10:15] = 0.3
    image[2, 25:30, 25:30] = 0.1
    rows = centres(image=image).dark
    np.testing.assert_array_equal(rows[0], (2, 27, 27))
    np.testing.assert_array_equal(rows[1], (1, 12, 12))


def test_every_piece_of_a_mimic_has_a_place_and_a_large_one_several() -> None:
    mimics = np.zeros(SHAPE, int)
    mimics[0, 3:5, 3:5] = 1
    mimics[0, 20:22, 3:5] = 1  # the same mimic, elsewhere in the slice
    mimics[2, 10:40, 10:40] = 2
    rows = centres(mimics=mimics).mimic
    assert (mimics[tuple(rows.T)] > 0).all()
    pieces = [(rows[:, 0] == 0) & (rows[:, 1] < 10), (rows[:, 0] == 0) & (rows[:, 1] > 10)]
    assert [int(piece.sum()) for piece in pieces] == [1, 1]
    assert int((rows[:, 0] == 2).sum()) == -(-900 // PIXELS_PER_CENTRE)


def test_many_mimics_of_one_label_leave_room_for_the_others() -> None:
    mimics = np.zeros(SHAPE, int)
    mimics[:, ::2, ::2] = 7  # 1,200 components
    mimics[1, 10, 10] = 3
    rows = centres(mimics=mimics).mimic
    assert np.bincount(mimics[tuple(rows.T)]).tolist() == [0, 0, 0, 1, 0, 0, 0, MIMICS_PER_LABEL]


def test_a_case_without_brain_has_no_negatives() -> None:
    found = centres(brain=np.zeros(SHAPE, bool))
    assert [len(rows) for rows in (found.lesion, found.brain, found.dark, found.mimic)] == [0] * 4
