"""Keras on the configured Keras backend. It is the reference, and slow to start."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.backends.base import BackendInfo, SlicesBackend
from cmbnet.bundle import Artefact, Bundle
from cmbnet.bundle.manifest import MAX_ARTEFACT_BYTES
from cmbnet.errors import BundleError


def open_keras(
    bundle: Bundle, artefacts: Sequence[Artefact], *, threads: int, reason: str
) -> SlicesBackend:
    """Open the Keras artefacts of one precision, one per shape."""
    import keras

    info = BackendInfo(
        name="keras",
        precision=artefacts[0].precision,
        runtime=f"keras {keras.__version__} on {keras.backend.backend()}",
        # The Keras backend decides on its threads once per process, not per model.
        threads=threads,
        reason=reason,
    )
    return SlicesBackend(
        artefacts, info, lambda a: KerasNetwork(load_keras(bundle, a), a.shape[0] or 1)
    )


def load_keras(bundle: Bundle, artefact: Artefact) -> Any:
    """Load the Keras model of a bundle, which may come from anywhere.

    Raises:
        BundleError: If the file was altered, is not a sound archive, or is no model.
    """
    import keras

    _require_sound_archive(bundle.read(artefact), artefact.file)
    try:
        # safe_mode refuses lambdas, which would be code from the file.
        return keras.saving.load_model(bundle.path / artefact.file, compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError, KeyError) as error:
        raise BundleError(f"{artefact.file} is no model that Keras loads: {error}") from error


def _require_sound_archive(content: bytes, file: str) -> None:
    """Check a ``.keras`` file, which is a zip archive, before Keras unpacks it.

    Raises:
        BundleError: If it is no archive, if an entry would leave its folder, or if it is too large.
    """
    try:
        entries = zipfile.ZipFile(io.BytesIO(content)).infolist()
    except zipfile.BadZipFile as error:
        raise BundleError(f"{file} is no model that Keras loads: {error}") from error
    for entry in entries:
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in entry.filename:
            raise BundleError(
                f"{file} holds {entry.filename!r}, which would be unpacked outside its folder; "
                "do not use this bundle"
            )
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > MAX_ARTEFACT_BYTES:
        raise BundleError(
            f"{file} unpacks to {unpacked} bytes, at most {MAX_ARTEFACT_BYTES} are allowed; "
            "do not use this bundle"
        )


class KerasNetwork:
    """A Keras model as a `cmbnet.backends.base.Network`, compiled once for its batch.

    Args:
        model: Keras model of stacks (n, y, x, 3).
        batch: Number of slices in a call.
    """

    def __init__(self, model: Any, batch: int = 1) -> None:
        self.batch = batch
        self._model = model

    def __call__(self, stacks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute float32 (batch, y, x, 1) from float32 (batch, y, x, 3)."""
        # Compiled by whatever Keras runs on; calling the model runs layer after layer.
        return np.asarray(self._model.predict_on_batch(stacks), np.float32)
