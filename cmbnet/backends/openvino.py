"""OpenVINO on CPUs. It reads its own format, or ONNX if the bundle has no such file.

Every worker has its own stream, which runs whole slices on one thread. What was compiled is kept
for this processor, because compiling takes as long as a dozen slices.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.backends.base import BackendInfo, SlicesBackend
from cmbnet.backends.speed import cache_folder, keep_checked, processor, read_checked
from cmbnet.bundle import Artefact, Bundle
from cmbnet.errors import BundleError


def open_openvino(
    bundle: Bundle, artefacts: Sequence[Artefact], *, threads: int, reason: str
) -> SlicesBackend:
    """Open the OpenVINO or ONNX artefacts of one precision, one per shape."""
    info = BackendInfo(
        name="openvino",
        precision=artefacts[0].precision,
        runtime=f"openvino {version('openvino')}",
        threads=threads,
        reason=reason,
    )
    return SlicesBackend(artefacts, info, _Loader(bundle, threads), workers=threads)


class _Loader:
    """Compiles an artefact for the first worker that asks, and gives each worker a request."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self._bundle = bundle
        self._threads = threads
        self._lock = threading.Lock()
        self._compiled: dict[str, Any] = {}

    def __call__(self, artefact: Artefact) -> _Stream:
        with self._lock:
            if artefact.file not in self._compiled:
                compiled = _compiled(self._bundle, artefact, self._threads)
                # The binding makes its array types at the first use of a tensor. Two threads that
                # do so at once can wait for each other for ever: one has the GIL, one the types.
                _ = compiled.create_infer_request().get_output_tensor(0).data
                self._compiled[artefact.file] = compiled
        return _Stream(self._compiled[artefact.file], artefact.shape[0] or 1)


class _Stream:
    """One request of a compiled model."""

    def __init__(self, compiled: Any, batch: int) -> None:
        self.batch = batch
        self._request: Any = compiled.create_infer_request()

    def __call__(self, stacks: NDArray[np.float32]) -> NDArray[np.float32]:
        self._request.infer([stacks])
        answer: NDArray[np.float32] = self._request.get_output_tensor(0).data.copy()
        return answer


def _compiled(bundle: Bundle, artefact: Artefact, threads: int) -> Any:
    """The model compiled for this processor, from the cache if it is there."""
    import openvino as ov

    core = ov.Core()
    weights = [bundle.read(entry) for entry in artefact.companions]
    content = bundle.read(artefact)
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": threads,
        # The CPU plug-in would pick bfloat16 where the processor has it.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    parts = (ov.__version__, processor(), options, artefact.model_dump_json())
    file = cache_folder() / "openvino" / f"{hashlib.sha256(repr(parts).encode()).hexdigest()}.blob"
    if (kept := read_checked(file)) is not None:
        try:
            return core.import_model(io.BytesIO(kept), "CPU", options)
        except RuntimeError:
            pass  # of another build: compiled anew
    try:
        model = core.read_model(io.BytesIO(content), *map(io.BytesIO, weights))
        model.reshape([artefact.shape[0] or 1, *artefact.shape[1:]])
        compiled = core.compile_model(model, "CPU", options)
    except RuntimeError as error:
        raise BundleError(f"{artefact.file} is no model that OpenVINO runs: {error}") from error
    stream = io.BytesIO()
    compiled.export_model(stream)
    keep_checked(file, stream.getvalue())
    return compiled
