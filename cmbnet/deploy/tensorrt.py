"""Build TensorRT engines from ONNX, with TensorRT-RTX (workstations) or TensorRT (data centres).

TensorRT-RTX compiles for compute capabilities that are named, on a machine without a GPU, and
finishes on the target in seconds. TensorRT measures its kernels, so it needs the GPU that will run
the engine. Both have nearly the same Python interface.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.deploy.onnx import INPUT_NAME, ConversionFailed
from cmbnet.errors import UsageError, require

Flavor = Literal["rtx", "datacenter"]

BATCHES = (1, 8, 32)
"""Smallest, usual and largest batch of the optimisation profile."""

CAPABILITIES = ("SM75", "SM80", "SM86", "SM89", "SM120")
"""Turing to Blackwell workstations. Hopper (SM90) is none of TensorRT-RTX's named targets."""

_MODULES: dict[Flavor, str] = {"rtx": "tensorrt_rtx", "datacenter": "tensorrt"}
_MEMORY = re.compile(r"^(Total [A-Za-z ]+ Memory|Max Scratch Memory): (\d+) bytes")


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """The target of an engine."""

    flavor: Flavor  # Kind of TensorRT
    precision: str  # Precision of the ONNX file. The network is strongly typed, so it stays.
    batches: tuple[int, int, int] = BATCHES  # Smallest, usual and largest batch
    # Compute capabilities that TensorRT-RTX compiles for, "SM86" and so on
    capabilities: tuple[str, ...] = CAPABILITIES
    # Whether a data-centre engine runs on every GPU from Ampere on
    hardware_compatible: bool = False
    # File with kernel timings for data centres. It is read and rewritten.
    timing_cache: Path | None = None


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """A serialised engine."""

    content: bytes  # The bytes of the engine
    # Layers with precisions, memory and the builder's messages, for a JSON file
    report: dict[str, Any]
    tools: dict[str, str] = field(default_factory=dict)  # Versions for the manifest

    def report_bytes(self) -> bytes:
        """Return the report as JSON."""
        return (json.dumps(self.report, indent=1) + "\n").encode()


def choose_flavor(wanted: str) -> Flavor:
    """Choose the TensorRT that can build here.

    "auto" takes data-centre TensorRT if it is installed and finds a GPU, and otherwise
    TensorRT-RTX.

    Raises:
        MissingExtra: If the package is not installed.
        UsageError: If data-centre TensorRT is wanted and there is no GPU.
    """
    if wanted == "auto":
        wanted = "datacenter" if find_spec("tensorrt") and gpu_fault() is None else "rtx"
    if wanted == "datacenter":
        require(
            "tensorrt",
            extra="tensorrt",
            purpose="for the flavor datacenter (NVIDIA's own package index holds its libraries; "
            "the flavor rtx builds here, without a GPU)",
        )
        if fault := gpu_fault():
            raise UsageError(
                "the flavor datacenter measures kernels on a GPU, and there is none here "
                f"({fault}); export on the machine that will serve, or choose the flavor rtx",
                argument="flavor",
            )
        return "datacenter"
    if wanted != "rtx":
        raise UsageError(f"flavor must be rtx, datacenter or auto, got {wanted!r}")
    require("tensorrt_rtx", extra="rtx", purpose="for the flavor rtx")
    return "rtx"


def gpu_fault() -> str | None:
    """Say why CUDA cannot be used here, or return None if it can."""
    if find_spec("cuda") is None or find_spec("cuda.bindings") is None:
        return "cuda-python is not installed"
    from cuda.bindings import runtime

    status, count = runtime.cudaGetDeviceCount()
    if int(status) != 0:
        return str(status.name)
    return None if count else "no CUDA device"


def check_request(request: EngineRequest) -> None:
    """Refuse a request that `build_engine` would refuse, before anything is converted.

    Raises:
        UsageError: If a compute capability is not known to this TensorRT.
    """
    if request.flavor == "rtx":
        _known_targets(importlib.import_module(_MODULES["rtx"]), request.capabilities)


def build_engine(onnx_file: bytes, request: EngineRequest) -> BuiltEngine:
    """Build an engine.

    The ONNX file is from `cmbnet.deploy.onnx`. int8 must be symmetric.

    Raises:
        ConversionFailed: If the builder fails, with its own words or the refused call.
        UsageError: If a compute capability is not known to this TensorRT.
    """
    trt = importlib.import_module(_MODULES[request.flavor])
    logger = _make_logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx_file):
        faults = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise ConversionFailed(f"TensorRT does not read the ONNX file: {faults}")
    config = _configure(trt, builder, network, request)
    content = builder.build_serialized_network(network, config)
    if content is None:
        raise ConversionFailed(
            f"TensorRT built no engine: {'; '.join(logger.faults) or 'no reason'}"
        )
    _write_timing_cache(config, request)
    engine = bytes(content)
    report = {
        "notice": RESEARCH_USE_ONLY,
        "flavor": request.flavor,
        "version": trt.__version__,
        "precision": request.precision,
        "batches": request.batches,
        "compute_capabilities": request.capabilities if request.flavor == "rtx" else "this GPU",
        "bytes": len(engine),
        "memory_bytes": logger.memory,
        "warnings": logger.faults,
        **_layers(trt, logger, network, engine),
    }
    return BuiltEngine(engine, report, _tools(trt, request))


def _tools(trt: Any, request: EngineRequest) -> dict[str, str]:
    """Return what `cmbnet.backends.tensorrt` needs to know before it loads an engine."""
    name = "tensorrt-rtx" if request.flavor == "rtx" else "tensorrt"
    targets = ",".join(request.capabilities) if request.flavor == "rtx" else "built on its GPU"
    batches = ",".join(map(str, request.batches))
    return {name: trt.__version__, "targets": targets, "batches": batches}


def _configure(trt: Any, builder: Any, network: Any, request: EngineRequest) -> Any:
    """Set profile, memory, targets and the level of detail that the inspector needs."""
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    spatial = tuple(network.get_input(0).shape)[1:]
    profile = builder.create_optimization_profile()
    profile.set_shape(INPUT_NAME, *((batch, *spatial) for batch in request.batches))
    # The index of the profile, which is 0, or -1.
    _require(config.add_optimization_profile(profile) == 0, "add_optimization_profile")
    if request.flavor == "rtx":
        _name_targets(trt, config, request.capabilities)
        return config
    if request.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if request.timing_cache is not None:
        known = request.timing_cache.read_bytes() if request.timing_cache.exists() else b""
        cache = config.create_timing_cache(known)
        _require(cache is not None, f"create_timing_cache of {request.timing_cache}")
        taken = config.set_timing_cache(cache, ignore_mismatch=False)
        _require(taken, f"set_timing_cache of {request.timing_cache}, which may be of another GPU,")
    return config


def _require(answer: bool, call: str) -> None:
    """Raise an error if the builder refused a call, because it raises nothing itself."""
    if not answer:
        raise ConversionFailed(f"TensorRT built no engine: {call} was refused")


def _name_targets(trt: Any, config: Any, capabilities: Sequence[str]) -> None:
    """Tell TensorRT-RTX which GPUs to compile for."""
    targets = _known_targets(trt, capabilities)
    config.num_compute_capabilities = len(targets)
    for i, target in enumerate(targets):
        _require(config.set_compute_capability(target, i), f"set_compute_capability {target}")


def _known_targets(trt: Any, capabilities: Sequence[str]) -> list[Any]:
    """Return TensorRT-RTX's own constants for compute capabilities."""
    known = trt.ComputeCapability.__members__
    unknown = sorted(set(capabilities) - set(known))
    if unknown or not capabilities:
        names = ", ".join(n for n in known if n.startswith("SM"))
        raise UsageError(
            f"TensorRT-RTX {trt.__version__} compiles for {names}; "
            f"got {', '.join(unknown) or 'none'}"
        )
    return [known[name] for name in capabilities]


def _write_timing_cache(config: Any, request: EngineRequest) -> None:
    if request.timing_cache is not None and request.flavor == "datacenter":
        from cmbnet.io import write_bytes_atomically

        write_bytes_atomically(request.timing_cache, bytes(config.get_timing_cache().serialize()))


def _layers(trt: Any, logger: Any, network: Any, engine: bytes) -> dict[str, Any]:
    """Describe the layers as the engine runs them, or without a GPU as the network defines them.

    The inspector reads a loaded engine, and loading needs a GPU.
    """
    if gpu_fault() is None:
        loaded = trt.Runtime(logger).deserialize_cuda_engine(engine)
        if loaded is not None:
            inspector = loaded.create_engine_inspector()
            text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
            return {"layers_from": "engine inspector", "layers": json.loads(text)}
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    return {
        "layers_from": "network definition (no GPU here; the inspector needs a loaded engine)",
        "layers": [
            {
                "name": layer.name,
                "type": layer.type.name,
                "outputs": [
                    {"dtype": out.dtype.name, "shape": list(out.shape)}
                    for out in map(layer.get_output, range(layer.num_outputs))
                ],
            }
            for layer in layers
        ],
    }


def _make_logger(trt: Any) -> Any:
    """Make a logger that keeps warnings and memory figures and prints nothing.

    The class is inside a function because its base class comes from the chosen module.
    """

    class Logger(trt.ILogger):  # type: ignore[misc]  # the module is only known at run time
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.faults: list[str] = []
            self.memory: dict[str, int] = {}

        def log(self, severity: Any, message: str) -> None:
            if int(severity) <= int(trt.ILogger.Severity.WARNING):
                self.faults.append(message.strip())
            elif found := _MEMORY.search(message):
                self.memory[found[1]] = int(found[2])

    return Logger()
