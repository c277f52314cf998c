"""The tf.data pipeline: an epoch of augmented batches, the same for the same seed and epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from cmbnet.training.augment import Augmenter, side_with_margin
from cmbnet.training.reader import Cache
from cmbnet.training.recipe import Recipe
from cmbnet.training.sampler import Sampler

PREFETCH_BATCHES = 4


class Pipeline:
    """Makes the batches of a run.

    Args:
        cache: The training cases.
        recipe: Its `sampling`, `augment` and `seed` are used.
    """

    def __init__(self, cache: Cache, recipe: Recipe) -> None:
        sampling = recipe.sampling
        self._seed = recipe.seed
        self._crop_px = sampling.crop_px
        self._side_px = side_with_margin(sampling.crop_px, recipe.augment)
        self._augment = Augmenter(recipe.augment, sampling.crop_px)
        self.sampler = Sampler(cache, sampling, self._side_px)

    def epoch(self, number: int, steps: int) -> Any:
        """The batches of one epoch.

        Args:
            number: Epoch, from 0. Seed and number fix the batches.
            steps: Number of batches.

        Returns:
            `tf.data.Dataset` of (stacks float32 (n, y, x, 3), targets float32 (n, y, x, 2)).
        """
        side = self._side_px

        def draw() -> Iterator[tuple[Any, Any, Any]]:
            rng = np.random.default_rng((self._seed, number))
            for _ in range(steps):
                batch = self.sampler.batch(rng)
                yield batch.stacks, batch.marks, rng.integers(0, 2**24, 2, dtype=np.int32)

        signature = (
            tf.TensorSpec((None, side, side, 3), tf.uint8),
            tf.TensorSpec((None, side, side), tf.uint8),
            tf.TensorSpec((2,), tf.int32),
        )
        batches = tf.data.Dataset.from_generator(draw, output_signature=signature)
        # Order is kept: batches that overtake each other would make a run unrepeatable.
        batches = batches.map(self._augment, num_parallel_calls=2, deterministic=True)
        batches = batches.apply(tf.data.experimental.assert_cardinality(steps))
        return batches.prefetch(PREFETCH_BATCHES)
