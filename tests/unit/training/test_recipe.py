from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic
import pytest

from cmbnet.errors import UsageError
from cmbnet.model import ModelConfig, preset
from cmbnet.training.fit.recipe import Recipe, load_recipe, parse_recipe

RECIPES = sorted((Path(__file__).parents[3] / "training" / "recipes").glob("*.yaml"))


def test_there_are_recipes() -> None:
    assert {"cpu", "paper", "smoke"} <= {path.stem for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_repository_is_valid(path: Path) -> None:
    assert load_recipe(path).name == path.stem


def test_the_papers_recipe_is_the_papers() -> None:
    recipe = load_recipe(next(path for path in RECIPES if path.stem == "paper"))
    assert recipe.model.config() == preset("paper")
    assert recipe.sampling.crop_px == 384
    assert recipe.sampling.context_mm is None  # three consecutive slices
    assert (recipe.loss.pixel, recipe.loss.pixel_weight, recipe.loss.overlap) == ("bce", 1, "none")
    assert recipe.optimiser.learning_rate == 1e-3
    assert (recipe.optimiser.schedule, recipe.optimiser.plateau_epochs) == ("plateau", 30)
    assert recipe.optimiser.plateau_factor == 0.1
    assert recipe.stop.patience_epochs == 60
    assert (recipe.stop.target_dice, recipe.stop.target_loss) == (0.8, 10.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optimizer": {}}, r"unknown key 'optimizer' \(nearest: 'optimiser'\)"),
        (
            {"sampling": {"batchsize": 4}},
            r"unknown key 'sampling.batchsize' \(nearest: 'batch_size'\)",
        ),
        ({"sampling": {"batch_size": 3}}, r"sampling.batch_size: .* multiple of 2, got 3"),
        ({"sampling": {"crop_px": 100}}, r"sampling.crop_px: .* multiple of 8, got 100"),
        ({"optimiser": {"learning_rate": -1}}, r"optimiser.learning_rate: .*, got -1"),
        ({"loss": {"pixel": "mse"}}, r"loss.pixel: .*, got 'mse'"),
        ({"model": {"preset": "huge"}}, r"model.preset: .*, got 'huge'"),
    ],
)
def test_faults_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^here: {message}"):
        parse_recipe({"name": "x"} | values, source="here")


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(UsageError, match=r"'sead'.*; .*'modle'"):
        parse_recipe({"name": "x", "sead": 1, "modle": {}}, source="here")


@pytest.mark.parametrize("text", ["- a\n- b\n", "just words", ""])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"a recipe is a mapping of settings, got .*r\.yaml"):
        load_recipe(tmp_path / "r.yaml")


@pytest.mark.parametrize("content", [None, b"a: [1", b"\xff\xfe\x00"])
def test_what_is_no_yaml_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "r.yaml").write_bytes(content)
    with pytest.raises(UsageError, match=r"a YAML recipe is required, got .*r\.yaml"):
        load_recipe(tmp_path / "r.yaml")


def test_a_recipe_cannot_be_changed() -> None:
    recipe = Recipe(name="x")
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        recipe.seed = 3


def test_a_recipe_may_change_parts_of_a_preset() -> None:
    recipe = parse_recipe(
        {"name": "x", "model": {"preset": "small", "channels": [2, 3, 4, 5]}}, source="here"
    )
    assert recipe.model.config() == ModelConfig(channels=(2, 3, 4, 5), up_kernel=1, skip="add")
