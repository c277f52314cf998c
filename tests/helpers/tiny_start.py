"""A bundle of a small network of `cmbnet.model` that has learned nothing, and how it learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cmbnet.bundle import Bundle, NewArtefact, write_bundle
from cmbnet.model import ModelConfig
from cmbnet.model.files import save_model
from cmbnet.model.unet import build_unet
from cmbnet.preprocess import PreprocessRecipe
from cmbnet.slices import SliceContext
from tests.helpers.tiny_bundle import spec, to_litert

CONFIG = ModelConfig(channels=(4, 4, 8, 8), up_kernel=1, skip="add")
RECIPE: dict[str, Any] = {
    "name": "tiny",
    "start_share": 0.0,
    "sampling": {"crop_px": 48, "batch_size": 8, "shift_px": 12},
    "augment": {"affine_probability": 0.0},
    "loss": {"pixel_weight": 50.0, "overlap": "dice"},
    "optimiser": {"learning_rate": 0.01, "schedule": "cosine"},
    "stop": {"epochs": 2, "steps_per_epoch": 60},
    "validation": {"slices": 8, "monitor": "best_dice"},
}


def write_start(folder: Path) -> Bundle:
    """The bundle, with slices 3 mm apart, for scans of 96 x 96 pixels of 1 mm."""
    folder.mkdir(parents=True, exist_ok=True)
    model = build_unet(CONFIG, (96, 96, 3), seed=3)
    save_model(model, CONFIG, folder / "m.keras")
    shape = (1, 96, 96, 3)
    artefacts = [
        NewArtefact(file="model.keras", content=(folder / "m.keras").read_bytes(), kind="keras",
                    precision="float32", shape=shape),
        NewArtefact(file="float32.tflite", content=to_litert(model, 96, int8=False), kind="litert",
                    precision="float32", shape=shape, parity={"passed": True}),
    ]  # fmt: skip
    values = spec(
        name="start",
        recipe=PreprocessRecipe(size=96, pixel_mm=1.0),
        context=SliceContext(target_mm=3.0),
    )
    return write_bundle(folder / "bundle", spec=values, artefacts=artefacts)
