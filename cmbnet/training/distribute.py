"""Several GPUs or several machines, by `tf.distribute`; chosen by the recipe."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import keras

from cmbnet.errors import UsageError

Distribution = Literal["none", "mirrored", "multi_worker"]


@dataclass(frozen=True, slots=True)
class Workers:
    """Where a run computes.

    Args:
        strategy: Of `tf.distribute`, or None.
        replicas: Copies of the network that share a batch.
        chief: Whether this process writes the files of the run.
    """

    strategy: Any = None
    replicas: int = 1
    chief: bool = True

    def scope(self) -> AbstractContextManager[Any]:
        """Inside it, variables are made on every replica."""
        scope: AbstractContextManager[Any] = (
            nullcontext() if self.strategy is None else self.strategy.scope()
        )
        return scope


def open_workers(distribution: Distribution, batch_size: int) -> Workers:
    """Choose where to compute; must come before anything else uses TensorFlow's devices.

    ``mirrored`` takes every GPU of the machine (every virtual CPU where there is no GPU);
    ``multi_worker`` takes the processes that the environment variable ``TF_CONFIG`` names, each of
    which runs the same command.

    Raises:
        UsageError: If Keras does not run on TensorFlow, ``TF_CONFIG`` is missing, or a batch does
            not divide by the replicas into equal halves with and without lesions.
    """
    if distribution == "none":
        return Workers()
    if keras.backend.backend() != "tensorflow":
        raise UsageError(
            f"distribute: {distribution} needs Keras on tensorflow, got {keras.backend.backend()}: "
            "unset KERAS_BACKEND or set distribute: none"
        )
    import tensorflow as tf

    if distribution == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
        chief = True
    else:
        if "TF_CONFIG" not in os.environ:
            raise UsageError(
                "distribute: multi_worker needs TF_CONFIG in the environment of every process; "
                "training/slurm shows how a cluster sets it"
            )
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        chief = strategy.cluster_resolver.task_id == 0
    replicas = int(strategy.num_replicas_in_sync)
    if batch_size % (2 * replicas):
        raise UsageError(
            f"sampling.batch_size must be a multiple of {2 * replicas}, two for each of "
            f"{replicas} replicas, got {batch_size}"
        )
    return Workers(strategy, replicas, chief)
