from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cmbnet.training.data.cache_part import IGNORE, LESION
from cmbnet.training.data.reader import Cache
from cmbnet.training.fit.mining import CLEARANCE_PX, Miner, false_blobs
from cmbnet.training.fit.recipe import MiningSettings, Recipe, SamplingSettings, ValidationSettings
from cmbnet.training.fit.sampler import Sampler
from cmbnet.training.fit.validation import choose_slices, validate


@pytest.fixture
def sampler(cache: Cache) -> Sampler:
    return Sampler(cache, SamplingSettings(crop_px=40), 40)


def recipe(threshold: float = 0.5) -> Recipe:
    return Recipe(name="x", validation=ValidationSettings(threshold=threshold))


def test_half_of_the_validation_slices_have_a_lesion(sampler: Sampler) -> None:
    slices = choose_slices(sampler, 8, seed=0)
    has_lesion = [bool((sampler.cache.cases[c].marks[z] & LESION).any()) for c, z in slices]
    assert has_lesion == [True] * 4 + [False] * 4
    assert len(set(slices)) == 8
    assert slices == choose_slices(sampler, 8, seed=0)


def perfect(sampler: Sampler, case: int, z: int) -> Any:
    return ((sampler.cache.cases[case].marks[z] & LESION) > 0).astype(np.float32)


def blind(sampler: Sampler, case: int, z: int) -> Any:
    return np.zeros(sampler.cache.cases[case].marks[z].shape, np.float32)


def unsure(sampler: Sampler, case: int, z: int) -> Any:
    return 0.02 + 0.35 * perfect(sampler, case, z)


def test_a_perfect_answer_scores_perfectly(sampler: Sampler) -> None:
    scores = validate(perfect, sampler, choose_slices(sampler, 8, 0), recipe())
    assert (scores.dice, scores.best_dice, scores.sensitivity, scores.false_blobs) == (1, 1, 1, 0)
    assert scores.loss == pytest.approx(0, abs=1e-5)


def test_an_empty_answer_scores_nothing(sampler: Sampler) -> None:
    scores = validate(blind, sampler, choose_slices(sampler, 8, 0), recipe())
    assert (scores.dice, scores.best_dice, scores.sensitivity, scores.false_blobs) == (0, 0, 0, 0)


def test_the_best_threshold_is_found(sampler: Sampler) -> None:
    scores = validate(unsure, sampler, choose_slices(sampler, 8, 0), recipe())
    assert scores.dice == 0
    assert scores.best_dice == 1
    assert 0.02 < scores.best_threshold < 0.37


def test_counts_by_hand(sampler: Sampler) -> None:
    """On a slice: the whole lesion, and a false blob of four pixels."""
    slices = choose_slices(sampler, 2, 0)[:1]
    case, z = slices[0]

    def answer(*_: Any) -> Any:
        probability = perfect(sampler, case, z)
        probability[40:42, 60:62] = 0.9
        return probability

    marks = sampler.cache.cases[case].marks[z]
    assert not (marks[38:44, 58:64] & (LESION | IGNORE)).any()
    pixels = int(((marks & LESION) > 0).sum())
    scores = validate(answer, sampler, slices, recipe())
    assert scores.dice == pytest.approx(2 * pixels / (2 * pixels + 4))
    assert scores.false_blobs == 1
    assert set(scores.to_dict()) == {
        f"val_{name}"
        for name in ("dice", "best_dice", "best_threshold", "loss", "sensitivity", "false_blobs")
    }


def test_ignored_pixels_are_not_counted(sampler: Sampler) -> None:
    def everywhere_ignored(_: Sampler, case: int, z: int) -> Any:
        marks = sampler.cache.cases[case].marks[z]
        return ((marks & (IGNORE | LESION)) > 0).astype(np.float32)

    slices = [(0, 3)]
    assert (sampler.cache.cases[0].marks[3] & IGNORE).any()
    scores = validate(everywhere_ignored, sampler, slices, recipe())
    assert scores.false_blobs == 0


def test_false_blobs_are_clear_of_lesions_and_ignored_places() -> None:
    marks = np.zeros((40, 40), np.uint8)
    marks[10:13, 10:13] = LESION
    marks[30, 30] = IGNORE
    probability = np.zeros((40, 40), np.float32)
    probability[11:16, 11] = 0.9  # runs on from the lesion
    probability[30, 32] = 0.9  # beside the ignored place
    probability[30, 30 - CLEARANCE_PX - 2] = 0.9
    probability[20:23, 20:23] = 0.9
    probability[5, 30] = 0.2  # below the threshold
    assert false_blobs(probability, marks, 0.3) == [(21, 21), (30, 30 - CLEARANCE_PX - 2)]


def test_mined_places_reach_the_sampler(cache: Cache) -> None:
    settings = SamplingSettings(crop_px=40, brain=0.0, dark=0.0, mimic=1e-9, mined=1.0)
    sampler = Sampler(cache, settings, 40)
    miner = Miner(sampler, MiningSettings(every_epochs=2, slices=10, keep=6), seed=0)
    assert [epoch for epoch in range(6) if miner.due(epoch)] == [1, 3, 5]

    def one_false_blob(_: Sampler, case: int, z: int) -> Any:
        probability = np.zeros(cache.cases[case].marks[z].shape, np.float32)
        probability[40:42, 60:62] = 0.9
        return probability

    assert miner.mine(one_false_blob, epoch=1) == 10
    assert miner.rows.shape == (6, 4)  # the newest are kept
    assert {tuple(row) for row in miner.rows[:, 2:].tolist()} == {(40, 60)}
    _, centre = sampler._negative_centre(np.random.default_rng(0))
    assert tuple(centre[1:]) == (40, 60)


def test_a_miner_that_never_mines() -> None:
    assert not Miner(None, MiningSettings(), 0).due(0)  # type: ignore[arg-type]
