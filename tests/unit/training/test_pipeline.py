from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest

from cmbnet.training.data.reader import Cache
from cmbnet.training.fit.pipeline import Pipeline
from cmbnet.training.fit.recipe import Recipe, SamplingSettings
from cmbnet.training.fit.sampler import Batch

RECIPE = Recipe(name="x", seed=3, sampling=SamplingSettings(crop_px=32, batch_size=4, shift_px=8))


class Counting(Pipeline):
    """Counts how often a batch is drawn."""

    def __init__(self, cache: Cache) -> None:
        super().__init__(cache, RECIPE)
        self.draws = 0
        draw = self.sampler.batch

        def counted(rng: np.random.Generator) -> Batch:
            self.draws += 1
            return draw(rng)

        self.sampler.batch = counted  # type: ignore[method-assign]


@pytest.fixture
def pipeline(cache: Cache) -> Counting:
    return Counting(cache)


def test_an_epoch_has_its_batches(pipeline: Counting) -> None:
    batches = list(pipeline.epoch(0, 3))
    assert len(batches) == 3
    stacks, target = batches[0]
    assert (stacks.shape, target.shape) == ((4, 32, 32, 3), (4, 32, 32, 2))
    assert (stacks.dtype, target.dtype) == ("float32", "float32")
    assert (target.numpy()[::2, ..., 0].max(axis=(1, 2)) == 1).all()
    assert (target.numpy()[1::2, ..., 0] == 0).all()


def test_seed_and_number_fix_an_epoch(pipeline: Counting) -> None:
    first, again, other = (
        np.concatenate([stacks.numpy() for stacks, _ in pipeline.epoch(number, 2)])
        for number in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    assert np.abs(first[:4] - first[4:]).max() > 0.1


def test_an_ended_epoch_runs_dry(pipeline: Counting) -> None:
    seen = 0
    for _ in pipeline.epoch(0, 200):
        seen += 1
        if seen == 3:
            pipeline.end()
    assert 3 <= seen < 20
    assert seen == pipeline.draws  # nothing was drawn and dropped
    assert len(list(pipeline.epoch(1, 2))) == 2  # the next one starts afresh


def test_fit_draws_what_it_uses_and_no_more(pipeline: Counting) -> None:
    """Keras starts another iterator, and drops it, where it knows the length of an epoch."""
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1)(inputs))
    model.compile("sgd", "mse", jit_compile=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(pipeline.epoch(0, 6), steps_per_epoch=6, shuffle=False, verbose=0)
    assert pipeline.draws == 6
