"""OpenVINO on CPUs. It reads its own format, or ONNX if the bundle has no such file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.backends.base import BackendInfo, SlicesBackend
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
    return SlicesBackend(artefacts, info, lambda a: _Compiled(bundle, a, threads))


class _Compiled:
    """One compiled model with one request."""

    def __init__(self, bundle: Bundle, artefact: Artefact, threads: int) -> None:
        import openvino as ov

        core = ov.Core()
        weights = [bundle.read(entry) for entry in artefact.companions]
        content = io.BytesIO(bundle.read(artefact))
        self.batch = artefact.shape[0] or 1
        try:
            model = core.read_model(content, *map(io.BytesIO, weights))
            model.reshape([self.batch, *artefact.shape[1:]])
            # The CPU plug-in would pick bfloat16 where the processor has it.
            options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
            compiled = core.compile_model(model, "CPU", options)
        except RuntimeError as error:
            raise BundleError(f"{artefact.file} is no model that OpenVINO runs: {error}") from error
        self._request: Any = compiled.create_infer_request()

    def __call__(self, stacks: NDArray[np.float32]) -> NDArray[np.float32]:
        self._request.infer([stacks])
        answer: NDArray[np.float32] = self._request.get_output_tensor(0).data.copy()
        return answer
