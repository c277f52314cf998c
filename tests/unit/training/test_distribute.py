"""Two virtual CPUs in one process, two processes, and JAX, each against one device."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from cmbnet.errors import UsageError
from cmbnet.training.data.reader import Cache
from cmbnet.training.fit.distribute import open_workers
from cmbnet.training.fit.loop import train
from cmbnet.training.fit.recipe import parse_recipe

TIMEOUT_S = 600.0
WORKER = Path(__file__).parents[3] / "training" / "slurm" / "worker.sh"
RECIPE: dict[str, Any] = {
    "name": "test",
    "model": {"preset": "small", "channels": [4, 4, 4, 4], "lesion_prior": 0.02},
    "sampling": {"crop_px": 32, "batch_size": 8, "shift_px": 4},
    "augment": {"affine_probability": 0.0, "bias_field": 0.0, "blur_probability": 0.0},
    "stop": {"epochs": 1, "steps_per_epoch": 3},
    "optimiser": {"ema_momentum": 0.5},
    "validation": {"slices": 2},
}
SCRIPT = """
import json, sys
from pathlib import Path
import tensorflow as tf
devices = int(sys.argv[4])
if devices > 1:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
from cmbnet.training.fit.loop import train
from cmbnet.training.data.reader import Cache
from cmbnet.training.fit.recipe import parse_recipe
cache = Cache(Path(sys.argv[1]))
recipe = parse_recipe(json.loads(sys.argv[3]), source="test")
train(recipe, cache, cache, Path(sys.argv[2]), report=print)
"""


@contextmanager
def started(cache: Path, run: Path, distribute: str, devices: int, **env: str) -> Iterator[Any]:
    """A process that trains; it ends with the test."""
    recipe = json.dumps(RECIPE | {"distribute": distribute})
    command = [sys.executable, "-c", SCRIPT, str(cache), str(run), recipe, str(devices)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"} | env,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def losses(run: Path) -> list[float]:
    with (run / "log.csv").open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def alone(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """Losses of the same recipe on one device."""
    run = tmp_path_factory.mktemp("alone") / "r"
    train(parse_recipe(RECIPE, source="test"), cache, cache, run)
    return losses(run)


def test_two_devices_learn_what_one_does(
    cache_path: Path, alone: list[float], tmp_path: Path
) -> None:
    with started(cache_path, tmp_path / "r", "mirrored", 2) as process:
        out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, err
    assert "ended: all 1 epochs are done" in out
    # A mean of the losses of two halves is not quite the loss of the whole.
    assert losses(tmp_path / "r") == pytest.approx(alone, rel=0.01)


def test_two_processes_learn_what_one_does(
    cache_path: Path, alone: list[float], tmp_path: Path
) -> None:
    with ExitStack() as stack:
        free = [stack.enter_context(socket.socket()) for _ in range(2)]
        for port in free:
            port.bind(("127.0.0.1", 0))
        workers = [f"127.0.0.1:{port.getsockname()[1]}" for port in free]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                started(cache_path, tmp_path / "r", "multi_worker", 1, TF_CONFIG=told(workers, n))
            )
            for n in range(2)
        ]
        for process in processes:
            out, err = process.communicate(timeout=TIMEOUT_S)
            assert process.returncode == 0, err
            assert "ended: all 1 epochs are done" in out
    assert losses(tmp_path / "r") == pytest.approx(alone, rel=0.01)


def told(workers: list[str], index: int) -> str:
    task = {"type": "worker", "index": index}
    return json.dumps({"cluster": {"worker": workers}, "task": task})


def test_the_same_recipe_learns_on_jax(
    cache_path: Path, alone: list[float], tmp_path: Path
) -> None:
    """Another generator draws the first weights, so only the course is alike."""
    pytest.importorskip("jax", reason="jax is not installed (it is in the dev extra)")
    with started(cache_path, tmp_path / "r", "none", 1, KERAS_BACKEND="jax") as process:
        _, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, err
    assert losses(tmp_path / "r") == pytest.approx(alone, rel=0.5)
    assert {"best.keras", "last.keras", "state.npz"} <= {p.name for p in (tmp_path / "r").iterdir()}


def test_strategies_need_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    with pytest.raises(UsageError, match="unset KERAS_BACKEND"):
        open_workers("mirrored", 8)


def test_several_gpus_are_not_one_processor() -> None:
    """It ran on the CPU without a word."""
    with pytest.raises(UsageError, match="mirrored needs GPUs, and TensorFlow finds none"):
        open_workers("mirrored", 8)


def test_the_slurm_example_names_every_worker(tmp_path: Path) -> None:
    (tmp_path / "cmbnet").write_text('#!/bin/sh\necho "$TF_CONFIG"\n')
    (tmp_path / "cmbnet").chmod(0o755)
    told = subprocess.run(
        [WORKER, "recipe.yaml"],
        capture_output=True,
        text=True,
        check=True,
        env={
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "CMBNET_HOSTS": "node1 node2 ",
            "CMBNET_PORT": "12355",
            "SLURM_PROCID": "1",
        },
    ).stdout
    assert json.loads(told) == {
        "cluster": {"worker": ["node1:12355", "node2:12355"]},
        "task": {"type": "worker", "index": 1},
    }


def test_one_device_needs_no_strategy() -> None:
    workers = open_workers("none", 6)
    assert (workers.strategy, workers.replicas, workers.chief) == (None, 1, True)
    assert workers.device.startswith("CPU, ")


def test_several_processes_need_to_know_of_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(UsageError, match="needs TF_CONFIG"):
        open_workers("multi_worker", 8)
