"""Train the network of the brain mask on scans that are drawn while it learns."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from cmbnet.io import write_bytes_atomically
from cmbnet.preprocess.brain_network import GROUP, grouped, network_cells
from cmbnet.training.brain.heads import LabelHead, draw_head
from cmbnet.training.brain.scans import draw_scan

if TYPE_CHECKING:
    import keras

PROCEDURAL_SHARE: Final = 0.15
"""Share of heads from the procedural template. The others are made from the MNI maps."""

LEARNING_RATE: Final = 3e-3
WARM_UP: Final = 50
AVERAGED: Final = 0.99
"""Momentum of the running mean of the weights, which is the network that is kept."""

PREFETCH: Final = 4
"""Number of scans that are drawn before they are needed."""

REPORT_STEPS: Final = 50
SAVE_STEPS: Final = 200

Groups = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BrainTraining:
    """The settings of a training."""

    steps: int = 3000  # Number of steps. Each learns from one scan.
    heads: int = 48  # Number of label maps from which scans are drawn
    seed: int = 1  # Seed of heads and scans


def draw_heads(plan: BrainTraining, folder: Path) -> list[LabelHead]:
    """Draw the heads of a training, or read those that the folder holds already."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_kept_head(plan, number, folder) for number in range(plan.heads)]


def _kept_head(plan: BrainTraining, number: int, folder: Path) -> LabelHead:
    file = folder / f"head-{plan.seed}-{number}.npz"
    if not file.exists():
        procedural = (number + 1) * PROCEDURAL_SHARE % 1 < PROCEDURAL_SHARE
        head = draw_head("procedural" if procedural else "mni", 1000 * plan.seed + number)
        half = file.with_suffix(".part.npz")
        np.savez_compressed(half, codes=head.codes, air_mm=head.air_mm)
        half.rename(file)
    with np.load(file) as kept:
        return LabelHead(kept["codes"], kept["air_mm"])


def train_brain(
    run: Path, plan: BrainTraining, *, report: Callable[[str], None] = print
) -> tuple[keras.Model, Path]:
    """Train the network, or continue an interrupted training.

    Heads, checkpoints and ``brain.tflite`` are written to `run`.

    Returns:
        The network and the LiteRT file.
    """
    from cmbnet.deploy.litert import free_shape_to_litert
    from cmbnet.training.brain.network import build_network

    heads = draw_heads(plan, run / "heads")
    report(f"{len(heads)} heads are drawn")
    network, mean = build_network(), build_network()
    mean.set_weights(network.get_weights())
    learner = _Learner(network, mean, plan.steps)
    first = learner.restore(run)
    if first:
        report(f"goes on after step {first}")
    losses, dices = [], []
    for step, (groups, brain) in enumerate(_pairs(plan, heads, first), start=first):
        loss, dice = learner.learn(groups, brain)
        losses.append(loss)
        dices.append(dice)
        if (step + 1) % REPORT_STEPS == 0:
            recent = slice(-REPORT_STEPS, None)
            report(
                f"step {step + 1} of {plan.steps}: loss {np.mean(losses[recent]):.4f}, "
                f"Dice {np.mean(dices[recent]):.4f}, median {np.median(dices[recent]):.4f}"
            )
        if (step + 1) % SAVE_STEPS == 0 or step + 1 == plan.steps:
            learner.save(run)
    file = run / "brain.tflite"
    write_bytes_atomically(file, free_shape_to_litert(mean))
    return mean, file


class _Learner:
    """The network, its running mean, and the optimiser."""

    def __init__(self, network: keras.Model, mean: keras.Model, steps: int) -> None:
        import keras
        import tensorflow as tf

        self._network, self._mean = network, mean
        rate = keras.optimizers.schedules.CosineDecay(
            1e-5, steps, warmup_target=LEARNING_RATE, warmup_steps=WARM_UP
        )
        self._optimizer = keras.optimizers.Adam(rate, global_clipnorm=1.0)
        self._optimizer.build(network.trainable_variables)
        self._checkpoint = tf.train.Checkpoint(
            network=network, mean=mean, optimizer=self._optimizer
        )
        shape = tf.TensorSpec((None, None, None, GROUP**3), tf.float32)
        self._step = tf.function(self._traced, input_signature=(shape, shape), autograph=False)

    def _traced(self, groups: Any, brain: Any) -> Any:
        import keras
        import tensorflow as tf

        with tf.GradientTape() as tape:
            share = self._network(groups, training=True)
            both = tf.reduce_sum(share * brain)
            soft = (2 * both + 1) / (tf.reduce_sum(share) + tf.reduce_sum(brain) + 1)
            cross = tf.reduce_mean(keras.losses.binary_crossentropy(brain, share))
            loss = cross + 0.5 * (1 - soft)
        variables = self._network.trainable_variables
        self._optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        for kept, now in zip(self._mean.variables, self._network.variables, strict=True):
            kept.assign(AVERAGED * kept + (1 - AVERAGED) * now)
        mask = tf.cast(share >= 0.5, tf.float32)
        dice = 2 * tf.reduce_sum(mask * brain) / (tf.reduce_sum(mask) + tf.reduce_sum(brain) + 1)
        return loss, dice

    def learn(self, groups: Groups, brain: Groups) -> tuple[float, float]:
        """Learn one step. Return the loss, and the Dice of the network before it."""
        loss, dice = self._step(groups, brain)
        return float(loss), float(dice)

    def save(self, run: Path) -> None:
        """Write a checkpoint."""
        self._checkpoint.write(str(run / "checkpoint" / "last"))

    def restore(self, run: Path) -> int:
        """Read the last checkpoint, if there is one, and return the number of finished steps."""
        if not (run / "checkpoint" / "last.index").exists():
            return 0
        self._checkpoint.read(str(run / "checkpoint" / "last")).assert_consumed()
        return int(self._optimizer.iterations.numpy())


def _pairs(
    plan: BrainTraining, heads: list[LabelHead], first: int
) -> Iterator[tuple[Groups, Groups]]:
    """Scans and truth as the network takes them, drawn by another process a few steps pending."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, initializer=_take_heads, initargs=(heads,)) as pool:
        pending = deque[Any]()
        for step in range(first, plan.steps + PREFETCH):
            if step < plan.steps:
                pending.append(pool.apply_async(_pair, (plan.seed, step)))
            if step >= first + PREFETCH:
                groups, brain = pending.popleft().get()
                yield groups, brain.astype(np.float32)


_heads: list[LabelHead] = []


def _take_heads(heads: list[LabelHead]) -> None:
    _heads.extend(heads)


def _pair(seed: int, step: int) -> tuple[Groups, NDArray[np.bool_]]:
    rng = np.random.default_rng([seed, 32, step])
    scan = draw_scan(_heads[int(rng.integers(len(_heads)))], rng)
    cells = network_cells(scan.image, scan.spacing_mm)
    return grouped(cells), grouped(scan.brain)
