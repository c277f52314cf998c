"""Make ``config.pbtxt`` of both models with Triton's own protobuf, so that it is valid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.backends.base import Shape
from cmbnet.backends.triton import MAX_BATCH
from cmbnet.deploy.triton.spec import (
    NETWORK_MODEL,
    PROBABILITY,
    SCAN_INPUTS,
    SCAN_MODEL,
    SCAN_OUTPUTS,
    STACK,
    Tensor,
)
from cmbnet.errors import CmbnetError, require
from cmbnet.volume import MOST_VOXELS

NetworkKind = Literal["litert", "onnx", "tensorrt"]

_RUNTIME: dict[NetworkKind, dict[str, str]] = {
    "litert": {"backend": "python"},
    "onnx": {"platform": "onnxruntime_onnx", "backend": "onnxruntime"},
    "tensorrt": {"platform": "tensorrt_plan", "backend": "tensorrt"},
}

GPU_QUEUE_DELAY_US = 2000
"""Time that a GPU waits for slices of other scans. A CPU gains nothing from larger batches."""


class InvalidConfig(CmbnetError):
    """Triton cannot read a ``config.pbtxt``."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The settings of a server."""

    # Number of scans in parallel, each in a process. With two, one prepares or writes while the
    # network runs for the other (on two processors with 4 clients, .96 of a local loop's
    # throughput, and .89 with one).
    scan_instances: int = 2
    gpu: bool = False  # Whether the network runs on a GPU
    threads: int = 0  # Number of threads of a LiteRT network. 0 takes every processor.
    # Largest accepted scan. A larger one could exhaust the server's memory.
    max_voxels: int = MOST_VOXELS


def network_config(kind: NetworkKind, shapes: Sequence[Shape], settings: ServerSettings) -> str:
    """Make ``config.pbtxt`` of ``cmbnet_unet``.

    `shapes` are rows and columns. ONNX files and plans have one.
    """
    gpu = settings.gpu and kind != "litert"
    free = len(shapes) > 1
    rows, columns = (-1, -1) if free else shapes[0]
    values = {
        "name": NETWORK_MODEL,
        **_RUNTIME[kind],
        "maxBatchSize": MAX_BATCH,
        "input": [_tensor(Tensor(STACK.name, "FP32", (rows, columns, 3)))],
        "output": [_tensor(Tensor(PROBABILITY.name, "FP32", (rows, columns, 1)))],
        "dynamicBatching": {"maxQueueDelayMicroseconds": str(GPU_QUEUE_DELAY_US)} if gpu else {},
        "instanceGroup": [_instances(1, gpu=gpu)],  # one LiteRT instance uses every thread
        "versionPolicy": {"latest": {"numVersions": 1}},
        "modelWarmup": [_warm_up(shape) for shape in shapes],
        "parameters": _parameters({"threads": str(settings.threads)} if kind == "litert" else {}),
    }
    return _pbtxt(values)


def scan_config(shapes: Sequence[Shape], settings: ServerSettings) -> str:
    """Make ``config.pbtxt`` of ``cmbnet``.

    `shapes` are the rows and columns that ``cmbnet_unet`` accepts.
    """
    values = {
        "name": SCAN_MODEL,
        "backend": "python",
        "maxBatchSize": 0,  # a scan is a request; scans differ in shape
        "input": [_tensor(tensor) for tensor in SCAN_INPUTS],
        "output": [_tensor(tensor) for tensor in SCAN_OUTPUTS],
        "instanceGroup": [_instances(settings.scan_instances, gpu=False)],
        "versionPolicy": {"latest": {"numVersions": 1}},
        "parameters": _parameters(
            {
                "shapes": ",".join(f"{y}x{x}" for y, x in shapes),
                "max_voxels": str(settings.max_voxels),
            }
        ),
    }
    return _pbtxt(values)


def read_shapes(text: str) -> tuple[Shape, ...]:
    """Read the parameter ``shapes``, for example "320x256,384x384".

    Examples:
        >>> read_shapes("320x256,384x384")
        ((320, 256), (384, 384))
    """
    pairs = (pair.split("x") for pair in text.split(","))
    return tuple((int(rows), int(columns)) for rows, columns in pairs)


def parse_config(text: str) -> Any:
    """Read ``config.pbtxt`` with Triton's protobuf.

    Raises:
        InvalidConfig: If a field is unknown or of the wrong kind.
    """
    require_protobuf()
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    try:
        return text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        raise InvalidConfig(f"not a Triton model configuration: {error}") from error


def _pbtxt(values: dict[str, Any]) -> str:
    """Write a configuration as text, and read it back as a check."""
    require_protobuf()
    from google.protobuf import json_format, text_format
    from tritonclient.grpc import model_config_pb2

    try:
        message = json_format.ParseDict(values, model_config_pb2.ModelConfig())
    except json_format.ParseError as error:
        raise InvalidConfig(f"not a Triton model configuration: {error}") from error
    text = f"# {RESEARCH_USE_ONLY}\n{text_format.MessageToString(message)}"
    if parse_config(text) != message:
        raise InvalidConfig(f"the configuration of {values['name']} does not survive being written")
    return text


def _tensor(tensor: Tensor) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": tensor.name,
        "dataType": tensor.config_type,
        "dims": [str(n) for n in tensor.shape],
    }
    return values | ({"optional": True} if tensor.optional else {})


def _instances(count: int, *, gpu: bool) -> dict[str, Any]:
    return {"count": count, "kind": "KIND_GPU" if gpu else "KIND_CPU"}


def _parameters(values: dict[str, str]) -> dict[str, Any]:
    return {name: {"stringValue": value} for name, value in values.items()}


def _warm_up(shape: Shape) -> dict[str, Any]:
    """Make a request of zeros, which compiles the model before the first scan."""
    rows, columns = shape
    zeros = {
        "dataType": STACK.config_type,
        "dims": [str(rows), str(columns), "3"],
        "zeroData": True,
    }
    return {"name": f"{rows}x{columns}", "batchSize": 1, "inputs": {STACK.name: zeros}}


def require_protobuf() -> None:
    """Refuse to go on without tritonclient, which describes configurations.

    Raises:
        MissingExtra: If it is not installed.
    """
    require("tritonclient", extra="triton", purpose="to write a Triton repository")
