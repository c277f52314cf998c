"""What the network alone needs for a case on a GPU: Keras on JAX, and TensorRT-RTX.

    KERAS_BACKEND=jax python -m benchmarks.gpu [--preset paper small] [--onnx paper.onnx ...]

Prints a Markdown table of milliseconds for 72 slices of 384 x 384: the median of repeated runs,
once with stacks and probabilities on the GPU, once from and to memory of the host. The weights
are random, which changes no time. TensorRT-RTX takes the ONNX files that are given; what it does
not build or run is printed with its reason.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from cmbnet.errors import CmbnetError

SLICES = 72
SIDE_PX = 384
REPEATS = 15


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", nargs="*", default=["paper", "small"])
    parser.add_argument("--precision", nargs="*", default=["mixed_bfloat16", "float32"])
    parser.add_argument("--batch", nargs="*", type=int, default=[8, 24, 72])
    parser.add_argument("--onnx", nargs="*", type=Path, default=[])
    options = parser.parse_args()
    print(f"{_device()}; {SLICES} slices of {SIDE_PX} x {SIDE_PX}, median of {REPEATS}\n")
    print("| network | runtime | batch | on the GPU, ms | from and to the host, ms |")
    print("|---|---|---|---|---|", flush=True)
    for name in options.preset:
        for precision in options.precision:
            for batch in options.batch:
                _row(name, f"JAX, {precision}", batch, partial(_jax, name, precision, batch))
    for path in options.onnx:
        for capability in ("CURRENT", "SM89"):
            runtime = f"TensorRT-RTX for {capability}"
            _row(path.stem, runtime, 8, partial(_tensorrt, path, capability))


def _row(network: str, runtime: str, batch: int, measure: Callable[[], tuple[str, str]]) -> None:
    try:
        on_gpu, from_host = measure()
    except (CmbnetError, RuntimeError, ImportError) as error:
        on_gpu, from_host = "-", " ".join(str(error).split())[:200]
    print(f"| {network} | {runtime} | {batch} | {on_gpu} | {from_host} |", flush=True)


def _device() -> str:
    import jax

    return f"{jax.devices()[0].device_kind}, JAX {jax.__version__}"


def _median_ms(run: Callable[[], Any]) -> str:
    """Median time of repeated runs after two that do not count."""
    times = []
    for repeat in range(REPEATS + 2):
        start = time.perf_counter()
        run()
        if repeat >= 2:
            times.append(1e3 * (time.perf_counter() - start))
    return f"{statistics.median(times):.1f}"


def _stacks() -> np.ndarray:
    # Random, not zero: a GPU multiplies zeros faster.
    return np.random.default_rng(0).random((SLICES, SIDE_PX, SIDE_PX, 3), np.float32)


def _jax(name: str, precision: Any, batch: int) -> tuple[str, str]:
    """Keras' own call of the network, compiled."""
    import jax

    from cmbnet.model import preset
    from cmbnet.model.unet import build_unet

    model = build_unet(preset(name), (SIDE_PX, SIDE_PX, 3), precision=precision)
    weights = [v.value for v in model.trainable_variables]
    state = [v.value for v in model.non_trainable_variables]

    @jax.jit
    def network(stacks: Any) -> Any:
        return model.stateless_call(weights, state, stacks, training=False)[0]

    host = _stacks()
    parts = [host[i : i + batch] for i in range(0, SLICES, batch)]
    there = [jax.device_put(part) for part in parts]

    def on_gpu() -> None:
        for answer in [network(part) for part in there]:
            answer.block_until_ready()

    def from_host() -> None:
        answers = [network(part) for part in parts]
        for answer in answers:
            np.asarray(answer)

    return _median_ms(on_gpu), _median_ms(from_host)


@dataclass(frozen=True)
class _Engine:
    """What the runtime asks of an artefact."""

    file: str
    shape: tuple[int, int, int, int]
    tools: dict[str, str]


def _tensorrt(path: Path, capability: str) -> tuple[str, str]:
    """The package's own runtime: pinned memory, CUDA graph, two batches in flight."""
    import tensorrt_rtx
    from cuda.bindings import runtime

    from cmbnet.backends.base import BackendInfo
    from cmbnet.backends.tensorrt import CudaPipeline, TensorRTBackend
    from cmbnet.deploy.tensorrt import EngineRequest, build_engine

    precision = path.stem.rsplit("-", 1)[-1]
    request = EngineRequest("rtx", precision, capabilities=(capability,))
    start = time.perf_counter()
    built = build_engine(path.read_bytes(), request)
    seconds = time.perf_counter() - start
    engine = _Engine(path.name, (1, SIDE_PX, SIDE_PX, 3), built.tools)
    start = time.perf_counter()
    pipeline = CudaPipeline(tensorrt_rtx, runtime, built.content, cast("Any", engine))
    loaded = time.perf_counter() - start
    info = BackendInfo("tensorrt", precision, f"rtx {tensorrt_rtx.__version__}", 1, "")
    backend = TensorRTBackend(pipeline, (SIDE_PX, SIDE_PX), info)
    host = _stacks()
    answers = backend.predict(host)
    against = _difference(path, host[:2], answers[:2])
    elapsed = _median_ms(lambda: backend.predict(host))
    backend.close()
    return f"built in {seconds:.1f} s, loaded in {loaded:.1f} s", f"{elapsed} ({against})"


def _difference(path: Path, stacks: np.ndarray, answers: np.ndarray) -> str:
    """Largest difference from onnxruntime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    expected = [session.run(None, {name: one[np.newaxis]})[0][0, ..., 0] for one in stacks]
    return f"largest difference from onnxruntime {np.abs(np.stack(expected) - answers).max():.1e}"


if __name__ == "__main__":
    main()
