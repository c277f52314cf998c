from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmbnet.bundle import Bundle, NewArtefact, write_bundle
from cmbnet.errors import UsageError
from cmbnet.model import ModelConfig
from cmbnet.model.files import save_model
from cmbnet.model.unet import build_unet
from cmbnet.slices import SliceContext
from cmbnet.training.data.reader import Cache
from cmbnet.training.fit.checkpoint import load_state
from cmbnet.training.fit.loop import train
from cmbnet.training.fit.recipe import load_recipe, parse_recipe
from cmbnet.training.fit.run_files import RECIPE as RECIPE_FILE
from cmbnet.training.fit.start import weights_of_bundle, with_context_of_bundle
from tests.helpers.tiny_bundle import spec

CONFIG = ModelConfig(channels=(4, 4, 4, 4), up_kernel=1, skip="add")
RECIPE: dict[str, Any] = {
    "name": "finetune",
    "model": {"preset": "small", "channels": [4, 4, 4, 4]},
    "sampling": {"crop_px": 32, "batch_size": 4, "shift_px": 4},
    "stop": {"epochs": 1, "steps_per_epoch": 1},
    "validation": {"slices": 2},
    "optimiser": {"learning_rate": 1e-9},
}


@pytest.fixture(scope="module")
def bundle(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle that holds the Keras file of a network of random weights."""
    from cmbnet.preprocess import PreprocessRecipe

    folder = tmp_path_factory.mktemp("b")
    save_model(build_unet(CONFIG, (112, 112, 3), seed=7), CONFIG, folder / "m.keras")
    artefact = NewArtefact(
        file="model.keras",
        content=(folder / "m.keras").read_bytes(),
        kind="keras",
        precision="float32",
        shape=(1, 112, 112, 3),
    )
    recipe = PreprocessRecipe.from_dict(cache.preprocess)
    three_mm = spec(recipe=recipe, context=SliceContext(target_mm=3.0))
    return write_bundle(folder / "bundle", spec=three_mm, artefacts=[artefact])


def test_training_starts_from_the_weights_of_the_bundle(
    bundle: Bundle, cache: Cache, tmp_path: Path
) -> None:
    """At a rate of nearly nothing they stay what they were."""
    from cmbnet.model.files import load_model

    recipe = parse_recipe(RECIPE | {"start_from": str(bundle.path)}, source="test")
    train(recipe, cache, cache, tmp_path / "r")
    wanted = build_unet(CONFIG, (112, 112, 3), seed=7).trainable_weights
    trained = load_model(tmp_path / "r" / "last.keras").trainable_weights
    for one, two in zip(trained, wanted, strict=True):
        np.testing.assert_allclose(one.numpy(), two.numpy(), atol=1e-6)


def test_a_share_of_the_first_weights_is_kept(bundle: Bundle, cache: Cache, tmp_path: Path) -> None:
    from cmbnet.model.files import load_model

    changes = {
        "start_from": str(bundle.path),
        "start_share": 0.25,
        "optimiser": {"learning_rate": 0.01, "warmup_steps": 0},
    }
    train(parse_recipe(RECIPE | changes, source="test"), cache, cache, tmp_path / "r")
    state = load_state(tmp_path / "r")
    assert state is not None
    start = build_unet(CONFIG, (112, 112, 3), seed=7).get_weights()
    trained = state.arrays["average"] or state.arrays["weights"]
    kept = load_model(tmp_path / "r" / "last.keras").get_weights()
    for one, two, mean in zip(start, trained, kept, strict=True):
        np.testing.assert_allclose(mean, 0.25 * one + 0.75 * two, atol=1e-6)
    assert max(np.abs(a - b).max() for a, b in zip(start, trained, strict=True)) > 1e-3


def test_a_share_of_no_bundle_is_refused() -> None:
    with pytest.raises(UsageError, match="start_share needs start_from"):
        parse_recipe(RECIPE | {"start_share": 0.5}, source="test")


def test_slices_stay_as_far_apart_as_the_bundle_has_them(
    bundle: Bundle, cache: Cache, tmp_path: Path
) -> None:
    """Without a word in the recipe they turned to adjacent ones, and the new bundle said so."""
    recipe = parse_recipe(RECIPE | {"start_from": str(bundle.path)}, source="test")
    train(recipe, cache, cache, tmp_path / "r")
    written = load_recipe(tmp_path / "r" / RECIPE_FILE)
    assert written.sampling.context_mm == 3.0
    assert written.sampling.crop_px == 32
    train(recipe, cache, cache, tmp_path / "r")  # goes on with a run of the same recipe
    assert with_context_of_bundle(written) == written


@pytest.mark.parametrize(
    ("given", "words"), [(4.0, "asks for slices 4 mm apart"), (None, "asks for adjacent slices")]
)
def test_slices_another_distance_apart_are_refused(
    bundle: Bundle, given: float | None, words: str
) -> None:
    sampling = RECIPE["sampling"] | {"context_mm": given}
    recipe = parse_recipe(
        RECIPE | {"start_from": str(bundle.path), "sampling": sampling}, source="test"
    )
    with pytest.raises(UsageError, match=f"looks at slices 3 mm apart, .*{words}"):
        with_context_of_bundle(recipe)


def test_a_bundle_of_adjacent_slices_and_no_bundle_at_all_leave_the_recipe(
    tiny_bundle: Bundle,
) -> None:
    plain = parse_recipe(RECIPE, source="test")
    assert with_context_of_bundle(plain) is plain
    started = parse_recipe(RECIPE | {"start_from": str(tiny_bundle.path)}, source="test")
    assert with_context_of_bundle(started).sampling.context_mm is None


def test_another_network_is_refused(bundle: Bundle, cache: Cache) -> None:
    other = build_unet(ModelConfig(channels=(4, 4, 4, 8), up_kernel=1, skip="add"), (112, 112, 3))
    with pytest.raises(UsageError, match="another shape than the recipe's model"):
        weights_of_bundle(str(bundle.path), other, cache.preprocess)


def test_scans_prepared_in_another_way_are_refused(bundle: Bundle, cache: Cache) -> None:
    with pytest.raises(UsageError, match=r"wants scans prepared with \{'pixel_mm': 0\.6\}"):
        weights_of_bundle(str(bundle.path), None, cache.preprocess | {"pixel_mm": 1.0})


def test_a_bundle_without_a_keras_file_is_refused(tiny_bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="no Keras file"):
        weights_of_bundle(str(tiny_bundle.path), None, {})
