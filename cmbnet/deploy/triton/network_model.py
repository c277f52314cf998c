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
    """The model that Triton calls. `triton_python_backend_utils` exists only in its process."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the network.

        `args` are folder, version and configuration, from Triton.
        """
        parameters = json.loads(args["model_config"])["parameters"]
        threads = int(parameters["threads"]["string_value"])
        folder = Path(args["model_repository"]) / args["model_version"] / "bundle"
        bundle = load_bundle(folder)
        # The repository's author chose it, whatever the parity gate said.
        served = bundle.manifest.artefacts[0]
        name = f"{served.kind}:{served.precision}"
        self._backend: Backend = open_backend(bundle, name, threads=threads or None)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer requests. Those of one call have one shape, and run as one batch."""
        import triton_python_backend_utils as pb_utils

        stacks = [
            to_numpy(pb_utils.get_input_tensor_by_name(request, STACK.name)) for request in requests
        ]
        # Each answer has an error of its own: Triton 2.51 crashes where two answers share one.
        return [
            pb_utils.InferenceResponse([to_tensor(PROBABILITY.name, answer)])
            if not isinstance(answer, CmbnetError)
            else pb_utils.InferenceResponse(
                error=pb_utils.TritonError(fault_text(answer), pb_utils.TritonError.INVALID_ARG)
            )
            for answer in answer_together(self._backend, stacks)
        ]

    def finalize(self) -> None:
        """Close the network."""
        self._backend.close()


def answer_together(
    backend: Backend, stacks: list[NDArray[np.float32]]
) -> list[NDArray[np.float32] | CmbnetError]:
    """Run several requests' stacks as one batch; a fault of one is the answer to that one only.

    Stacks are float32 (n, y, x, 3) each, of one (y, x). Return float32 (n, y, x, 1) each, in order,
    or what was wrong with it.
    """
    try:
        answers = backend.predict(stacks[0] if len(stacks) == 1 else np.concatenate(stacks))
    except CmbnetError as error:
        if len(stacks) == 1:
            return [error]
        return [answer for one in stacks for answer in answer_together(backend, [one])]
    ends = np.cumsum([len(stack) for stack in stacks])[:-1]
    return list(np.split(answers[..., None], ends))
