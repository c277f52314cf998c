from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from cmbnet.errors import UnreadableFile
from cmbnet.model import ModelConfig
from cmbnet.model.files import copy_at_shape, load_model, save_model
from cmbnet.model.unet import Precision, build_unet

TINY = ModelConfig(channels=(4, 6, 8, 8), skip="add", up_kernel=1)


def trained(precision: Precision = "float32") -> keras.Model:
    """A network whose weights and running means are not those of the start."""
    model = build_unet(TINY, (None, None, 3), precision=precision)
    rng = np.random.default_rng(3)
    weights = [w * rng.uniform(0.8, 1.2, w.shape).astype(np.float32) for w in model.get_weights()]
    model.set_weights(weights)
    head = model.get_layer("head_conv")
    head.set_weights([rng.normal(0, 0.5, (1, 1, 4, 1)), np.zeros(1)])  # probabilities near 0.5
    return model


def stacks(side: int = 32) -> np.ndarray:
    return np.random.default_rng(5).random((2, side, side, 3), dtype=np.float32)


def test_a_saved_model_gives_the_same_outputs(tmp_path: Path) -> None:
    model = trained()
    save_model(model, TINY, tmp_path / "m.keras")
    expected = np.asarray(model(stacks(), training=False))
    assert expected.std() > 0.01
    found = np.asarray(load_model(tmp_path / "m.keras")(stacks(), training=False))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_saving_leaves_no_other_file(tmp_path: Path) -> None:
    save_model(trained(), TINY, tmp_path / "m.keras")
    assert [path.name for path in tmp_path.iterdir()] == ["m.keras"]


def test_a_model_trained_in_mixed_precision_is_saved_in_float32(tmp_path: Path) -> None:
    save_model(trained("mixed_bfloat16"), TINY, tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        text = archive.read("config.json").decode()
    assert "bfloat16" not in text
    assert "float32" in text
    loaded = load_model(tmp_path / "m.keras")
    assert {layer.compute_dtype for layer in loaded.layers} == {"float32"}


def test_a_copy_at_another_shape_gives_the_same_outputs() -> None:
    model = trained()
    copy = copy_at_shape(model, TINY, (40, 40, 3))
    assert copy.input_shape == (None, 40, 40, 3)
    x = stacks(40)
    np.testing.assert_allclose(
        np.asarray(copy(x, training=False)), np.asarray(model(x, training=False)), atol=1e-6
    )


@pytest.mark.parametrize("content", [None, b"", b"no zip"])
def test_what_is_no_model_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.keras"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnreadableFile, match=r"broken\.keras"):
        load_model(path)


ON_JAX_SETTINGS = {
    "KERAS_BACKEND": "jax",
    "JAX_PLATFORMS": "cpu",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compiling takes longer than running
}
ON_JAX = """
import json, sys
import keras, numpy as np
from cmbnet.model.files import load_model
x = np.random.default_rng(5).random((2, 32, 32, 3), dtype=np.float32)
model = load_model(__import__("pathlib").Path(sys.argv[1]))
answer = np.asarray(model.predict_on_batch(x))
json.dump([keras.backend.backend(), answer.ravel().tolist()], sys.stdout)
"""


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
def test_the_file_gives_the_same_outputs_on_jax(tmp_path: Path) -> None:
    model = trained()
    save_model(model, TINY, tmp_path / "m.keras")
    run = subprocess.run(
        [sys.executable, "-c", ON_JAX, str(tmp_path / "m.keras")],
        env=os.environ
        | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    backend, answer = json.loads(run.stdout)
    assert backend == "jax"
    expected = np.asarray(model(stacks(), training=False)).ravel()
    np.testing.assert_allclose(answer, expected, atol=2e-5)
