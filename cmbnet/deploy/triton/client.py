"""Send whole scans to a Triton server, and check that a server works."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.backends.triton_connection import Address, ServerRefused, TritonConnection
from cmbnet.deploy.triton import spec
from cmbnet.errors import InputRefused, UsageError
from cmbnet.predict.request import PLAIN, Request
from cmbnet.volume import Volume

DOT_BELOW = 100
"""Upper limit of the values in the dots of the probe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanAnswer:
    """The findings of a server on a scan."""

    mask: NDArray[np.uint8]  # Mask on the grid of the scan, uint8 (z, y, x), 1 in lesions
    labels: NDArray[np.uint16]  # Number of the lesion of each voxel, uint16 (z, y, x)
    lesions: list[dict[str, Any]]  # Rows of the lesion table, as in ``result.json``
    quality: dict[str, Any]  # Result of the quality gate
    result: dict[str, Any]  # The whole of ``result.json``
    # Probabilities, float32 (z, y, x), or None if the request did not want them
    probability: NDArray[np.float32] | None = None


class TritonScanner:
    """A client of the model ``cmbnet`` of a server. Several threads may use it.

    The address is ``triton+grpc://host:port``; see `cmbnet.backends.triton_connection`.

    Raises:
        UsageError: If the address is wrong.
        MissingExtra: If tritonclient is not installed.
    """

    def __init__(self, url: str) -> None:
        self.connection = TritonConnection(Address.parse(url))

    def scan(
        self,
        volume: Volume,
        request: Request = PLAIN,
        *,
        brain_mask: NDArray[Any] | None = None,
    ) -> ScanAnswer:
        """Find the microbleeds of a scan.

        int16 is sent as it is, any other type as float32. Of the request, operating point, `force`
        and `save_probability` are sent.

        Raises:
            InputRefused, UsageError: If `cmbnet.predict.predict_volume` raises it on the server.
            ServerUnavailable: If the server does not answer.
            ServerRefused: For any other error of the server.
        """
        inputs = _inputs(volume, request, brain_mask)
        voxels = volume.data.size
        outputs = {spec.MASK.name: voxels, spec.LABELS.name: 2 * voxels}
        outputs |= {spec.LESIONS.name: 0, spec.QUALITY.name: 0, spec.RESULT.name: 0}
        if request.save_probability:
            outputs[spec.SCAN_PROBABILITY.name] = 4 * voxels
        found = self.connection.infer(spec.SCAN_MODEL, inputs, outputs)
        return ScanAnswer(
            mask=found[spec.MASK.name],
            labels=found[spec.LABELS.name],
            lesions=json.loads(spec.decode_text(found[spec.LESIONS.name])),
            quality=json.loads(spec.decode_text(found[spec.QUALITY.name])),
            result=json.loads(spec.decode_text(found[spec.RESULT.name])),
            probability=found.get(spec.SCAN_PROBABILITY.name),
        )

    def close(self) -> None:
        """Close the connection. Closing again does nothing."""
        self.connection.close()


def _inputs(
    volume: Volume, request: Request, brain_mask: NDArray[Any] | None
) -> dict[str, NDArray[Any]]:
    """Make the tensors of a request."""
    if volume.data.dtype == np.int16:
        inputs: dict[str, NDArray[Any]] = {spec.VOLUME_INT.name: volume.data}
    else:
        inputs = {spec.VOLUME_FLOAT.name: volume.data.astype(np.float32, copy=False)}
    inputs[spec.AFFINE.name] = volume.affine
    inputs[spec.SPACING.name] = np.array(volume.spacing_mm, np.float64)
    inputs[spec.OPERATING_POINT.name] = spec.encode_text(request.operating_point)
    if brain_mask is not None:
        inputs[spec.BRAIN_MASK.name] = (brain_mask != 0).astype(np.uint8)
    if request.force:
        inputs[spec.FORCE.name] = np.array([1], np.uint8)
    return inputs


def check_server(url: str) -> list[str]:
    """Check that a server is ready, has both models with the right tensors, and answers.

    Return a line for each finding.

    Raises:
        ServerUnavailable: If it does not answer.
        ServerRefused: If a model is missing, not ready, has other tensors, or answers a scan of the
            largest size wrongly or not at all.
    """
    scanner = TritonScanner(url)
    try:
        lines = [
            _check_model(scanner.connection, model)
            for model in (spec.NETWORK_MODEL, spec.SCAN_MODEL)
        ]
        start = time.perf_counter()
        probe = _probe()
        answer = _ask_probe(scanner, probe)
        model = answer.result["model"]
        lines.append(
            f"a scan of {'x'.join(map(str, answer.mask.shape))} voxels was answered in "
            f"{time.perf_counter() - start:.2f} s by bundle {model['bundle']} "
            f"({model['precision']}, cmbnet {answer.result['versions']['cmbnet']})"
        )
    finally:
        scanner.close()
    return lines


def _ask_probe(scanner: TritonScanner, probe: Volume) -> ScanAnswer:
    """Send the probe. All of it is brain, so the network runs at its largest shape."""
    address = scanner.connection.address
    whole = np.ones(probe.shape, np.uint8)
    asked = Request(force=True, save_probability=True)
    try:
        answer = scanner.scan(probe, asked, brain_mask=whole)
    except (InputRefused, UsageError) as error:
        raise ServerRefused(
            f"{spec.SCAN_MODEL} on {address} refuses the largest heads: {error}"
        ) from error
    around = np.s_[2:4, 90:160, 100:150]
    probability = np.asarray(answer.probability, np.float32)[around]
    dots = probe.data[around] < DOT_BELOW
    highest, beside = float(probability[dots].max()), float(np.median(probability[~dots]))
    if not highest > beside:
        raise ServerRefused(
            f"{spec.NETWORK_MODEL} on {address} answers black dots with {highest:.3f} and the "
            f"tissue beside them with {beside:.3f}: its network does not run; the server's log may "
            "say why"
        )
    return answer


def _check_model(connection: TritonConnection, model: str) -> str:
    """Check that one model is ready and has the right tensors."""
    metadata = connection.metadata(model)
    if not connection.is_ready([model]):
        raise ServerRefused(f"{model} on {connection.address} is loaded but not ready")
    if model == spec.SCAN_MODEL:
        for kind, tensors in (("inputs", spec.SCAN_INPUTS), ("outputs", spec.SCAN_OUTPUTS)):
            have = {(t["name"], t["datatype"]) for t in metadata[kind]}
            missing = {(t.name, t.data_type) for t in tensors} - have
            if missing:
                raise ServerRefused(
                    f"{model} on {connection.address} lacks the {kind} {sorted(missing)}; it was "
                    "written by another version of cmbnet: export the repository again"
                )
    versions = ", ".join(metadata.get("versions", [])) or "unknown"
    return f"{model} is ready (version {versions}, {metadata.get('platform') or 'python'})"


def _probe() -> Volume:
    """Make a slab of grainy tissue with black dots of 3.6 mm, wider than any head."""
    z, y, x = np.indices((6, 256, 256))
    data = 480 + 4 * ((3 * z + 7 * y + 13 * x) % 11)
    for row, column in ((100, 120), (128, 140), (150, 110)):
        dot = (y - row) ** 2 + (x - column) ** 2 < 3
        data[dot & (z > 1) & (z < 4)] = DOT_BELOW // 10
    affine = np.diag([0.0, 0.0, 0.0, 1.0])
    affine[[0, 1, 2], [2, 1, 0]] = 1.2, 1.2, 3.0
    affine[:3, 3] = -153.0, -153.0, -7.5
    return Volume(data.astype(np.int16), affine, source="probe")
