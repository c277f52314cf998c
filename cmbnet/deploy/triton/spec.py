"""The tensors of both Triton models.

``config.pbtxt``, the server, the client and ``cmbnet triton check`` all read this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cmbnet.backends.triton import INPUT, MODEL, OUTPUT

DataType = Literal["UINT8", "UINT16", "INT16", "FP32", "FP64"]
"""Triton's names of types."""

NETWORK_MODEL = MODEL
SCAN_MODEL = "cmbnet"


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output."""

    name: str  # Name in requests
    data_type: DataType  # Triton's name of the type
    # Shape, in which -1 is free. The network's tensors also have a batch dimension.
    shape: tuple[int, ...]
    optional: bool = False  # Whether a request may omit it

    @property
    def config_type(self) -> str:
        """Return the name of the type in ``config.pbtxt``."""
        return f"TYPE_{self.data_type}"


STACK = Tensor(INPUT, "FP32", (-1, -1, 3))
PROBABILITY = Tensor(OUTPUT, "FP32", (-1, -1, 1))

VOLUME_FLOAT = Tensor("VOLUME_FP32", "FP32", (-1, -1, -1), optional=True)
VOLUME_INT = Tensor("VOLUME_INT16", "INT16", (-1, -1, -1), optional=True)
AFFINE = Tensor("AFFINE", "FP64", (4, 4))
SPACING = Tensor("SPACING_MM", "FP64", (3,), optional=True)
BRAIN_MASK = Tensor("BRAIN_MASK", "UINT8", (-1, -1, -1), optional=True)
OPERATING_POINT = Tensor("OPERATING_POINT", "UINT8", (-1,), optional=True)
FORCE = Tensor("FORCE", "UINT8", (1,), optional=True)

SCAN_INPUTS = (
    VOLUME_FLOAT,
    VOLUME_INT,
    AFFINE,
    SPACING,
    BRAIN_MASK,
    OPERATING_POINT,
    FORCE,
)
"""Arrays are (z, y, x); the affine maps (z, y, x, 1) to RAS+ mm. One of the volumes is required;
the spacing, if given, must agree with the affine. The operating point is UTF-8 text; FORCE is 1 to
overrule the quality gate."""

MASK = Tensor("MASK", "UINT8", (-1, -1, -1))
LABELS = Tensor("LABELS", "UINT16", (-1, -1, -1))
LESIONS = Tensor("LESIONS", "UINT8", (-1,))
QUALITY = Tensor("QUALITY", "UINT8", (-1,))
RESULT = Tensor("RESULT", "UINT8", (-1,))
SCAN_PROBABILITY = Tensor("PROBABILITY", "FP32", (-1, -1, -1))

SCAN_OUTPUTS = (MASK, LABELS, LESIONS, QUALITY, RESULT, SCAN_PROBABILITY)
"""On the grid of the volume. LESIONS, QUALITY and RESULT are JSON in UTF-8: parts of
``result.json`` and the whole of it. PROBABILITY travels only where a request asks for it."""


def encode_text(text: str) -> NDArray[np.uint8]:
    """Make a tensor of a text.

    Examples:
        >>> decode_text(encode_text("balanced"))
        'balanced'
    """
    return np.frombuffer(text.encode(), np.uint8)


def decode_text(tensor: NDArray[Any]) -> str:
    """Read the text of a tensor. Bytes that are not UTF-8 are replaced."""
    return tensor.tobytes().decode("utf-8", "replace")
