"""Training recipes: frozen settings from YAML. An unknown key is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from cmbnet.io.settings import FrozenModel, check_settings, read_settings
from cmbnet.model.config import ModelConfig, preset
from cmbnet.preprocess import PreprocessRecipe

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=0)]


class PreprocessSettings(FrozenModel):
    """Settings of preprocessing; see `cmbnet.preprocess.PreprocessRecipe`."""

    frame: Literal["physical", "paper"] = "physical"
    pixel_mm: Positive = 0.6
    brain: Literal["classical", "learned-1"] = "classical"

    def recipe(self) -> PreprocessRecipe:
        """Return the settings of preprocessing that the bundle will hold."""
        return PreprocessRecipe(**self.model_dump())


class ModelSettings(FrozenModel):
    """Settings of the network: a preset, and differences from it."""

    preset: Literal["paper", "base", "small"] = "small"
    channels: tuple[int, int, int, int] | None = None
    up_kernel: Literal[1, 3] | None = None
    skip: Literal["concat", "add"] | None = None
    lesion_prior: Annotated[float, Field(gt=0.0, lt=1.0)] = 1e-3

    def config(self) -> ModelConfig:
        """Return the network's configuration."""
        values = preset(self.preset).to_dict()
        return ModelConfig.from_dict(
            values | self.model_dump(exclude={"preset"}, exclude_none=True)
        )


class SamplingSettings(FrozenModel):
    """Settings of a batch.

    Half of every batch are crops with a lesion in the middle slice (1:1, as in the paper). The
    other half is drawn from the centres below, in proportion to their weights.
    """

    crop_px: Annotated[int, Field(ge=16, multiple_of=8)] = 128
    batch_size: Annotated[int, Field(ge=2, multiple_of=2)] = 16
    shift_px: Count = 44
    """Largest shift in pixels, along y and x, of a crop from the chosen centre."""
    context_mm: Positive | None = None
    """Distance of the outer slices from the middle one. None takes the adjacent slices. Without a
    value, the distance of the bundle in `Recipe.start_from` is taken."""
    control_share: Share = 0.5
    """Share of negatives from cases without lesions, if there are such cases."""
    brain: Share = 0.25
    dark: Share = 0.35
    mimic: Share = 0.4
    mined: Share = 0.0


class AugmentSettings(FrozenModel):
    """Settings of the random changes of crops. A probability or amplitude of 0 turns a change off.

    Crops are moved by whole pixels when they are cut; see `SamplingSettings.shift_px`.
    """

    flip: bool = True
    transpose: bool = True
    affine_probability: Share = 0.5
    rotation_deg: Annotated[float, Field(ge=0.0, le=180.0)] = 15.0
    scale: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.1
    contrast: Share = 0.2
    gamma: Share = 0.25
    brightness: Share = 0.08
    noise: Share = 0.03
    blur_probability: Share = 0.15
    bias_field: Share = 0.2
    slice_drop_probability: Share = 0.05
    paste_probability: Share = 0.0
    """Share of the crops without a lesion that get one of another crop."""
    shape_probability: Share = 0.0
    """Share of the crops that get a tube, sheet, plate, rim or blob that is no lesion."""


class LossSettings(FrozenModel):
    """Settings of the loss: a weighted sum of a pixel loss and an overlap loss."""

    pixel: Literal["bce", "focal"] = "bce"
    pixel_weight: Annotated[float, Field(ge=0.0)] = 1.0
    focal_gamma: Annotated[float, Field(ge=0.0)] = 2.0
    overlap: Literal["none", "dice", "tversky"] = "none"
    overlap_weight: Annotated[float, Field(ge=0.0)] = 1.0
    tversky_false_positive: Share = 0.5
    tversky_false_negative: Share = 0.5


class OptimiserSettings(FrozenModel):
    """Settings of Adam and of the course of its learning rate."""

    learning_rate: Positive = 1e-3
    schedule: Literal["plateau", "cosine"] = "plateau"
    warmup_steps: Count = 0
    plateau_epochs: Annotated[int, Field(ge=1)] = 30
    plateau_factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    cosine_final_share: Share = 0.01
    clip_norm: Positive | None = None
    ema_momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0


class StopSettings(FrozenModel):
    """Settings of the end of training. The first condition that holds ends it."""

    epochs: Annotated[int, Field(ge=1)] = 300
    steps_per_epoch: Annotated[int, Field(ge=1)] = 250
    max_minutes: Positive | None = None
    patience_epochs: Count = 60
    """Number of epochs without a better validation Dice. 0 turns the condition off."""
    target_dice: Share | None = None
    target_loss: Positive | None = None
    """Target loss, summed over the pixels of a slice. Both targets must be reached together."""


class ValidationSettings(FrozenModel):
    """Settings of validation on whole slices, half of them with lesions."""

    slices: Annotated[int, Field(ge=2)] = 160
    every_epochs: Annotated[int, Field(ge=1)] = 1
    threshold: Share = 0.5
    monitor: Literal["dice", "best_dice"] = "dice"
    """Measure that chooses the best epoch: Dice at `threshold`, or at the best threshold."""
    whole_cases: Count = 0
    """Number of validation cases that are judged whole, lesion by lesion."""
    whole_every_epochs: Annotated[int, Field(ge=1)] = 5


class MiningSettings(FrozenModel):
    """Settings of the search for the model's own false positives between epochs."""

    every_epochs: Count = 0
    """Number of epochs between searches. 0 turns them off."""
    slices: Annotated[int, Field(ge=1)] = 200
    probability: Share = 0.3
    keep: Annotated[int, Field(ge=1)] = 20_000


class Recipe(FrozenModel):
    """Everything that determines a training run, besides its data."""

    name: str
    seed: int = 0
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    deterministic: bool = False
    distribute: Literal["none", "mirrored", "multi_worker"] = "none"
    """Devices of the run: all GPUs of this machine, or the processes that TF_CONFIG names."""
    start_from: str | None = None
    """Bundle whose weights start the training: its folder, or "default"."""
    start_share: Share = 0.0
    """Share of those first weights in the network that is judged and kept. The rest are the trained
    weights. Such a mean forgets less of what the bundle knew, and may be better on scans of neither
    kind (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022)."""
    preprocess: PreprocessSettings = PreprocessSettings()
    model: ModelSettings = ModelSettings()
    sampling: SamplingSettings = SamplingSettings()
    augment: AugmentSettings = AugmentSettings()
    loss: LossSettings = LossSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    stop: StopSettings = StopSettings()
    validation: ValidationSettings = ValidationSettings()
    mining: MiningSettings = MiningSettings()


def load_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        UsageError: If the file is missing, is not YAML, or has an unknown key or a bad value.
    """
    return read_settings(path, Recipe, what="recipe")


def parse_recipe(values: Any, *, source: str) -> Recipe:
    """Check the values of a recipe.

    Messages name `source`.

    Raises:
        UsageError: If a key is unknown (the nearest known key is named) or a value is bad.
    """
    return check_settings(values, Recipe, what="recipe", source=source)
