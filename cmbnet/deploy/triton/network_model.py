"""``cmbnet_unet`` on Triton's Python backend: the bundle's network, on this machine's CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.backends import Backend, open_backend
from cmbnet.backends.triton_connection import fault_text
from cmbnet.bundle import load_bundle
from cmbnet.deploy.triton.spec import PROBABILITY, STACK
from cmbnet.deploy.triton.tensors import to_numpy, to_tensor
from cmbnet.errors import CmbnetError


class TritonPythonModel:
    """What Triton's Python backend calls; `triton_python_backend_utils` exists only inside it."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the network.

        Args:
            args: From Triton: the model's folder, version and configuration.
        """
        parameters = json.loads(args["model_config"])["parameters"]
        threads = int(parameters["threads"]["string_value"])
        folder = Path(args["model_repository"]) / args["model_version"] / "bundle"
        self._backend: Backend = open_backend(load_bundle(folder), "auto", threads=threads or None)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer requests; those of one call have one shape, and run as one batch."""
        import triton_python_backend_utils as pb_utils

        stacks = [
            to_numpy(pb_utils.get_input_tensor_by_name(request, STACK.name)) for request in requests
        ]
        try:
            answers = answer_together(self._backend, stacks)
        except CmbnetError as error:
            fault = pb_utils.TritonError(fault_text(error), pb_utils.TritonError.INVALID_ARG)
            return [pb_utils.InferenceResponse(error=fault) for _ in requests]
        return [
            pb_utils.InferenceResponse([to_tensor(PROBABILITY.name, answer)]) for answer in answers
        ]

    def finalize(self) -> None:
        """Close the network."""
        self._backend.close()


def answer_together(
    backend: Backend, stacks: list[NDArray[np.float32]]
) -> list[NDArray[np.float32]]:
    """Run several requests' stacks as one batch.

    Args:
        backend: The network.
        stacks: float32 (n, y, x, 3) each, of one (y, x).

    Returns:
        float32 (n, y, x, 1) each, in order.
    """
    together = stacks[0] if len(stacks) == 1 else np.concatenate(stacks)
    answers = backend.predict(together)[..., None]
    ends = np.cumsum([len(stack) for stack in stacks])[:-1]
    return np.split(answers, ends)
