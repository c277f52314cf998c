"""Model files. They are float32, without a mixed-precision policy, and hold their configuration."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import keras
import numpy as np

from cmbnet.errors import BundleError, UnreadableFile
from cmbnet.model.config import LEVELS, ModelConfig
from cmbnet.model.unet import build_unet


def copy_at_shape(
    model: keras.Model, config: ModelConfig, input_shape: tuple[int | None, int | None, int]
) -> keras.Model:
    """Copy the weights into a float32 network for another input shape.

    `config` is that of the model, which may have any precision policy. The input shape is (y, x,
    slices).
    """
    copy = build_unet(config, input_shape)
    copy.set_weights([np.asarray(weight, dtype=np.float32) for weight in model.get_weights()])
    return copy


def save_model(model: keras.Model, config: ModelConfig, path: Path) -> None:
    """Write a ``.keras`` file in float32, under any policy of the training.

    With a policy inside, the model would depend on the hardware that trained it. The file is
    written under a temporary name and renamed.
    """
    height, width, slices = model.input_shape[1:]
    temporary = path.with_name(f".{path.stem}.tmp.keras")
    copy_at_shape(model, config, (height, width, slices)).save(temporary)
    _compress(temporary)
    temporary.replace(path)


def _compress(path: Path) -> None:
    """Compress a zip archive in place. Keras writes it uncompressed, mostly with empty blocks."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def load_model(path: Path) -> keras.Model:
    """Read a ``.keras`` file with the Keras backend in use.

    Raises:
        UnreadableFile: If the file is missing or is no Keras model.
    """
    try:
        return keras.models.load_model(path, compile=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableFile(f"a .keras model is required, got {path}: {error}") from error


def config_in(content: bytes) -> ModelConfig:
    """Return the configuration of a network of `build_unet`, from the bytes of its file.

    Keras is not asked, because its devices may not be in use yet when a run is planned.

    Raises:
        BundleError: If the file holds another network.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            layers = json.loads(archive.read("config.json"))["config"]["layers"]
        by_name = {layer["config"]["name"]: layer for layer in layers}
        filters = ("stem_conv", *(f"down_{level}_conv" for level in range(LEVELS)))
        return ModelConfig(
            channels=tuple(by_name[name]["config"]["filters"] for name in filters),
            up_kernel=by_name["up_0_conv"]["config"]["kernel_size"][0],
            skip="add" if by_name["skip_0"]["class_name"] == "Add" else "concat",
        )
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"a network that cmbnet trained is required to start from, got another one ({error!r})"
        ) from error
