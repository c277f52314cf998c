"""The Keras float32 network of a bundle: artefacts are made from it and compared with it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from cmbnet.backends.base import BackendInfo, Shape, SlicesBackend
from cmbnet.backends.keras import KerasNetwork, load_keras
from cmbnet.bundle import Artefact, Bundle
from cmbnet.errors import UsageError, require


def load_source(bundle: Bundle) -> Any:
    """Load the Keras model of a bundle, at its saved shape.

    Raises:
        MissingExtra: If keras or tensorflow is not installed.
        UsageError: If the bundle has no Keras artefact in float32.
        BundleError: If it is altered or does not load.
    """
    artefact = _source_artefact(bundle)
    require_tensorflow("to export a model")
    return load_keras(bundle, artefact)


def require_tensorflow(purpose: str) -> None:
    """Refuse to go on without keras on tensorflow.

    Raises:
        MissingExtra: If one of them is not installed.
        UsageError: If Keras is set to another backend, whose exporters differ.
    """
    # Exports run on CPUs; the notes about instruction sets would drown what is printed.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    require("tensorflow", "keras", extra="train", purpose=purpose)
    import keras

    if keras.backend.backend() != "tensorflow":
        raise UsageError(
            f"exports run on Keras' tensorflow backend, got {keras.backend.backend()}: "
            "unset KERAS_BACKEND"
        )


def at_shape(model: Any, shape: Shape) -> Any:
    """Copy the weights into a network of another input size.

    The model has one input (y, x, 3). The shape is rows and columns.

    Raises:
        UsageError: If the network cannot take that size.
    """
    import keras

    if tuple(model.input_shape[1:3]) == shape:
        return model
    tensor = keras.Input(shape=(*shape, 3), dtype="float32", name="stack")
    try:
        copy = keras.models.clone_model(model, input_tensors=tensor)
    except ValueError as error:
        raise UsageError(
            f"the network takes no slices of {shape[0]}x{shape[1]}: {error}"
        ) from error
    copy.set_weights(model.get_weights())
    return copy


def open_reference(bundle: Bundle, shapes: Sequence[Shape], *, reason: str) -> SlicesBackend:
    """Open Keras float32 as a backend of given shapes, whatever shape the file has.

    `shapes` are those of the backend that it is compared with: a network sees the border of its
    crop, so only equal crops compare. Results record `reason`.
    """
    import keras

    model = load_source(bundle)
    source = _source_artefact(bundle)
    artefacts = [
        source.model_copy(update={"shape": (1, *shape, 3), "companions": ()}) for shape in shapes
    ]
    info = BackendInfo(
        name="keras",
        precision="float32",
        runtime=f"keras {keras.__version__} on {keras.backend.backend()}",
        threads=1,
        reason=reason,
    )
    return SlicesBackend(
        artefacts, info, lambda a: KerasNetwork(at_shape(model, (a.shape[1], a.shape[2])))
    )


def _source_artefact(bundle: Bundle) -> Artefact:
    for artefact in bundle.artefacts("keras"):
        if artefact.precision == "float32":
            return artefact
    held = sorted({f"{a.kind}:{a.precision}" for a in bundle.manifest.artefacts})
    raise UsageError(
        f"bundle {bundle.manifest.name} has no keras:float32 artefact to export from; it has "
        f"{', '.join(held) or 'nothing'}; give the bundle that cmbnet train wrote"
    )
