"""Keras itself, on whatever Keras backend is configured: slow, and the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.backends.base import BackendInfo, SlicesBackend
from cmbnet.bundle import Artefact, Bundle
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
    return SlicesBackend(artefacts, info, lambda a: _Model(bundle, a))


class _Model:
    """A loaded Keras model."""

    def __init__(self, bundle: Bundle, artefact: Artefact) -> None:
        import keras

        bundle.read(artefact)  # checks the hash; Keras wants a path
        self.batch = artefact.shape[0] or 1
        try:
            # safe_mode refuses lambdas, which would be code from the file.
            self._model: Any = keras.saving.load_model(
                bundle.path / artefact.file, compile=False, safe_mode=True
            )
        except (ValueError, TypeError, OSError, KeyError) as error:
            raise BundleError(f"{artefact.file} is no model that Keras loads: {error}") from error

    def __call__(self, stacks: NDArray[np.float32]) -> NDArray[np.float32]:
        import keras

        answer: NDArray[np.float32] = np.asarray(
            keras.ops.convert_to_numpy(self._model(stacks, training=False)), np.float32
        )
        return answer
