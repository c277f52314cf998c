"""SWI from magnitude and phase, for data whose SWI was not kept.

Haacke, Xu, Cheng, Reichenbach, Magn Reson Med 2004: the magnitude is multiplied with a mask that
falls from 1 at phase 0 to 0 at pi for the phase of veins.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmbnet.errors import InputRefused
from cmbnet.phase.local import smooth, without_background
from cmbnet.phase.sign import ScanSign, scan_sign
from cmbnet.phase.units import FloatArray, Phase, read_phase
from cmbnet.volume import Volume

BACKGROUND_MM: Final = 6.0
"""Width of the background that is removed: phase of veins and nuclei stays."""

POWER: Final = 4
"""Times that the mask is multiplied in."""

FLAT: Final = 0.8
"""Length of the mean direction of the phase of tissue, 0 to 1, from which it has no background."""

HEAD_SHARE: Final = 0.2
CORE_MM: Final = 8.0
"""Tissue is what is brighter than this share of the bright voxels; this much of its rim, which
holds skull and air, does not help to find the sign."""


def susceptibility_weighted(
    magnitude: Volume, phase: Volume, *, blood: Literal["auto", "positive", "negative"] = "auto"
) -> tuple[Volume, ScanSign, Phase]:
    """Make an SWI.

    Args:
        magnitude: Gradient-echo magnitude.
        phase: Its phase, in any unit, on the same grid.
        blood: Sign of the phase of veins along the field; "auto" finds it, which needs a brain.

    Returns:
        The SWI, float32, and the sign and the phase that it was made with.

    Raises:
        PhaseRefused: If the phase cannot be trusted.
        InputRefused: If the sign of the phase cannot be found.
    """
    read = read_phase(phase, magnitude)
    image = np.maximum(magnitude.data.astype(np.float32), 0)
    if blood == "auto":
        sign = scan_sign(read, magnitude, _core(image, magnitude))
    else:
        sign = ScanSign(1 if blood == "positive" else -1, 0, 1.0)
    if sign.sign == 0:
        raise InputRefused(
            f"a phase whose sign can be found is required in {phase.source}, but of {sign.votes} "
            f"parts of the brain {sign.agreeing:.0%} agree; is it of this acquisition?",
            argument="blood",
        )
    turned = sign.sign * _local_phase(image, read, magnitude)
    mask = np.clip(1 - turned / np.float32(np.pi), 0, 1) ** POWER
    return magnitude.with_data((image * mask).astype(np.float32)), sign, read


def _local_phase(image: FloatArray, phase: Phase, volume: Volume) -> FloatArray:
    """Phase without background, -pi to pi; what the scanner filtered already is left as it is."""
    radians = phase.radians()
    tissue = image > float(np.percentile(image, 98)) * HEAD_SHARE
    if tissue.any() and abs(np.exp(1j * radians[tissue]).mean()) > FLAT:
        return radians
    weight = (image / max(float(image.max()), 1e-12)).astype(np.float32)
    whole = (slice(None), slice(None), slice(None))
    local = without_background(weight, phase, whole, BACKGROUND_MM, volume)
    angle: FloatArray = np.angle(local)
    return angle


def _core(image: FloatArray, volume: Volume) -> NDArray[np.bool_]:
    """The head without its rim."""
    level = float(np.percentile(image, 98)) * HEAD_SHARE
    head = smooth((image > level).astype(np.float32), 3.0, volume) > 0.5
    depth = ndimage.distance_transform_edt(head, sampling=volume.spacing_mm)
    core: NDArray[np.bool_] = depth > CORE_MM
    return core


def minimum_projection(swi: Volume, slices: int) -> Volume:
    """Return the minimum of neighbouring slices, for viewing alone: it smears lesions.

    Args:
        swi: The SWI.
        slices: Number of slices, across the first axis of the array.
    """
    lowest: NDArray[Any] = ndimage.minimum_filter1d(swi.data, slices, axis=0)
    return swi.with_data(lowest)
