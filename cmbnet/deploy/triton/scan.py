"""Compute the tensors of an answer from those of a request, without any of Triton's code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.deploy.triton import spec
from cmbnet.errors import InputRefused, UsageError
from cmbnet.predict import Prediction, Request, predict_volume
from cmbnet.volume import Volume

if TYPE_CHECKING:
    from cmbnet.backends import Backend
    from cmbnet.bundle import Bundle

SPACING_TOLERANCE = 1e-3
"""Allowed relative difference between the spacing and the affine's columns."""


def answer_scan(
    tensors: Mapping[str, NDArray[Any]],
    bundle: Bundle,
    backend: Backend,
    *,
    max_voxels: int,
    wanted: Set[str] = frozenset(),
) -> dict[str, NDArray[Any]]:
    """Find the microbleeds of a request.

    `tensors` are arrays by the names of `SCAN_INPUTS`. No `wanted` output means all but the
    probability. Return arrays by the names of `SCAN_OUTPUTS`.

    Raises:
        UsageError: If tensors are missing or do not fit together.
        InputRefused: If the scan cannot be judged.
    """
    names = wanted or {tensor.name for tensor in spec.SCAN_OUTPUTS} - {spec.SCAN_PROBABILITY.name}
    volume = read_volume(tensors, max_voxels)
    mask, point = tensors.get(spec.BRAIN_MASK.name), tensors.get(spec.OPERATING_POINT.name)
    request = Request(
        operating_point="default" if point is None else spec.decode_text(point),
        backend=backend.info.name,
        force=bool(tensors[spec.FORCE.name].ravel()[0]) if spec.FORCE.name in tensors else False,
        save_probability=spec.SCAN_PROBABILITY.name in names,
    )
    prediction = predict_volume(
        volume,
        bundle,
        backend,
        request,
        brain_mask=None if mask is None else _on_grid(volume, mask),
    )
    outputs = _outputs(prediction)
    return {name: outputs[name] for name in outputs if name in names}


def read_volume(tensors: Mapping[str, NDArray[Any]], max_voxels: int) -> Volume:
    """Make the scan of a request.

    `tensors` are arrays by the names of `SCAN_INPUTS`, with at most `max_voxels` voxels.

    Raises:
        UsageError: If there is no volume, or two, or the spacing contradicts the affine.
        InputRefused: If it is too large or holds values that are not finite.
    """
    given = [t.name for t in (spec.VOLUME_FLOAT, spec.VOLUME_INT) if t.name in tensors]
    if len(given) != 1:
        raise UsageError(
            f"one of {spec.VOLUME_FLOAT.name} and {spec.VOLUME_INT.name} is required, "
            f"got {' and '.join(given) or 'neither'}"
        )
    if spec.AFFINE.name not in tensors:
        raise UsageError(f"{spec.AFFINE.name} is required: (z, y, x, 1) to RAS+ mm, 4x4")
    data = tensors[given[0]]
    if data.ndim != 3 or 0 in data.shape:
        raise UsageError(f"{given[0]} of shape (z, y, x) is required, got {data.shape}")
    if data.size > max_voxels:
        raise InputRefused(f"at most {max_voxels} voxels are taken, got {data.size}: {data.shape}")
    # The arrays of a request are views of the server's memory, and read-only ones at that.
    values = data.astype(np.float32)
    faulty = values.size - int(np.count_nonzero(np.isfinite(values)))
    if faulty:
        raise InputRefused(f"{given[0]} must be finite, got {faulty} voxels of NaN or infinity")
    volume = Volume(values, np.array(tensors[spec.AFFINE.name], np.float64), source="request")
    _check_spacing(volume, tensors.get(spec.SPACING.name))
    return volume


def _check_spacing(volume: Volume, spacing: NDArray[Any] | None) -> None:
    if spacing is not None and not np.allclose(
        np.asarray(spacing, np.float64), volume.spacing_mm, rtol=SPACING_TOLERANCE, atol=0
    ):
        raise UsageError(
            f"{spec.SPACING.name} {np.asarray(spacing).tolist()} contradicts the affine, whose "
            f"spacing (z, y, x) is {[round(mm, 4) for mm in volume.spacing_mm]} mm"
        )


def _on_grid(volume: Volume, mask: NDArray[Any]) -> Volume:
    if mask.shape != volume.shape:
        raise UsageError(
            f"{spec.BRAIN_MASK.name} must have the volume's shape {volume.shape}, got {mask.shape}"
        )
    return volume.with_data(mask)


def _outputs(prediction: Prediction) -> dict[str, NDArray[Any]]:
    from cmbnet.report.result import build_result

    result = build_result(prediction, case="request")
    document = result.model_dump(mode="json")
    return {
        spec.MASK.name: prediction.mask.astype(np.uint8),
        spec.LABELS.name: np.ascontiguousarray(prediction.found.labels, np.uint16),
        spec.LESIONS.name: _json(document["lesions"]),
        spec.QUALITY.name: _json(document["quality"]),
        spec.RESULT.name: _json(document),
        spec.SCAN_PROBABILITY.name: np.ascontiguousarray(prediction.probability.data, np.float32),
    }


def _json(value: Any) -> NDArray[np.uint8]:
    return spec.encode_text(json.dumps(value, allow_nan=False))
