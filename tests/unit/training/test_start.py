from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmbnet.bundle import Bundle, BundleSpec, NewArtefact, write_bundle
from cmbnet.errors import BundleError, UsageError
from cmbnet.model import ModelConfig
from cmbnet.model.config import PRESETS
from cmbnet.model.files import config_in, save_model
from cmbnet.model.unet import build_unet
from cmbnet.preprocess import PreprocessRecipe
from cmbnet.slices import SliceContext
from cmbnet.training.data.reader import Cache
from cmbnet.training.fit.checkpoint import load_state
from cmbnet.training.fit.loop import train
from cmbnet.training.fit.recipe import load_recipe, parse_recipe
from cmbnet.training.fit.run_files import RECIPE as RECIPE_FILE
from cmbnet.training.fit.start import preprocessing_of, weights_of_bundle, with_start
from tests.helpers.tiny_bundle import dot_finder, spec

CONFIG = ModelConfig(channels=(4, 4, 4, 4), up_kernel=1, skip="add")
RECIPE: dict[str, Any] = {
    "name": "finetune",
    "model": {"preset": "small", "channels": [4, 4, 4, 4]},
    "sampling": {"crop_px": 32, "batch_size": 4, "shift_px": 4},
    "stop": {"epochs": 1, "steps_per_epoch": 1},
    "validation": {"slices": 2},
    "optimiser": {"learning_rate": 1e-9},
}


def write_start(folder: Path, config: ModelConfig, values: BundleSpec) -> Bundle:
    """A bundle that holds the Keras file of a network of random weights."""
    save_model(build_unet(config, (112, 112, 3), seed=7), config, folder / "m.keras")
    artefact = NewArtefact(
        file="model.keras",
        content=(folder / "m.keras").read_bytes(),
        kind="keras",
        precision="float32",
        shape=(1, 112, 112, 3),
    )
    return write_bundle(folder / "bundle", spec=values, artefacts=[artefact])


@pytest.fixture(scope="module")
def bundle(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of slices 3 mm apart."""
    recipe = PreprocessRecipe.from_dict(cache.preprocess)
    three_mm = spec(recipe=recipe, context=SliceContext(target_mm=3.0))
    return write_start(tmp_path_factory.mktemp("b"), CONFIG, three_mm)


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
        with_start(parse_recipe(RECIPE | {"start_share": 0.5}, source="test"))


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
    assert with_start(written) == written


@pytest.mark.parametrize(
    ("given", "words"), [(4.0, "slices 4 mm apart"), (None, "adjacent slices")]
)
def test_slices_another_distance_apart_are_refused(
    bundle: Bundle, given: float | None, words: str
) -> None:
    sampling = RECIPE["sampling"] | {"context_mm": given}
    recipe = parse_recipe(
        RECIPE | {"start_from": str(bundle.path), "sampling": sampling}, source="test"
    )
    with pytest.raises(UsageError, match=f"slices 3 mm apart, got {words}"):
        with_start(recipe)


def test_a_recipe_without_a_start_stays(cache: Cache) -> None:
    plain = parse_recipe(RECIPE, source="test")
    assert with_start(plain) is plain
    assert preprocessing_of(plain).pixel_mm == 0.6


def test_what_the_bundle_fixes_is_taken_from_it(tmp_path: Path) -> None:
    """A recipe that said nothing trained another network on scans that were prepared otherwise."""
    config = ModelConfig(channels=(4, 5, 6, 7), up_kernel=3, skip="concat")
    prepared = PreprocessRecipe(size=112, pixel_mm=0.7, brain="learned-1")
    bundle = write_start(tmp_path, config, spec(recipe=prepared, context=SliceContext()))
    recipe = parse_recipe({"name": "finetune", "start_from": str(bundle.path)}, source="test")
    started = with_start(recipe)
    assert started.model.config() == config
    assert started.sampling.context_mm is None
    assert (started.preprocess.pixel_mm, started.preprocess.brain) == (0.7, "learned-1")
    assert preprocessing_of(started) == prepared, "the size of the frame, too"
    assert with_start(started) == started


@pytest.mark.parametrize(
    ("section", "stated", "words"),
    [
        ("model", {"preset": "base"}, r"model.channels .*\(4, 4, 4, 4\), got \(24, 48, 96, 160\)"),
        ("model", {"channels": [4, 4, 4, 4], "skip": "concat"}, "model.skip .* add, got concat"),
        ("preprocess", {"pixel_mm": 0.5}, "preprocess.pixel_mm .* 0.6, got 0.5"),
        ("preprocess", {"frame": "paper"}, "preprocess.frame .* physical, got paper"),
    ],
)
def test_what_contradicts_the_bundle_is_refused(
    bundle: Bundle, section: str, stated: dict[str, Any], words: str
) -> None:
    values = RECIPE | {"start_from": str(bundle.path), section: stated}
    with pytest.raises(UsageError, match=words):
        with_start(parse_recipe(values, source="test"))


def test_the_configuration_is_read_from_the_file_of_a_network(tmp_path: Path) -> None:
    for config in (*PRESETS.values(), CONFIG):
        save_model(build_unet(config, (32, 32, 3)), config, tmp_path / "m.keras")
        assert config_in((tmp_path / "m.keras").read_bytes()) == config


def test_another_network_is_refused(tmp_path: Path) -> None:
    dot_finder(32).save(tmp_path / "m.keras")
    for content in ((tmp_path / "m.keras").read_bytes(), b"no archive"):
        with pytest.raises(BundleError, match="a network that cmbnet trained is required"):
            config_in(content)


def test_scans_prepared_in_another_way_are_refused(bundle: Bundle, cache: Cache) -> None:
    with pytest.raises(UsageError, match=r"wants scans prepared with \{'pixel_mm': 0\.6\}"):
        weights_of_bundle(str(bundle.path), cache.preprocess | {"pixel_mm": 1.0})


def test_a_bundle_without_a_keras_file_is_refused(tiny_bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="no Keras file"):
        with_start(parse_recipe(RECIPE | {"start_from": str(tiny_bundle.path)}, source="test"))


def test_the_start_is_scored_before_the_first_step(
    bundle: Bundle, cache: Cache, tmp_path: Path
) -> None:
    """Whether training helped can only be told against the network that it started from."""
    lines: list[str] = []
    recipe = parse_recipe(RECIPE | {"start_from": str(bundle.path)}, source="test")
    train(recipe, cache, cache, tmp_path / "r", report=lines.append)
    assert re.match(r"device: .*CPU.*; 1 epochs of 1 steps, 4 crops each", lines[0])
    assert lines[1].startswith("before training: val_dice")
    assert lines[2].startswith("epoch 1 of 1")
    log = list(csv.DictReader((tmp_path / "r" / "log.csv").read_text().splitlines()))
    assert [row["epoch"] for row in log] == ["0", "1"]
    assert log[0]["loss"] == ""
    assert log[0]["val_dice"] == log[1]["val_dice"], "at a rate of nearly nothing"
    assert "CPU" in json.loads((tmp_path / "r" / "run.json").read_text())["device"]
    before = (tmp_path / "r" / "log.csv").read_bytes()
    train(recipe, cache, cache, tmp_path / "r")
    assert (tmp_path / "r" / "log.csv").read_bytes() == before, "once, whatever goes on"
