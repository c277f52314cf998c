"""ONNX Runtime on CPUs."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.backends.base import BackendInfo, SlicesBackend
from cmbnet.bundle import Artefact, Bundle
from cmbnet.errors import BundleError


def open_onnx(
    bundle: Bundle, artefacts: Sequence[Artefact], *, threads: int, reason: str
) -> SlicesBackend:
    """Open the ONNX artefacts of one precision, one per shape."""
    info = BackendInfo(
        name="onnx",
        precision=artefacts[0].precision,
        runtime=f"onnxruntime {version('onnxruntime')}",
        threads=threads,
        reason=reason,
    )
    return SlicesBackend(artefacts, info, lambda a: _Session(bundle.read(a), a, threads))


class _Session:
    """One session."""

    def __init__(self, content: bytes, artefact: Artefact, threads: int) -> None:
        import onnxruntime as ort

        ort.disable_telemetry_events()  # it would keep a record of its use
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        try:
            self._session: Any = ort.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime's own exceptions have no public base class
            raise BundleError(
                f"{artefact.file} is no ONNX model that runs here: {error}"
            ) from error
        self._input = self._session.get_inputs()[0].name
        self.batch = artefact.shape[0] or 1

    def __call__(self, stacks: NDArray[np.float32]) -> NDArray[np.float32]:
        answer: NDArray[np.float32] = self._session.run(None, {self._input: stacks})[0]
        return answer
