"""The callbacks of every step of training."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from cmbnet.errors import CmbnetError
from cmbnet.training.fit.checkpoint import Progress
from cmbnet.training.fit.recipe import Recipe
from cmbnet.training.fit.schedule import learning_rate

EMA_EVERY_STEPS = 8
"""Steps between updates of the averaged weights, whose momentum is taken to this power. To copy all
weights to the host at every step would cost too much."""


class TrainingDiverged(CmbnetError):
    """The loss is no longer a finite number."""


def bring_back(model: Any) -> None:
    """Let a callback see and set variables between two steps.

    On JAX, Keras keeps variables outside the model during an epoch.
    """
    if keras.backend.backend() == "jax":
        model.jax_state_sync()


class Clock:
    """The time that a run has used, over all its restarts."""

    def __init__(self, before_s: float) -> None:
        self._start = time.monotonic() - before_s

    @property
    def now_s(self) -> float:
        """Return the seconds used so far."""
        return time.monotonic() - self._start


class RateAndBudget(keras.callbacks.Callback):  # type: ignore[misc]
    """A callback that sets the learning rate and ends the epoch when the time is over.

    `end` stops the batches of the epoch.
    """

    def __init__(
        self, recipe: Recipe, progress: Progress, clock: Clock, end: Callable[[], None]
    ) -> None:
        super().__init__()
        self._recipe = recipe
        self._progress = progress
        self._clock = clock
        self._end = end
        self.steps = progress.steps_done
        self.rate = 0.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Set the rate of the next step."""
        self.rate = learning_rate(
            self._recipe.optimiser,
            self._recipe.stop,
            self._progress,
            step=self.steps,
            now_s=self._clock.now_s,
        )
        bring_back(self.model)
        self.model.optimizer.learning_rate.assign(self.rate)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count the step, and end the epoch if the budget is spent."""
        self.steps += 1
        minutes = self._recipe.stop.max_minutes
        if minutes is not None and self._clock.now_s >= 60.0 * minutes:
            self._end()


class FiniteLoss(keras.callbacks.Callback):  # type: ignore[misc]
    """A callback that ends a run with a NaN or infinite loss before it spoils a checkpoint."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Check the mean loss of the epoch so far.

        Raises:
            TrainingDiverged: If the loss is not finite.
        """
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"a finite loss is required, got {loss} in epoch {self._epoch + 1}, step "
                f"{batch + 1}; lower optimiser.learning_rate or set optimiser.clip_norm, then run "
                "the same command: it goes on from the last finished epoch"
            )


class AverageWeights(keras.callbacks.Callback):  # type: ignore[misc]
    """A callback that keeps an exponential moving average of the weights, on the host.

    Args:
        momentum: Share of the old average that is kept at each step. 0 follows the weights. The
            first steps keep less, (1 + step) / (10 + step). Otherwise the untrained weights would
            stay in the average for a whole epoch.
        average: Average so far, or None at the start.
    """

    def __init__(self, momentum: float, average: list[NDArray[Any]] | None = None) -> None:
        super().__init__()
        self._momentum = momentum
        self.average = average

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Update the average every few steps."""
        if self._momentum > 0.0 and (batch + 1) % EMA_EVERY_STEPS == 0:
            self._update()

    def _update(self) -> None:
        """Move the average toward the weights."""
        bring_back(self.model)
        weights = [np.asarray(w, np.float32) for w in self.model.get_weights()]
        if self.average is None:
            self.average = weights
            return
        step = int(self.model.optimizer.iterations)
        momentum = min(self._momentum, (1.0 + step) / (10.0 + step))
        keep = np.float32(momentum**EMA_EVERY_STEPS)
        self.average = [
            keep * old + (1 - keep) * new for old, new in zip(self.average, weights, strict=True)
        ]

    def current(self, model: keras.Model) -> list[NDArray[Any]]:
        """Return the averaged weights, or the model's own weights without averaging."""
        if self.average is None:
            return [np.asarray(w, np.float32) for w in model.get_weights()]
        return self.average
