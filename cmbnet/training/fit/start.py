"""Starting from the network of a bundle instead of from random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.backends.keras import load_keras
from cmbnet.bundle import load_bundle
from cmbnet.errors import UsageError
from cmbnet.training.fit.recipe import Recipe


def with_context_of_bundle(recipe: Recipe) -> Recipe:
    """Give a recipe the distance of slices of the bundle from which it starts.

    Args:
        recipe: The recipe. Without a start from a bundle, it stays unchanged.

    Raises:
        UsageError: If the recipe states another distance than the bundle.
        BundleError: If there is no such bundle.
    """
    if recipe.start_from is None:
        return recipe
    wanted, given = load_bundle(recipe.start_from).context.target_mm, recipe.sampling.context_mm
    if "context_mm" in recipe.sampling.model_fields_set and given != wanted:
        raise UsageError(
            f"the network of {recipe.start_from} looks at {_distance(wanted)}, the recipe's "
            f"sampling.context_mm asks for {_distance(given)}: leave it out to keep what the "
            "network learned"
        )
    sampling = recipe.sampling.model_copy(update={"context_mm": wanted})
    return recipe.model_copy(update={"sampling": sampling})


def _distance(context_mm: float | None) -> str:
    return "adjacent slices" if context_mm is None else f"slices {context_mm:g} mm apart"


def weights_of_bundle(
    name: str, model: Any, preprocess: dict[str, Any]
) -> list[NDArray[np.float32]]:
    """Read the weights of a bundle's Keras file, for another model of the same shape.

    Args:
        name: Folder of a bundle, or "default".
        model: The network that starts from them.
        preprocess: Settings of preprocessing of the training scans, `PreprocessRecipe.to_dict`.

    Raises:
        UsageError: If the bundle has no Keras file, its network has another shape, or it needs
            other preprocessing.
        BundleError: If the bundle is altered.
    """
    bundle = load_bundle(name)
    found = bundle.artefacts("keras")
    if not found:
        raise UsageError(
            f"the bundle {name} has no Keras file to start from: export it from its run again"
        )
    wanted = bundle.recipe.to_dict()
    if preprocess != wanted:
        differing = sorted(k for k in wanted if wanted[k] != preprocess.get(k))
        raise UsageError(
            f"the bundle {name} wants scans prepared with { ({k: wanted[k] for k in differing}) }: "
            "set preprocess in the recipe accordingly and prepare the scans again"
        )
    weights = [np.asarray(w, np.float32) for w in load_keras(bundle, found[0]).get_weights()]
    have, need = [w.shape for w in weights], [tuple(w.shape) for w in model.get_weights()]
    if have != need:
        channels = bundle.manifest.training.details.get("channels", "unknown")
        raise UsageError(
            f"the network of {name} (channels {channels}) has another shape than the recipe's "
            "model: set model.preset, channels, up_kernel and skip as it was trained with"
        )
    return weights
