"""TensorRT engines: pinned buffers, asynchronous copies and a CUDA graph, two batches in flight.

A batch is copied in while the batch before it is computed. Only `CudaPipeline` talks to CUDA.
Everything else runs, and is tested, without a GPU.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cmbnet.backends.base import BackendInfo, Shape, require_stacks
from cmbnet.backends.probe import probe_stack, require_known_answer
from cmbnet.bundle import Artefact, Bundle
from cmbnet.errors import BundleError, CmbnetError, UsageError, require

SLOTS = 2
"""Number of batches in flight. One is copied while the other is computed."""

_MODULES = {"tensorrt-rtx": ("tensorrt_rtx", "rtx"), "tensorrt": ("tensorrt", "tensorrt")}
"""Name in an artefact's tools -> its module and extra."""


class Pipeline(Protocol):
    """A pipeline of batches of one size. A batch is submitted to a slot and collected from it."""

    batch: int

    def submit(self, slot: int, stacks: NDArray[np.float32]) -> None:
        """Start a batch (batch, y, x, 3), and return before it is done."""
        ...

    def collect(self, slot: int) -> NDArray[np.float32]:
        """Wait for a slot's batch (batch, y, x, 1). It is valid until the slot's next submit."""
        ...

    def close(self) -> None:
        """Free the device."""
        ...


class TensorRTBackend:
    """A `cmbnet.backends.Backend` over a pipeline.

    Args:
        pipeline: Pipeline that runs batches.
        shape: Rows and columns that it accepts.
        info: The description to record.
    """

    def __init__(self, pipeline: Pipeline, shape: Shape, info: BackendInfo) -> None:
        self.info = info
        self.shapes = (shape,)
        self._pipeline = pipeline
        self._lock = threading.Lock()
        self._closed = False

    def predict(self, stacks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute probabilities (n, y, x) of stacks (n, y, x, 3); see `Backend.predict`."""
        with self._lock:
            if self._closed:
                raise UsageError("tensorrt was closed; open the backend again")
            require_stacks(stacks, self.shapes, "tensorrt")
            answers = np.empty(stacks.shape[:3], np.float32)
            waiting: list[tuple[int, int]] = []
            for number, start in enumerate(range(0, len(stacks), self._pipeline.batch)):
                if len(waiting) == SLOTS:
                    self._collect(*waiting.pop(0), answers)
                slot = number % SLOTS
                self._pipeline.submit(slot, self._whole(stacks[start:]))
                waiting.append((slot, start))
            for slot, start in waiting:
                self._collect(slot, start, answers)
        if not np.isfinite(answers.sum(dtype=np.float64)):
            raise BundleError("the engine answered with NaN or infinite values; export it again")
        return answers

    def close(self) -> None:
        """Free the device. Closing again does nothing."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._pipeline.close()

    def _collect(self, slot: int, start: int, answers: NDArray[np.float32]) -> None:
        part = answers[start : start + self._pipeline.batch]
        part[...] = self._pipeline.collect(slot)[: len(part), :, :, 0]

    def _whole(self, rest: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take the first batch of the rest, filled up with zeros: a CUDA graph has one size."""
        batch = rest[: self._pipeline.batch]
        missing = self._pipeline.batch - len(batch)
        if missing:
            batch = np.concatenate([batch, np.zeros((missing, *batch.shape[1:]), np.float32)])
        return batch


def open_tensorrt(
    bundle: Bundle, artefacts: Sequence[Artefact], *, threads: int, reason: str
) -> TensorRTBackend:
    """Open the engine of one precision. Of several engines, take the one with the largest shape.

    Raises:
        MissingExtra: If the TensorRT that built it, or cuda-python, is not installed.
        BundleError: If there is no GPU, or if the engine was built by another version or for
            another GPU, or answers the known probe wrongly.
    """
    artefact = max(artefacts, key=lambda a: a.shape[1] * a.shape[2])
    flavor = _flavor(artefact)
    module, extra = _MODULES[flavor]
    require(module, "cuda", extra=extra, purpose=f"to run {artefact.file}")
    trt, cuda = importlib.import_module(module), importlib.import_module("cuda.bindings.runtime")
    require_version(artefact, flavor, trt.__version__)
    # The bytes are hashed before any of them is given to the deserialiser.
    pipeline = CudaPipeline(trt, cuda, bundle.read(artefact), artefact)
    info = BackendInfo(
        name="tensorrt",
        precision=artefact.precision,
        runtime=f"{flavor} {trt.__version__}",
        threads=threads,
        reason=reason,
    )
    backend = TensorRTBackend(pipeline, (artefact.shape[1], artefact.shape[2]), info)
    try:
        _check_answer(backend, pipeline.batch, artefact)
    except CmbnetError:
        backend.close()
        raise
    return backend


def _check_answer(backend: TensorRTBackend, batch: int, artefact: Artefact) -> None:
    """Run the known probe in every place of every slot.

    Raises:
        BundleError: If an answer is wrong, or if the right answer is unknown.
    """
    known = artefact.tools.get("probe")
    if known is None:
        raise BundleError(
            f"{artefact.file} does not say what it must answer to the probe: it was exported by an "
            "earlier cmbnet; export the engine again"
        )
    stack = probe_stack(backend.shapes[0])
    answers = backend.predict(np.repeat(stack, batch * SLOTS, axis=0))
    require_known_answer(answers, known, artefact.file)


def require_version(artefact: Artefact, flavor: str, installed: str) -> None:
    """Refuse an engine of another version.

    Raises:
        BundleError: If the versions differ. It names both versions and says what to do.
    """
    built = artefact.tools[flavor]
    if built != installed:
        raise BundleError(
            f"{artefact.file} was built by {flavor} {built}, {installed} is installed: "
            "export the engine again, or install that version"
        )


def _flavor(artefact: Artefact) -> str:
    for flavor in _MODULES:
        if flavor in artefact.tools:
            return flavor
    raise BundleError(f"{artefact.file} does not say which TensorRT built it; export it again")


class CudaPipeline:
    """An engine on a GPU: a stream, an execution context and a graph for each slot.

    Args:
        trt: The module ``tensorrt`` or ``tensorrt_rtx``.
        cuda: The module ``cuda.bindings.runtime``.
        engine: The serialised engine.
        artefact: The artefact of the engine, with its name, shape and batch.

    Raises:
        BundleError: If there is no usable GPU, or the engine does not load or run on it.
    """

    def __init__(self, trt: Any, cuda: Any, engine: bytes, artefact: Artefact) -> None:
        self._cuda = cuda
        self._file = artefact.file
        batches = [int(n) for n in artefact.tools.get("batches", "1,8,32").split(",")]
        self.batch = batches[1]
        self._call(cuda.cudaSetDevice, 0)
        # The runtime must outlive the engine, and the engine its contexts.
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self._engine = self._runtime.deserialize_cuda_engine(engine)
        if self._engine is None:
            raise BundleError(
                f"{artefact.file} does not load on this GPU; it was built for "
                f"{artefact.tools.get('targets', 'unknown targets')}: export the engine here "
                "(of the flavor datacenter on Hopper, which TensorRT-RTX does not run on)"
            )
        shape = (self.batch, *artefact.shape[1:])
        self._slots: list[_Slot] = []
        try:
            for _ in range(SLOTS):
                self._slots.append(_Slot(self, shape))
        except BundleError:
            self.close()
            raise

    def submit(self, slot: int, stacks: NDArray[np.float32]) -> None:
        """Start a batch."""
        one = self._slots[slot]
        one.host_in[...] = stacks
        self._call(self._cuda.cudaGraphLaunch, one.graph, one.stream)

    def collect(self, slot: int) -> NDArray[np.float32]:
        """Wait for a batch."""
        one = self._slots[slot]
        self._call(self._cuda.cudaStreamSynchronize, one.stream)
        return one.host_out

    def close(self) -> None:
        """Free contexts, buffers and streams."""
        for one in self._slots:
            one.free()
        self._slots.clear()

    def _call(self, function: Any, *arguments: Any) -> Any:
        """Call CUDA, whose functions return a status before their values.

        Raises:
            BundleError: If the call fails. It names the status.
        """
        status, *values = function(*arguments)
        if int(status) != 0:
            raise BundleError(
                f"{self._file} cannot run: {function.__name__} answered {status.name}; "
                "a GPU with a driver for CUDA 13 is required"
            )
        return values[0] if values else None

    def _told(self, answer: Any, call: str) -> Any:
        """Return the result of a call of TensorRT, which reports failure by False or None.

        Raises:
            BundleError: If the call failed. It names the call.
        """
        if answer is None or answer is False:
            raise BundleError(
                f"{self._file} cannot run: {call} answered {answer}; export the engine again "
                "on this machine, or choose another backend"
            )
        return answer


class _Slot:
    """Buffers, a context and the captured graph of one batch in flight."""

    def __init__(self, pipeline: CudaPipeline, shape: tuple[int, ...]) -> None:
        self._cuda, self._call, self._told = pipeline._cuda, pipeline._call, pipeline._told
        self.stream = self._call(self._cuda.cudaStreamCreate)
        self._pinned: list[int] = []
        self._device: list[int] = []
        self.host_in = self._pinned_array(shape)
        self.host_out = self._pinned_array((*shape[:3], 1))
        for host in (self.host_in, self.host_out):
            self._device.append(int(self._call(self._cuda.cudaMalloc, host.nbytes)))
        context = pipeline._engine.create_execution_context()
        self._context = self._told(context, "create_execution_context")
        profile = self._context.set_optimization_profile_async(0, int(self.stream))
        self._told(profile, "set_optimization_profile_async")
        self._told(self._context.set_input_shape("stack", shape), "set_input_shape")
        for name, address in zip(("stack", "probability"), self._device, strict=True):
            self._told(self._context.set_tensor_address(name, address), "set_tensor_address")
        self._enqueue()  # the first run compiles and allocates, which a graph must not record
        self._call(self._cuda.cudaStreamSynchronize, self.stream)
        self.graph = self._capture()

    def _pinned_array(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        import ctypes

        count = int(np.prod(shape))
        address = int(self._call(self._cuda.cudaMallocHost, 4 * count))
        self._pinned.append(address)
        memory = (ctypes.c_float * count).from_address(address)
        return np.ctypeslib.as_array(memory).reshape(shape)

    def _enqueue(self) -> None:
        kinds, copy = self._cuda.cudaMemcpyKind, self._cuda.cudaMemcpyAsync
        device_in, device_out = self._device
        self._call(
            copy,
            device_in,
            self.host_in.ctypes.data,
            self.host_in.nbytes,
            kinds.cudaMemcpyHostToDevice,
            self.stream,
        )
        self._told(self._context.execute_async_v3(int(self.stream)), "execute_async_v3")
        self._call(
            copy,
            self.host_out.ctypes.data,
            device_out,
            self.host_out.nbytes,
            kinds.cudaMemcpyDeviceToHost,
            self.stream,
        )

    def _capture(self) -> Any:
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call(self._cuda.cudaStreamBeginCapture, self.stream, mode)
        self._enqueue()
        recorded = self._call(self._cuda.cudaStreamEndCapture, self.stream)
        return self._call(self._cuda.cudaGraphInstantiate, recorded, 0)

    def free(self) -> None:
        """Free buffers, context and graph."""
        self._call(self._cuda.cudaStreamSynchronize, self.stream)
        self._call(self._cuda.cudaGraphExecDestroy, self.graph)
        self._context = None
        for address in self._device:
            self._call(self._cuda.cudaFree, address)
        for address in self._pinned:
            self._call(self._cuda.cudaFreeHost, address)
        self._call(self._cuda.cudaStreamDestroy, self.stream)
