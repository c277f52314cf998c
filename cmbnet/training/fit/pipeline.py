"""The tf.data pipeline: an epoch of augmented batches, the same for the same seed and epoch."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import tensorflow as tf

from cmbnet.training.data.reader import Cache
from cmbnet.training.fit.augment import Augmenter, mirror, side_with_margin
from cmbnet.training.fit.recipe import Recipe
from cmbnet.training.fit.sampler import Sampler

PREFETCH_BATCHES = 4

AUGMENTED_AT_ONCE = max(2, (os.cpu_count() or 2) // 2)
"""Number of batches that are changed in parallel. The ops of each use several cores, too."""


class Pipeline:
    """The maker of the batches of a run.

    Its iterators must be used up. An iterator that is dropped while it draws can deadlock. Its
    destructor holds the interpreter's lock and waits for a call into Python that wants the lock.
    This was seen at the end of an epoch, and in one of three tries to drop 200 iterators. So Keras
    does not learn the length of an epoch; it would start the next iterator at the end and drop it.
    `end` stops an epoch instead of `fit`.
    Of the recipe, `sampling`, `augment` and `seed` are used.
    """

    def __init__(self, cache: Cache, recipe: Recipe) -> None:
        sampling = recipe.sampling
        self._seed = recipe.seed
        self._crop_px = sampling.crop_px
        self._side_px = side_with_margin(sampling.crop_px, recipe.augment)
        self._augment = Augmenter(recipe.augment, sampling.crop_px)
        self._ended = False
        self.sampler = Sampler(cache, sampling, self._side_px)

    def end(self) -> None:
        """Draw no further batches in this epoch. Batches in flight still come."""
        self._ended = True

    def epoch(self, number: int, steps: int) -> Any:
        """Return the batches of one epoch.

        Seed and number, from 0, fix the batches. Return a `tf.data.Dataset` of unknown length of
        (stacks float32 (n, y, x, 3), targets float32 (n, y, x, 2)).
        """
        side = self._side_px

        def draw(step: np.int64) -> tuple[Any, Any, Any]:
            rng = np.random.default_rng((self._seed, number, int(step)))
            batch = self.sampler.batch(rng)
            mirror(batch.stacks, batch.marks, self._augment.settings, rng)
            return batch.stacks, batch.marks, rng.integers(0, 2**24, 2, dtype=np.int32)

        def drawn(step: Any) -> tuple[Any, Any, Any]:
            batch = tf.numpy_function(draw, [step], (tf.uint8, tf.uint8, tf.int32))
            shapes = ((None, side, side, 3), (None, side, side), (2,))
            stacks, marks, seed = (
                tf.ensure_shape(part, shape) for part, shape in zip(batch, shapes, strict=True)
            )
            return stacks, marks, seed

        def goes_on(_: Any) -> Any:
            ended = tf.numpy_function(lambda: np.bool_(self._ended), [], tf.bool)
            return ~tf.ensure_shape(ended, ())

        self._ended = False
        batches = tf.data.Dataset.range(steps).take_while(goes_on).map(drawn)
        # Order is kept: batches that overtake each other would make a run unrepeatable.
        batches = batches.map(
            self._augment, num_parallel_calls=AUGMENTED_AT_ONCE, deterministic=True
        )
        # Several machines draw the same batches and take their parts of each.
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = (
            tf.data.experimental.AutoShardPolicy.DATA
        )
        return batches.prefetch(PREFETCH_BATCHES).with_options(options)
