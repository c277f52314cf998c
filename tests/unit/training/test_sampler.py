from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cmbnet.errors import InputRefused
from cmbnet.training.data.cache_part import LESION, MIMIC
from cmbnet.training.data.reader import Cache
from cmbnet.training.fit.recipe import SamplingSettings
from cmbnet.training.fit.sampler import Sampler

SIDE = 40


def settings(**changes: Any) -> SamplingSettings:
    return SamplingSettings(**({"crop_px": 40, "batch_size": 8, "shift_px": 10} | changes))


def drawn(cache: Cache, batches: int = 12, **changes: Any) -> tuple[np.ndarray, np.ndarray]:
    sampler = Sampler(cache, settings(**changes), SIDE)
    rng = np.random.default_rng(0)
    made = [sampler.batch(rng) for _ in range(batches)]
    return np.stack([b.stacks for b in made]), np.stack([b.marks for b in made])


def test_half_of_every_batch_has_a_lesion_in_the_middle_slice(cache: Cache) -> None:
    stacks, marks = drawn(cache)
    assert stacks.shape == (12, 8, SIDE, SIDE, 3)
    has_lesion = np.any((marks & LESION) > 0, axis=(2, 3))
    expected = np.repeat([[True, False] * 4], 12, axis=0)
    np.testing.assert_array_equal(has_lesion, expected)


def test_lesions_are_met_all_over_the_crop(cache: Cache) -> None:
    _, marks = drawn(cache, 40)
    where = np.argwhere((marks[:, ::2] & LESION) > 0)
    assert where[:, 2].min() < SIDE // 2 - 8
    assert where[:, 2].max() > SIDE // 2 + 8


def test_the_same_generator_gives_the_same_batch(cache: Cache) -> None:
    sampler = Sampler(cache, settings(), SIDE)
    one, two = (sampler.batch(np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one.stacks, two.stacks)
    assert not np.array_equal(one.stacks, sampler.batch(np.random.default_rng(4)).stacks)


@pytest.mark.parametrize("kind", ["brain", "dark", "mimic"])
def test_negatives_come_from_the_kind_that_is_asked_for(cache: Cache, kind: str) -> None:
    only = {"brain": 0.0, "dark": 0.0, "mimic": 0.0} | {kind: 1.0}
    sampler = Sampler(cache, settings(shift_px=0, **only), SIDE)
    rng = np.random.default_rng(0)
    for _ in range(50):
        case, centre = sampler._negative_centre(rng)
        rows = getattr(cache.cases[case].crop_centres, kind)
        assert (rows == centre).all(axis=1).any()


def test_mimics_are_in_most_crops_if_only_they_are_asked_for(cache: Cache) -> None:
    _, marks = drawn(cache, shift_px=0, brain=0.0, dark=0.0, mimic=1.0)
    assert ((marks[:, 1::2, SIDE // 2, SIDE // 2] & MIMIC) > 0).all()


@pytest.mark.parametrize(("share", "expected"), [(1.0, {2}), (0.0, {0, 1})])
def test_controls_give_the_share_that_is_asked_for(
    cache: Cache, share: float, expected: set[int]
) -> None:
    sampler = Sampler(cache, settings(control_share=share), SIDE)
    rng = np.random.default_rng(0)
    assert {sampler._negative_centre(rng)[0] for _ in range(60)} == expected


def test_mined_places_are_used_from_when_they_are_known(cache: Cache) -> None:
    sampler = Sampler(
        cache, settings(brain=0.0, dark=0.0, mimic=1e-9, mined=1.0, control_share=0.0), SIDE
    )
    sampler.set_mined({1: np.array([[4, 30, 31]], np.int16)})
    rng = np.random.default_rng(0)
    centres = [sampler._negative_centre(rng) for _ in range(20)]
    assert all(case == 1 and tuple(centre) == (4, 30, 31) for case, centre in centres)


def test_a_stack_is_the_slice_between_its_neighbours(cache: Cache) -> None:
    image = cache.cases[0].image
    sampler = Sampler(cache, settings(), SIDE)
    np.testing.assert_array_equal(sampler.stack(0, 3), image[2:5])
    np.testing.assert_array_equal(sampler.stack(0, 0), image[[0, 0, 1]])  # replicated edge
    in_mm = Sampler(cache, settings(context_mm=4.0), SIDE)
    np.testing.assert_array_equal(in_mm.stack(0, 3), image[[1, 3, 5]])  # slices of 2 mm


def test_crops_are_cut_where_they_say(cache: Cache) -> None:
    sampler = Sampler(cache, settings(), SIDE)
    case = cache.cases[0]
    stack, marks = sampler._crop(0, 3, 50, 52)
    np.testing.assert_array_equal(stack[..., 1], case.image[3, 30:70, 32:72])
    np.testing.assert_array_equal(marks, case.marks[3, 30:70, 32:72])


def test_beyond_the_box_there_is_nothing(cache: Cache) -> None:
    sampler = Sampler(cache, settings(), SIDE)
    stack, marks = sampler._crop(0, 3, 0, 0)
    assert not stack[:20].any()
    assert not stack[:, :20].any()
    np.testing.assert_array_equal(stack[20:, 20:, 1], cache.cases[0].image[3, :20, :20])
    assert marks.shape == (SIDE, SIDE)


def test_a_crop_as_large_as_the_frame_is_the_frame(cache: Cache) -> None:
    sampler = Sampler(cache, settings(crop_px=112, shift_px=0), 112)
    case = cache.cases[0]
    stack, _ = sampler._crop_near(0, (3, 5, 90), np.random.default_rng(0))
    _, y, x = case.origin
    height, width = case.image.shape[1:]
    np.testing.assert_array_equal(stack[y : y + height, x : x + width, 1], case.image[3])


def test_a_cache_without_lesions_cannot_train(cache: Cache) -> None:
    class OnlyControls:
        cases = (cache.cases[2],)
        with_lesions: tuple[int, ...] = ()

    with pytest.raises(InputRefused, match="needs a case with lesions"):
        Sampler(OnlyControls(), settings(), SIDE)  # type: ignore[arg-type]
