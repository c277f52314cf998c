"""The network: a frozen `ModelConfig` and the Keras model that it describes.

`keras` is imported by the functions that need it, so that a configuration costs nothing.
"""

from cmbnet.model.config import LEVELS, PRESETS, SIZE_MULTIPLE, ModelConfig, preset

__all__ = ["LEVELS", "PRESETS", "SIZE_MULTIPLE", "ModelConfig", "preset"]
