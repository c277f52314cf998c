"""A slice with a known answer. It exposes a runtime that fails without saying so."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cmbnet.backends.base import Shape
from cmbnet.errors import BundleError

BLOCKS = 4
"""The slice has 4 x 4 blocks. The highest probability in each block makes the answer."""

TOLERANCE = 0.25
"""Largest accepted difference of a block. A precision costs far less, and a missed dot far more."""

_DOTS = ((1, 1, 2.0), (1, 3, 2.5), (2, 2, 3.0), (3, 1, 3.5))
"""Row and column of a block, and the radius in pixels of the dot in its middle."""


def probe_stack(shape: Shape) -> NDArray[np.float32]:
    """Make a stack of grainy tissue with black dots in the middle slice: float32 (1, y, x, 3).

    Args:
        shape: Rows and columns of the stack.
    """
    y, x, channel = np.indices((*shape, 3))
    stack: NDArray[np.float32] = np.empty((1, *shape, 3), np.float32)
    stack[0] = 0.58 + 0.004 * ((7 * y + 13 * x + 5 * channel) % 11)
    for row, column, radius in _DOTS:
        far_y = y - (2 * row + 1) * shape[0] // (2 * BLOCKS)
        far_x = x - (2 * column + 1) * shape[1] // (2 * BLOCKS)
        stack[0, (far_y**2 + far_x**2 <= radius**2) & (channel == 1)] = 0.0
    return stack


def fingerprint(answer: NDArray[np.float32]) -> str:
    """Shorten a network's answer to the probe, so that it fits into a manifest.

    Args:
        answer: Probabilities of shape (y, x).

    Examples:
        >>> fingerprint(np.eye(4, dtype=np.float32)).split()[:5]
        ['1.000', '0.000', '0.000', '0.000', '0.000']
    """
    return " ".join(f"{value:.3f}" for value in _highest(answer))


def require_known_answer(answers: NDArray[np.float32], known: str, file: str) -> None:
    """Refuse a network whose answer to the probe differs from that of its original.

    Args:
        answers: Answers to the probe, probabilities (n, y, x), one for each part that may fail.
        known: `fingerprint` of the right answer.
        file: File of the network, for the message.

    Raises:
        BundleError: If an answer differs. It names the block that differs most.
    """
    try:
        wanted = np.array(known.split(), np.float64).reshape(BLOCKS**2)
    except ValueError as error:
        raise BundleError(f"{file} says {known!r} about its probe; export it again") from error
    got = np.array([_highest(answer) for answer in answers])
    worst = np.unravel_index(np.abs(got - wanted).argmax(), got.shape)
    if not abs(got[worst] - wanted[worst[1]]) <= TOLERANCE:
        raise BundleError(
            f"{file} answers a known slice with {got[worst]:.3f} where {wanted[worst[1]]:.3f} is "
            "right: it does not compute here what it was made to; export it again on this machine"
        )


def _highest(answer: NDArray[np.float32]) -> list[float]:
    rows = np.array_split(answer, BLOCKS, axis=0)
    return [float(block.max()) for part in rows for block in np.array_split(part, BLOCKS, axis=1)]
