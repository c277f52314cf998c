"""Training on several GPUs or several machines with `tf.distribute`. The recipe chooses it."""

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
    """The devices of a run."""

    strategy: Any = None  # Strategy of `tf.distribute`, or None
    replicas: int = 1  # Number of copies of the network that share a batch
    chief: bool = True  # Whether this process writes the files of the run
    device: str = ""  # What computes, in words

    def scope(self) -> AbstractContextManager[Any]:
        """Return a context in which variables are made on every replica."""
        scope: AbstractContextManager[Any] = (
            nullcontext() if self.strategy is None else self.strategy.scope()
        )
        return scope

    def shared(self, model: keras.Model) -> keras.Model:
        """Return the same network in the form for `fit` on several replicas."""
        return model if self.strategy is None else SharedModel(model.inputs, model.outputs)


class SharedModel(keras.Model):  # type: ignore[misc]
    """A model that repairs `fit` of Keras 3.15 under a strategy; see each method."""

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Build nothing, because everything is built.

        Keras would take and drop the first batch of every epoch. With several processes that fails
        ("Attempt to convert a value (PerReplica ...)").
        """

    def train_step(self, data: Any) -> dict[str, Any]:
        """Give scores an axis 0, along which Keras averages them with several processes."""
        import tensorflow as tf

        scores: dict[str, Any] = super().train_step(data)
        if isinstance(self.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy):
            return {name: tf.reshape(value, (1,)) for name, value in scores.items()}
        return scores


def open_workers(distribution: Distribution, batch_size: int) -> Workers:
    """Choose the devices. Call this before anything else uses TensorFlow's devices.

    ``mirrored`` takes every GPU of the machine, or every virtual CPU if there is no GPU.
    ``multi_worker`` takes the processes that the environment variable ``TF_CONFIG`` names. Each of
    them runs the same command.

    Raises:
        UsageError: If Keras does not run on TensorFlow, ``TF_CONFIG`` is missing, or a batch does
            not divide by the replicas into equal halves with and without lesions.
    """
    if distribution == "none":
        return Workers(device=_device())
    if keras.backend.backend() != "tensorflow":
        raise UsageError(
            f"distribute: {distribution} needs Keras on tensorflow, got {keras.backend.backend()}: "
            "unset KERAS_BACKEND or set distribute: none"
        )
    import tensorflow as tf

    if distribution == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        if len(devices) == 1 and devices[0].device_type == "CPU":
            raise UsageError(
                "distribute: mirrored needs GPUs, and TensorFlow finds none here: set distribute: "
                "none to train on the processors, or install tensorflow[and-cuda]"
            )
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
    return Workers(strategy, replicas, chief, f"{replicas} x {_device()}")


def _device() -> str:
    """Say on what Keras computes. TensorFlow's devices must be set up before."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        names = [
            tf.config.experimental.get_device_details(one).get("device_name", "GPU") for one in gpus
        ]
    else:
        names = [name for name in keras.distribution.list_devices() if "cpu" not in name]
    where = f"GPU {', '.join(names)}" if names else f"CPU, {os.cpu_count()} processors"
    return f"{where} (Keras {keras.__version__} on {backend})"
