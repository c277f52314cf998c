"""A bundle of a network that truly finds dark dots: one convolution with weights by hand.

The network answers how much darker a pixel of the middle slice is than the mean of 16 pixels on
a square 7 pixels around it: sigmoid(20 * (mean - value - 0.4)). White matter lies at 0.6 after
preprocessing, so a dot of 0 in it answers with 0.98, and the edge of a head with less than 0.5.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cmbnet.bundle import (
    Bundle,
    BundleSpec,
    NewArtefact,
    OperatingPoint,
    Training,
    write_bundle,
)
from cmbnet.lesions import LesionRules
from cmbnet.preprocess.recipe import PreprocessRecipe
from cmbnet.slices import SliceContext

REACH = 7
RING = tuple(
    (y, x) for y in (-7, -3, 0, 3, 7) for x in (-7, -3, 0, 3, 7) if max(abs(y), abs(x)) == REACH
)
"""16 offsets of few, equal weights: int8 would round the weights of a full window to nothing."""
SLOPE = 20.0
MARGIN = 0.4


def dot_finder(size: int) -> Any:
    """The Keras model."""
    import keras

    inputs = keras.Input((size, size, 3), dtype="float32", name="stack")
    layer = keras.layers.Conv2D(
        1, 2 * REACH + 1, padding="same", activation="sigmoid", name="darkness"
    )
    model = keras.Model(inputs, layer(inputs), name="dot_finder")
    kernel = np.zeros((2 * REACH + 1, 2 * REACH + 1, 3, 1), np.float32)
    for y, x in RING:
        kernel[REACH + y, REACH + x, 1, 0] = SLOPE / len(RING)
    kernel[REACH, REACH, 1, 0] = -SLOPE
    layer.set_weights([kernel, np.array([-SLOPE * MARGIN], np.float32)])
    return model


def expected_probabilities(stacks: np.ndarray) -> np.ndarray:
    """What the network answers, computed without any runtime."""
    middle = stacks[..., 1].astype(np.float64)
    _, rows, columns = middle.shape
    padded = np.pad(middle, ((0, 0), (REACH, REACH), (REACH, REACH)))
    mean = np.mean(
        [padded[:, REACH + y : REACH + y + rows, REACH + x : REACH + x + columns] for y, x in RING],
        axis=0,
    )
    return np.asarray(1 / (1 + np.exp(-SLOPE * (mean - middle - MARGIN))))


def dotted_slices(n: int, size: int, *, seed: int = 0) -> np.ndarray:
    """Stacks (n, size, size, 3) of 0.6 with noise and a dot of 0 in each middle slice."""
    rng = np.random.default_rng(seed)
    stacks = (0.6 + 0.02 * rng.standard_normal((n, size, size, 3))).astype(np.float32)
    for stack in stacks:
        y, x = rng.integers(12, size - 16, 2)
        stack[y : y + 4, x : x + 4] = 0.0
    return stacks


def to_litert(model: Any, size: int, *, int8: bool) -> bytes:
    """Convert with tensorflow's converter, as cmbnet.deploy does."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if int8:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
        converter.representative_dataset = lambda: (
            [stack[None]] for stack in dotted_slices(8, size, seed=1)
        )
    with warnings.catch_warnings():
        # It warns of what its own calibration supplies.
        warnings.filterwarnings("ignore", "Statistics for quantized inputs", UserWarning)
        return bytes(converter.convert())


def litert_artefacts(sizes: Sequence[int] = (96,)) -> list[NewArtefact]:
    """float32 and int8 at every size."""
    return [
        NewArtefact(
            file=f"{precision}-{size}.tflite",
            content=to_litert(dot_finder(size), size, int8=precision == "int8"),
            kind="litert",
            precision=precision,
            shape=(1, size, size, 3),
            parity={"passed": True},  # the contract tests see to that
        )
        for size in sizes
        for precision in ("float32", "int8")
    ]


def spec(**changes: Any) -> BundleSpec:
    """The rest of the manifest."""
    values: dict[str, Any] = {
        "name": "dot-finder",
        "licence": "Apache-2.0",
        "recipe": PreprocessRecipe(size=96, pixel_mm=1.0),
        "context": SliceContext(),
        "rules": LesionRules(),
        "operating_points": (
            OperatingPoint(
                name="balanced", pixel_threshold=0.5, lesion_score=0.5, patient_threshold=0.6
            ),
            OperatingPoint(
                name="strict", pixel_threshold=0.9, lesion_score=0.999, patient_threshold=0.999
            ),
        ),
        "default_operating_point": "balanced",
        "training": Training(
            statement="Weights set by hand for tests; it has seen no data.",
            real_patient_data=False,
        ),
        "versions": {"made_by": "tests/helpers/tiny_bundle.py"},
    }
    return BundleSpec(**(values | changes))


def write_tiny_bundle(folder: Path) -> Bundle:
    """The bundle with LiteRT artefacts for 96 x 96."""
    return write_bundle(folder, spec=spec(), artefacts=litert_artefacts())
