"""``cmbnet`` on Triton's Python backend: a scan in, mask, labels and lesion table out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.backends.base import BackendInfo, Shape, require_stacks
from cmbnet.backends.triton_connection import fault_text
from cmbnet.bundle import load_bundle
from cmbnet.deploy.triton.config import read_shapes
from cmbnet.deploy.triton.scan import answer_scan
from cmbnet.deploy.triton.spec import NETWORK_MODEL, PROBABILITY, SCAN_INPUTS, STACK
from cmbnet.deploy.triton.tensors import to_numpy, to_tensor
from cmbnet.errors import BundleError, CmbnetError


class TritonPythonModel:
    """The model that Triton calls. `triton_python_backend_utils` exists only in its process."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the bundle.

        `args` are folder, version and configuration, from Triton.
        """
        parameters = json.loads(args["model_config"])["parameters"]
        folder = Path(args["model_repository"]) / args["model_version"] / "bundle"
        self._bundle = load_bundle(folder)
        self._max_voxels = int(parameters["max_voxels"]["string_value"])
        shapes = read_shapes(parameters["shapes"]["string_value"])
        self._backend = BlsBackend(shapes, self._bundle.manifest.artefacts[0].precision)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer scans one by one. An error concerns its own request only."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        import triton_python_backend_utils as pb_utils

        found = {t.name: pb_utils.get_input_tensor_by_name(request, t.name) for t in SCAN_INPUTS}
        tensors = {name: to_numpy(tensor) for name, tensor in found.items() if tensor is not None}
        try:
            outputs = answer_scan(
                tensors,
                self._bundle,
                self._backend,
                max_voxels=self._max_voxels,
                wanted=frozenset(request.requested_output_names()),
            )
        except CmbnetError as error:
            fault = pb_utils.TritonError(fault_text(error), pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=fault)
        return pb_utils.InferenceResponse(
            [to_tensor(name, array) for name, array in outputs.items()]
        )


class BlsBackend:
    """``cmbnet_unet`` of the same server as a `cmbnet.backends.Backend`.

    It has the shapes that it accepts, smallest first, and the precision of its artefact.
    """

    def __init__(self, shapes: tuple[Shape, ...], precision: str) -> None:
        self.shapes = shapes
        self.info = BackendInfo(
            name="triton",
            precision=precision,
            runtime=f"{NETWORK_MODEL} of the same server",
            threads=1,
            reason="the server's own network",
        )

    def predict(self, stacks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute probabilities (n, y, x) of stacks (n, y, x, 3)."""
        import triton_python_backend_utils as pb_utils

        require_stacks(stacks, self.shapes, self.info.name)
        if len(stacks) == 0:
            return np.empty(stacks.shape[:3], np.float32)
        request = pb_utils.InferenceRequest(
            model_name=NETWORK_MODEL,
            requested_output_names=[PROBABILITY.name],
            inputs=[to_tensor(STACK.name, stacks)],
        )
        response = request.exec()
        if response.has_error():
            raise BundleError(f"{NETWORK_MODEL} failed: {response.error().message()}")
        tensor = pb_utils.get_output_tensor_by_name(response, PROBABILITY.name)
        # A copy: the tensor's memory goes back to the server with the response.
        answer: NDArray[np.float32] = np.array(to_numpy(tensor)[..., 0])
        return answer

    def close(self) -> None:
        """Do nothing, because nothing is held."""
