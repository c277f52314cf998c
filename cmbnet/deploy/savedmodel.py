"""Convert Keras to a TensorFlow SavedModel, and load that for a test."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.backends.base import BackendInfo, SlicesBackend
from cmbnet.bundle import Artefact, Bundle
from cmbnet.errors import BundleError

GRAPH = "saved_model.pb"
FOLDER = "savedmodel"


def to_savedmodel(model: Any) -> dict[str, bytes]:
    """Convert a Keras model.

    Returns:
        The files of the SavedModel by their path below its folder, `GRAPH` among them.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / FOLDER
        model.export(str(folder), format="tf_saved_model", verbose=False)
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }


def open_savedmodel(bundle: Bundle, artefacts: Sequence[Artefact]) -> SlicesBackend:
    """Open SavedModels as a backend, for the parity gate and the bench."""
    import tensorflow as tf

    info = BackendInfo(
        name="savedmodel",
        precision="float32",
        runtime=f"tensorflow {tf.__version__}",
        threads=1,
        reason="export",
    )
    return SlicesBackend(artefacts, info, lambda artefact: _Loaded(bundle, artefact))


class _Loaded:
    """The serving function of a SavedModel."""

    batch = 1

    def __init__(self, bundle: Bundle, artefact: Artefact) -> None:
        import tensorflow as tf

        for entry in (artefact, *artefact.companions):
            bundle.read(entry)  # checks the hash; tensorflow wants the folder
        try:
            self._loaded = tf.saved_model.load(str((bundle.path / artefact.file).parent))
            self._serve = self._loaded.serve
        except (OSError, ValueError, AttributeError) as error:
            raise BundleError(f"{artefact.file} is no SavedModel that loads: {error}") from error

    def __call__(self, stacks: NDArray[np.float32]) -> NDArray[np.float32]:
        answer: NDArray[np.float32] = self._serve(stacks).numpy()
        return answer
