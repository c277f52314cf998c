"""Convert Keras to ONNX: float32 and float16 files of static shape with a free batch.

The converter is tf2onnx, reached through Keras' own export, which keeps it working with NumPy 2.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.errors import CmbnetError, require

INPUT_NAME = "stack"
OUTPUT_NAME = "probability"
BATCH_NAME = "batch"
OPSET = 17
"""Read by onnxruntime >= 1.13, OpenVINO >= 2023 and TensorRT >= 8.6."""

PACKAGES = ("onnx", "onnxruntime", "onnxsim", "tf2onnx")


class ConversionFailed(CmbnetError):
    """A converter gave up, or its output is wrong."""


def require_onnx() -> None:
    """Refuse to go on without the packages of the extra.

    Raises:
        MissingExtra: If one is missing. It names the first.
    """
    require(*PACKAGES, extra="onnx", purpose="to export to ONNX")


def to_onnx(model: Any) -> bytes:
    """Convert a Keras model to ONNX in float32.

    Args:
        model: Functional model from float32 (n, y, x, 3) to (n, y, x, 1) with fixed y and x.

    Returns:
        A checked and simplified file with input `INPUT_NAME`, output `OUTPUT_NAME` and a free
        batch.

    Raises:
        ConversionFailed: If the file does not pass the checker, or simplifying changed it.
    """
    require_onnx()
    import keras
    import onnx
    import onnxsim

    signature = [
        keras.InputSpec(dtype="float32", shape=(None, *model.input_shape[1:]), name=INPUT_NAME)
    ]
    with tempfile.TemporaryDirectory() as folder, quiet_converters():
        path = Path(folder) / "model.onnx"
        model.export(
            str(path), format="onnx", verbose=False, input_signature=signature, opset_version=OPSET
        )
        converted = onnx.load(path)
    _name_tensors(converted)
    simplified, _ = onnxsim.simplify(converted)
    content = checked(simplified)
    _require_same_answer(converted.SerializeToString(), content, model.input_shape[1:])
    return content


def store_in_float16(content: bytes) -> bytes:
    """Store weights in half precision and compute in float32, as LiteRT's float16 files do.

    Runtimes on CPUs widen half precision anyway, but would round the values between layers.

    Args:
        content: A file from `to_onnx`.
    """
    require_onnx()
    import onnx

    model = onnx.load_from_string(content)
    graph = model.graph
    weights = {name for node in graph.node if node.op_type == "Conv" for name in node.input[1:]}
    for constant in [c for c in graph.initializer if c.name in weights]:
        stored, name = onnx.numpy_helper.to_array(constant).astype(np.float16), constant.name
        constant.CopyFrom(onnx.numpy_helper.from_array(stored, f"{name}_half"))
        widen = onnx.helper.make_node(
            "Cast", [f"{name}_half"], [name], name=f"{name}_widen", to=onnx.TensorProto.FLOAT
        )
        graph.node.insert(0, widen)
    return checked(model)


def to_float16(content: bytes) -> bytes:
    """Convert to half precision with float32 input and output, for GPUs.

    Args:
        content: A file from `to_onnx`.
    """
    require_onnx()
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = OnnxModel(convert_float_to_float16(onnx.load_from_string(content), keep_io_types=True))
    model.topological_sort()  # the converter appends its casts at the end
    return checked(model.model)


def _require_same_answer(before: bytes, after: bytes, shape: tuple[int, int, int]) -> None:
    """Refuse a simplified network that computes something else.

    Raises:
        ConversionFailed: If the answers to one random batch differ.
    """
    import onnxruntime as ort

    stacks = np.random.default_rng(0).random((2, *shape), np.float32)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    first, second = (
        ort.InferenceSession(content, options, providers=["CPUExecutionProvider"]).run(
            None, {INPUT_NAME: stacks}
        )[0]
        for content in (before, after)
    )
    if first.shape != second.shape or not np.allclose(first, second, rtol=0, atol=1e-5):
        raise ConversionFailed("onnxsim changed what the network answers; install another version")


def run_onnx(content: bytes, stacks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run a file to compare its answers. For use, `cmbnet.backends` runs it.

    Args:
        content: An ONNX file.
        stacks: Stacks of the file's shape, float32 (n, y, x, 3).

    Returns:
        Probabilities, float32 (n, y, x).
    """
    import onnxruntime as ort

    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    answers = [session.run(None, {INPUT_NAME: stack[np.newaxis]})[0] for stack in stacks]
    return np.concatenate(answers)[..., 0]


def _name_tensors(model: Any) -> None:
    """Give the output and the batch names that do not depend on the converter's counter."""
    (produced,) = model.graph.output
    for node in model.graph.node:
        for i, name in enumerate(node.output):
            if name == produced.name:
                node.output[i] = OUTPUT_NAME
    produced.name = OUTPUT_NAME
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = BATCH_NAME
    # Shapes of inner tensors would still name the old batch.
    del model.graph.value_info[:]


def checked(model: Any) -> bytes:
    """Check a model, its input and its output, and return its bytes.

    Raises:
        ConversionFailed: If something is wrong.
    """
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConversionFailed(f"the ONNX checker refuses the file: {error}") from error
    names = [t.name for t in (*model.graph.input, *model.graph.output)]
    if names != [INPUT_NAME, OUTPUT_NAME]:
        raise ConversionFailed(
            f"a network with input {INPUT_NAME} and output {OUTPUT_NAME} is required, got {names}"
        )
    content: bytes = model.SerializeToString()
    return content


@contextmanager
def quiet_converters() -> Iterator[None]:
    """Hold back the converters' log messages. Faults are raised, not logged."""
    import logging

    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            # keras.export.tf2onnx_lib probes np.object, which NumPy announces to redefine.
            warnings.filterwarnings("ignore", category=FutureWarning, message=".*np.object.*")
            yield
    finally:
        logging.disable(previous)
