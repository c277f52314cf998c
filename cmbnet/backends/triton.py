"""The network of a Triton server, as a backend. Scans are prepared here, and the server infers."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.backends.base import BackendInfo, Shape, require_stacks
from cmbnet.backends.triton_connection import Address, ServerRefused, TritonConnection
from cmbnet.bundle import Bundle
from cmbnet.errors import UsageError

MODEL = "cmbnet_unet"
INPUT = "stack"
OUTPUT = "probability"
MAX_BATCH = 32
"""Largest batch of the repositories that cmbnet writes."""


def open_triton(bundle: Bundle, url: str) -> TritonBackend:
    """Connect to the network of a server.

    Args:
        bundle: Bundle whose shapes are used if the server accepts any shape.
        url: Address of the server, ``triton+grpc://host:port``; see
            `cmbnet.backends.triton_connection`.

    Raises:
        UsageError: If the address is wrong, or the server's network has other tensors.
        ServerUnavailable: If the server does not answer.
        ServerRefused: If the server has no such model.
    """
    connection = TritonConnection(Address.parse(url))
    try:
        shapes = _shapes(connection.metadata(MODEL), bundle)
    except BaseException:
        connection.close()
        raise
    return TritonBackend(connection, shapes)


class TritonBackend:
    """A `cmbnet.backends.Backend` on the other end of a connection.

    Args:
        connection: Connection to the server. It is closed with the backend.
        shapes: Rows and columns that the server accepts, the smallest first.
    """

    def __init__(self, connection: TritonConnection, shapes: tuple[Shape, ...]) -> None:
        self.shapes = shapes
        self.info = BackendInfo(
            name="triton",
            precision="as served",
            runtime=f"tritonclient {version('tritonclient')}",
            threads=1,
            reason=f"asked for: {connection.address}",
        )
        self._connection = connection
        self._closed = False

    def predict(self, stacks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute probabilities (n, y, x) of stacks (n, y, x, 3); see `Backend.predict`."""
        if self._closed:
            raise UsageError("triton was closed; open the backend again")
        require_stacks(stacks, self.shapes, "triton")
        answers = np.empty(stacks.shape[:3], np.float32)
        for start in range(0, len(stacks), MAX_BATCH):
            part = slice(start, start + MAX_BATCH)
            answers[part] = self._ask(stacks[part])
        return answers

    def _ask(self, stacks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Send one request."""
        size = int(np.prod(stacks.shape[:3])) * stacks.itemsize
        answer = self._connection.infer(MODEL, {INPUT: stacks}, {OUTPUT: size})[OUTPUT]
        if answer.shape != (*stacks.shape[:3], 1) or not np.isfinite(answer.sum(dtype=np.float64)):
            raise ServerRefused(
                f"finite probabilities of shape {(*stacks.shape[:3], 1)} are required, "
                f"{self._connection.address} answered with shape {answer.shape}"
            )
        probabilities: NDArray[np.float32] = answer[..., 0]
        return probabilities

    def close(self) -> None:
        """Close the connection. Closing again does nothing."""
        self._closed = True
        self._connection.close()


def _shapes(metadata: dict[str, Any], bundle: Bundle) -> tuple[Shape, ...]:
    """Return the rows and columns that the server's network accepts.

    Raises:
        UsageError: If its tensors are not those of cmbnet.
    """
    inputs = {tensor["name"]: [int(n) for n in tensor["shape"]] for tensor in metadata["inputs"]}
    outputs = {tensor["name"] for tensor in metadata["outputs"]}
    shape = inputs.get(INPUT, [])
    if len(shape) != 4 or shape[3] != 3 or OUTPUT not in outputs:
        raise UsageError(
            f"the server's {MODEL} must take {INPUT} (n, y, x, 3) and answer with {OUTPUT}, "
            f"it has {inputs} and {sorted(outputs)}"
        )
    if shape[1] > 0:
        return ((shape[1], shape[2]),)
    known = {(a.shape[1], a.shape[2]) for a in bundle.manifest.artefacts}
    return tuple(sorted(known, key=lambda one: one[0] * one[1]))
