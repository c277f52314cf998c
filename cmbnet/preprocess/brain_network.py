"""A brain mask by a small network. It holds what the dura encloses, without bone and dura.

The network looks at cells of 3 mm, eight of them (2 x 2 x 2) as the channels of one place, so
that its arithmetic happens on a grid of 6 mm and its answer has the detail of 3 mm. It was
trained on synthetic scans alone (``cmbnet train-brain``).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cmbnet.errors import BundleError
from cmbnet.preprocess.brain import CoarseBrain, cells_of, filled, largest_piece
from cmbnet.threads import MOST_THREADS, processors

if TYPE_CHECKING:
    from numpy.typing import NDArray

CELL_MM: Final = 3.0
GROUP: Final = 2
"""Cells along each axis that are the channels of one place."""

PLANE_MULTIPLE: Final = 16
"""Cells in the plane are filled up to a multiple: three halvings of the grid of groups."""

LEAST_CELLS_Z: Final = 8
"""Fewer cells across slices are filled up: the network looks up to four groups up and down."""

BRIGHT_PERCENTILE: Final = 99.0
DARK_PERCENTILE: Final = 1.0
BRIGHTEST: Final = 1.5
"""Cells are clipped at this multiple of the bright percentile."""

LIKELY: Final = 0.3
"""A cell is brain from this probability on. On eight phantoms 0.5, 0.4, 0.3 and 0.2 give a mean
Dice of 0.967, 0.973, 0.974, 0.971 and 0.95, 0.97, 1.00, 1.03 times the true volume."""

NETWORK_FILE: Final = Path(__file__).with_name("brain-1.tflite")
"""Never replaced under its name, for models were trained with the masks that it makes."""


def network_step(spacing_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return the number of voxels in a cell along z, y, x."""
    z, y, x = (CELL_MM / spacing for spacing in spacing_mm)
    return z, y, x


def network_cells(
    canonical: NDArray[np.float32], spacing_mm: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Bring a scan of any unit onto the grid of the network, float32, 0 to `BRIGHTEST`."""
    cells = cells_of(canonical, network_step(spacing_mm))
    every_other = cells[::2, ::2, ::2]
    dark, bright = np.percentile(every_other, (DARK_PERCENTILE, BRIGHT_PERCENTILE))
    scale = float(bright - dark) or float(np.ptp(cells)) or 1.0
    cells -= np.float32(dark)
    cells *= np.float32(1 / scale)
    return np.clip(cells, 0, BRIGHTEST, out=cells)


def grouped(cells: NDArray[Any]) -> NDArray[Any]:
    """Turn cells (z, y, x) into groups (z/2, y/2, x/2, 8), with 0 added at the far ends."""
    multiples = (GROUP, PLANE_MULTIPLE, PLANE_MULTIPLE)
    least = (LEAST_CELLS_Z, 0, 0)
    fill = [
        (0, max(-(-n // multiple) * multiple, low) - n)
        for n, multiple, low in zip(cells.shape, multiples, least, strict=True)
    ]
    padded = np.pad(cells, fill)
    z, y, x = (n // GROUP for n in padded.shape)
    groups = padded.reshape(z, GROUP, y, GROUP, x, GROUP).transpose(0, 2, 4, 1, 3, 5)
    return np.ascontiguousarray(groups).reshape(z, y, x, GROUP**3)


def ungrouped(groups: NDArray[Any], shape: tuple[int, int, int]) -> NDArray[Any]:
    """Undo `grouped`, and crop to a shape."""
    z, y, x, _ = groups.shape
    cells = groups.reshape(z, y, x, GROUP, GROUP, GROUP).transpose(0, 3, 1, 4, 2, 5)
    whole = cells.reshape(z * GROUP, y * GROUP, x * GROUP)
    return whole[: shape[0], : shape[1], : shape[2]]


def learned_brain(
    canonical: NDArray[np.float32], spacing_mm: tuple[float, float, float]
) -> CoarseBrain:
    """Estimate where the brain is.

    Args:
        canonical: float32 (z, y, x) in canonical orientation, any intensity scale.
        spacing_mm: Spacing along z, y, x.

    Returns:
        The mask. If the network finds no brain, `found` is False, and the mask covers all that has
        signal, so that it is never empty.

    Raises:
        BundleError: If the network in the package cannot be run.
    """
    cells = network_cells(canonical, spacing_mm)
    share = _probability(cells)
    return mask_of(share, cells, network_step(spacing_mm))


def mask_of(
    share: NDArray[np.float32], cells: NDArray[np.float32], step: tuple[float, float, float]
) -> CoarseBrain:
    """Return the largest piece of what the network took for brain, without holes."""
    likely = share >= LIKELY
    if not likely.any() or not cells.any():
        signal = (cells > 0).astype(np.float32)
        return CoarseBrain(signal if signal.any() else np.ones_like(cells), step, found=False)
    piece = largest_piece(likely)
    inside = np.where(piece | ~likely, np.minimum(share / (2 * LIKELY), 1), 0)
    holes = filled(piece, in_slices=False) & ~piece
    inside[holes] = 1
    return CoarseBrain(
        inside.astype(np.float32), step, found=True,
        certainty=_certainty(share), largest_share=float(piece.sum() / likely.sum()),
    )  # fmt: skip


def _certainty(share: NDArray[np.float32]) -> float:
    """How sure the network is of its mask: Dice of the probabilities and the mask they make."""
    mask = share >= LIKELY
    return float(2 * share[mask].sum() / (share.sum() + mask.sum()))


def _probability(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """The answer of the network for every cell."""
    from ai_edge_litert.interpreter import Interpreter

    groups = grouped(cells)
    try:
        interpreter = Interpreter(
            model_content=_network(), num_threads=min(processors(), MOST_THREADS)
        )
        (source,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
        interpreter.resize_tensor_input(source["index"], groups.shape)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise BundleError(
            f"{NETWORK_FILE} is no LiteRT model that runs here: {error}; install cmbnet again"
        ) from error
    interpreter.set_tensor(source["index"], groups)
    interpreter.invoke()
    share: NDArray[np.float32] = ungrouped(interpreter.get_tensor(answer["index"]), cells.shape)
    return share


@lru_cache(maxsize=1)
def _network() -> bytes:
    try:
        return NETWORK_FILE.read_bytes()
    except OSError as error:
        raise BundleError(
            f"the network of the brain mask is missing: {NETWORK_FILE}; install cmbnet again"
        ) from error
