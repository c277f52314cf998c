"""LiteRT (TensorFlow Lite) with XNNPACK: the default on CPUs, small and quick to start.

Every worker has its own interpreter, which runs whole slices on one thread. That scales better than
several threads within one slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.backends.base import BackendInfo, SlicesBackend
from cmbnet.bundle import Artefact, Bundle
from cmbnet.errors import BundleError


def open_litert(
    bundle: Bundle, artefacts: Sequence[Artefact], *, threads: int, reason: str
) -> SlicesBackend:
    """Open the LiteRT artefacts of one precision, one per shape."""
    info = BackendInfo(
        name="litert",
        precision=artefacts[0].precision,
        runtime=f"ai-edge-litert {version('ai-edge-litert')}",
        threads=threads,
        reason=reason,
    )
    return SlicesBackend(
        artefacts, info, lambda a: _Interpreter(bundle.read(a), a.file), workers=threads
    )


class _Interpreter:
    """One interpreter with one thread."""

    def __init__(self, content: bytes, file: str) -> None:
        from ai_edge_litert.interpreter import Interpreter

        try:
            self._interpreter: Any = Interpreter(model_content=content, num_threads=1)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BundleError(f"{file} is no LiteRT model that runs here: {error}") from error
        (self._input,) = self._interpreter.get_input_details()
        (self._output,) = self._interpreter.get_output_details()
        self.batch = int(self._input["shape"][0])

    def __call__(self, stacks: NDArray[np.float32]) -> NDArray[np.float32]:
        self._interpreter.set_tensor(self._input["index"], _stored(stacks, self._input))
        self._interpreter.invoke()
        return _real(self._interpreter.get_tensor(self._output["index"]), self._output)


def _stored(values: NDArray[np.float32], details: dict[str, Any]) -> NDArray[Any]:
    """Convert values to the type of the input tensor. Full-integer files take int8."""
    dtype = np.dtype(details["dtype"])
    if dtype.kind == "f":
        return values
    scale, zero = details["quantization"]
    limits = np.iinfo(dtype)
    stored = values * np.float32(1 / scale)
    np.rint(stored, out=stored)
    stored += np.float32(zero)
    np.clip(stored, limits.min, limits.max, out=stored)
    exact: NDArray[Any] = stored.astype(dtype)
    return exact


def _real(stored: NDArray[Any], details: dict[str, Any]) -> NDArray[np.float32]:
    """Convert values of the output tensor to probabilities."""
    real: NDArray[np.float32] = stored.astype(np.float32, copy=False)
    if stored.dtype.kind != "f":
        scale, zero = details["quantization"]
        real -= np.float32(zero)
        real *= np.float32(scale)
    return real
