"""`ModelConfig`: the settings that fix the shape of the network, and its presets."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from cmbnet.errors import UsageError

PresetName = Literal["paper", "base", "small"]

LEVELS = 3
"""Number of times the resolution is halved."""

SIZE_MULTIPLE = 2**LEVELS
"""Height and width of the input must be multiples of this many pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The shape of the U-Net. Two equal configurations build the same network.

    Args:
        channels: Feature maps at full, half, quarter and eighth resolution.
        input_slices: Number of neighbouring slices that enter as channels. The middle one is
            segmented.
        up_kernel: Size in pixels of the convolution after each bilinear upsampling.
        skip: How a decoder block joins its skip connection: ``"concat"`` places it beside the
            upsampled features, ``"add"`` adds it to them.
        lesion_prior: Expected share of lesion pixels, 0 to 1. It sets the first output bias.

    Raises:
        UsageError: If a number is out of range.
    """

    channels: tuple[int, int, int, int]
    input_slices: int = 3
    up_kernel: int = 3
    skip: Literal["concat", "add"] = "concat"
    lesion_prior: float = 1e-3

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        if len(self.channels) != LEVELS + 1 or min(self.channels) < 1:
            raise UsageError(f"four positive channel counts are required, got {self.channels}")
        if self.input_slices < 1 or self.input_slices % 2 == 0:
            raise UsageError(f"an odd number of slices is required, got {self.input_slices}")
        if self.up_kernel not in (1, 3):
            raise UsageError(f"up_kernel must be 1 or 3 pixels, got {self.up_kernel}")
        if self.skip not in ("concat", "add"):
            raise UsageError(f"skip must be 'concat' or 'add', got {self.skip!r}")
        if not 0.0 < self.lesion_prior < 1.0:
            raise UsageError(f"lesion_prior must lie in (0, 1), got {self.lesion_prior}")

    @property
    def output_bias(self) -> float:
        """Logit of the lesion prior. At first, the network gives the prior everywhere."""
        return math.log(self.lesion_prior / (1.0 - self.lesion_prior))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, from which `from_dict` makes the same configuration."""
        return {**asdict(self), "channels": list(self.channels)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Make the configuration from the values of `to_dict`.

        Raises:
            UsageError: If a key is unknown or a value is out of range.
        """
        try:
            return cls(**{**values, "channels": tuple(values["channels"])})
        except (TypeError, KeyError) as error:
            raise UsageError(f"not a model configuration: {error}; got {values}") from None


PRESETS: dict[PresetName, ModelConfig] = {
    # The paper's network: 28 convolutions, 64 channels at full resolution.
    "paper": ModelConfig(channels=(64, 128, 256, 512)),
    "base": ModelConfig(channels=(24, 48, 96, 160)),
    # Widths in multiples of 16 run best in int8 on CPUs; additive skips and 1x1 convolutions
    # after upsampling save 40 % of the work at full resolution.
    "small": ModelConfig(channels=(16, 32, 48, 64), up_kernel=1, skip="add"),
}


def preset(name: str) -> ModelConfig:
    """Return the configuration called `name`: ``"paper"``, ``"base"`` or ``"small"``.

    Raises:
        UsageError: If there is no such preset.

    Examples:
        >>> preset("paper").channels
        (64, 128, 256, 512)
    """
    for known, config in PRESETS.items():
        if known == name:
            return config
    raise UsageError(f"a preset of {sorted(PRESETS)} is required, got {name!r}")
