"""TensorRT and CUDA for machines without a GPU: the same calls, on host memory.

The engine answers with the darkness of the middle slice. Calls that are named in `no` answer what
is given there instead, and do nothing: so TensorRT says that it failed.
"""

# ruff: noqa: N802, N815  # the names are those of CUDA and TensorRT

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np


class Cuda:
    """The calls of ``cuda.bindings.runtime`` that the pipeline makes."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self) -> None:
        self.memory: dict[int, Any] = {}
        self.recording: list[Callable[[], object]] | None = None

    def do(self, work: Callable[[], object]) -> None:
        """Do it now, or record it."""
        if self.recording is None:
            work()
        else:
            self.recording.append(work)

    def cudaSetDevice(self, _: int) -> tuple[int]:
        return (0,)

    def cudaStreamCreate(self) -> tuple[int, int]:
        return 0, 7

    def cudaStreamSynchronize(self, _: int) -> tuple[int]:
        return (0,)

    def cudaStreamDestroy(self, _: int) -> tuple[int]:
        return (0,)

    def cudaMalloc(self, size: int) -> tuple[int, int]:
        buffer = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(buffer)] = buffer
        return 0, ctypes.addressof(buffer)

    cudaMallocHost = cudaMalloc

    def cudaFree(self, address: int) -> tuple[int]:
        del self.memory[address]
        return (0,)

    cudaFreeHost = cudaFree

    def cudaMemcpyAsync(self, to: int, source: int, size: int, *_: int) -> tuple[int]:
        self.do(lambda: ctypes.memmove(to, source, size))
        return (0,)

    def cudaStreamBeginCapture(self, *_: int) -> tuple[int]:
        self.recording = []
        return (0,)

    def cudaStreamEndCapture(self, _: int) -> tuple[int, list[Callable[[], object]]]:
        recorded, self.recording = self.recording or [], None
        return 0, recorded

    def cudaGraphInstantiate(self, recorded: Any, _: int) -> tuple[int, Any]:
        return 0, recorded

    def cudaGraphLaunch(self, graph: list[Callable[[], object]], _: int) -> tuple[int]:
        for work in graph:
            work()
        return (0,)

    def cudaGraphExecDestroy(self, _: Any) -> tuple[int]:
        return (0,)


class TensorRT:
    """The module, its runtime, its engine and its context in one.

    Args:
        cuda: Holds the memory.
        no: Calls that fail, and what they answer.
        idle: Whether the engine says that it ran and does nothing.
    """

    __version__ = "1.7"

    class Logger:
        """Prints nothing."""

        ERROR = 1

        def __init__(self, level: int) -> None:
            self.level = level

    def __init__(self, cuda: Cuda, no: Mapping[str, object], *, idle: bool = False) -> None:
        self.cuda = cuda
        self.no = no
        self.idle = idle

    def Runtime(self, _: Any) -> Any:
        engine = SimpleNamespace(
            create_execution_context=lambda: self.no.get("create_execution_context", Context(self))
        )
        return SimpleNamespace(
            deserialize_cuda_engine=lambda _: self.no.get("deserialize_cuda_engine", engine)
        )


class Context:
    """An ``IExecutionContext``."""

    def __init__(self, trt: TensorRT) -> None:
        self.trt = trt
        self.shape: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}

    def _answer(self, call: str, work: Callable[[], object]) -> object:
        if call in self.trt.no:
            return self.trt.no[call]
        work()
        return True

    def set_optimization_profile_async(self, _: int, __: int) -> object:
        return self._answer("set_optimization_profile_async", lambda: None)

    def set_input_shape(self, _: str, shape: tuple[int, ...]) -> object:
        return self._answer("set_input_shape", lambda: setattr(self, "shape", shape))

    def set_tensor_address(self, name: str, address: int) -> object:
        return self._answer("set_tensor_address", lambda: self.addresses.update({name: address}))

    def execute_async_v3(self, _: int) -> object:
        return self._answer("execute_async_v3", lambda: self.trt.cuda.do(self._run))

    def _run(self) -> None:
        if self.trt.idle:
            return
        stacks = self._array("stack", self.shape)
        self._array("probability", (*self.shape[:3], 1))[...] = 1 - stacks[..., 1:2]

    def _array(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        count = int(np.prod(shape))
        memory = (ctypes.c_float * count).from_address(self.addresses[name])
        return np.ctypeslib.as_array(memory).reshape(shape)
