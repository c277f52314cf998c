"""Starting from the network of a bundle instead of from random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.backends.keras import load_keras
from cmbnet.bundle import Artefact, Bundle, load_bundle
from cmbnet.errors import UsageError
from cmbnet.io.settings import FrozenModel
from cmbnet.model.files import config_in
from cmbnet.preprocess import PreprocessRecipe
from cmbnet.training.fit.recipe import ModelSettings, PreprocessSettings, Recipe


def with_start(recipe: Recipe) -> Recipe:
    """Give a recipe all that the bundle fixes from which it starts.

    These are the shape of the network, the distance of its slices and the preprocessing.
    Without a start from a bundle, it stays unchanged.

    Raises:
        UsageError: If the recipe states something else than the bundle, the bundle has no Keras
            file, or a share of no start is wanted.
        BundleError: If there is no such bundle, or its network is none of `cmbnet.model`.
    """
    if recipe.start_from is None:
        if recipe.start_share > 0.0:
            raise UsageError("start_share needs start_from, the bundle that it is a share of")
        return recipe
    bundle = load_bundle(recipe.start_from)
    network = config_in(bundle.read(_keras_file(bundle)))
    learned = {name: getattr(network, name) for name in ("channels", "up_kernel", "skip")}
    asked = recipe.model.config()
    shaped = recipe.model.model_fields_set - {"lesion_prior"}
    stated = {name: getattr(asked, name) for name in learned if shaped}
    _refuse_others(recipe, "model", learned, stated)
    prepared = {name: getattr(bundle.recipe, name) for name in PreprocessSettings.model_fields}
    _refuse_others(recipe, "preprocess", prepared, _stated(recipe.preprocess))
    slices = {"context_mm": bundle.context.target_mm}
    _refuse_others(recipe, "sampling", slices, _stated(recipe.sampling))
    model = ModelSettings(**learned | {"lesion_prior": recipe.model.lesion_prior})
    return recipe.model_copy(
        update={
            "model": model,
            "preprocess": PreprocessSettings(**prepared),
            "sampling": recipe.sampling.model_copy(update=slices),
        }
    )


def preprocessing_of(recipe: Recipe) -> PreprocessRecipe:
    """Return all settings of preprocessing: those of the bundle from which a recipe starts."""
    if recipe.start_from is None:
        return recipe.preprocess.recipe()
    return load_bundle(recipe.start_from).recipe


def _stated(settings: FrozenModel) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.model_fields_set}


def _refuse_others(
    recipe: Recipe, section: str, fixed: dict[str, Any], stated: dict[str, Any]
) -> None:
    """Refuse a recipe that states another value than the bundle has."""
    for name, value in fixed.items():
        if name in stated and stated[name] != value:
            raise UsageError(
                f"{section}.{name} of the recipe must be that of the bundle {recipe.start_from}, "
                f"{_words(name, value)}, got {_words(name, stated[name])}: leave it out to keep "
                "what the network learned"
            )


def _words(name: str, value: Any) -> str:
    if name != "context_mm":
        return str(value)
    return "adjacent slices" if value is None else f"slices {value:g} mm apart"


def _keras_file(bundle: Bundle) -> Artefact:
    found = bundle.artefacts("keras")
    if not found:
        raise UsageError(
            f"the bundle {bundle.path} has no Keras file to start from: export it from its run "
            "again"
        )
    return found[0]


def weights_of_bundle(name: str, preprocess: dict[str, Any]) -> list[NDArray[np.float32]]:
    """Read the weights of a bundle's Keras file.

    `name` is a folder or "default"; `preprocess` is `PreprocessRecipe.to_dict` of the training.

    Raises:
        UsageError: If the bundle has no Keras file, or needs other preprocessing.
        BundleError: If the bundle is altered.
    """
    bundle = load_bundle(name)
    wanted = bundle.recipe.to_dict()
    if preprocess != wanted:
        differing = sorted(k for k in wanted if wanted[k] != preprocess.get(k))
        raise UsageError(
            f"the bundle {name} wants scans prepared with { ({k: wanted[k] for k in differing}) }: "
            "prepare the scans again, with a recipe that starts from it"
        )
    network = load_keras(bundle, _keras_file(bundle))
    return [np.asarray(weight, np.float32) for weight in network.get_weights()]
