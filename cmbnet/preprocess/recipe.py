"""`PreprocessRecipe`: all settings of preprocessing, as a bundle stores them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from cmbnet.errors import UsageError

FrameKind = Literal["physical", "paper"]
WindowKind = Literal["peak", "histogram"]
BrainKind = Literal["classical", "learned-1"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessRecipe:
    """The settings that bring a scan into the form that the network sees.

    Args:
        frame: ``physical`` fixes the in-plane pixel in mm, centres on the brain, and crops or pads.
            ``paper`` crops a square of the shortest side and resizes it.
        size: Rows and columns of the frame.
        pixel_mm: In-plane pixel of the physical frame, mm. 0.6 x 384 is 230 mm: a head fits.
        pixel_tolerance: A pixel within this fraction of `pixel_mm` is not resampled, because
            interpolation blurs structures of two pixels.
        antialias_from: From this ratio of frame pixel to native pixel on, pixels are averaged
            instead of sampled. Below it, sampling skips no native pixel.
        rare_bin_fraction: Histogram bins that hold less than this fraction of the points do not
            count for the window (the paper's 1e-4).
        white_matter_level: Value in [0, 1] that the white-matter peak gets in every scan.
        window: ``peak`` ends the window where the peak puts it, the same contrast in each scan;
            ``histogram`` ends it at the last bin that is not rare, as the paper's text reads.
        brain: Estimate of the brain that the frame, the intensity, the gate and the rules use:
            ``classical`` (`cmbnet.preprocess.brain`) holds dura, sinuses and some of the skull,
            ``learned-1`` (`cmbnet.preprocess.brain_network`) what dura encloses. A model is used
            with the one that it was trained with; a better network gets another name.

    Raises:
        UsageError: If a value is outside its range.
    """

    frame: FrameKind = "physical"
    size: int = 384
    pixel_mm: float = 0.6
    pixel_tolerance: float = 0.02
    antialias_from: float = 1.5
    rare_bin_fraction: float = 1e-4
    white_matter_level: float = 0.6
    window: WindowKind = "peak"
    brain: BrainKind = "classical"

    def __post_init__(self) -> None:
        choices = {"frame": FrameKind, "window": WindowKind, "brain": BrainKind}
        for name, kinds in choices.items():
            allowed = get_args(kinds)
            if getattr(self, name) not in allowed:
                raise UsageError(
                    f"preprocessing: {name} must be one of {', '.join(allowed)}, "
                    f"got {getattr(self, name)!r}"
                )
        limits = {
            "size": (8, 4096),
            "pixel_mm": (0.05, 10.0),
            "pixel_tolerance": (0.0, 0.5),
            "antialias_from": (1.0, 10.0),
            "rare_bin_fraction": (0.0, 0.01),
            "white_matter_level": (0.1, 0.95),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise UsageError(
                    f"preprocessing: {name} must be in {low}..{high}, got {getattr(self, name)!r}"
                )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON or YAML, from which `from_dict` makes the same recipe."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PreprocessRecipe:
        """Make the recipe from the values of `to_dict`.

        Raises:
            UsageError: If a setting does not exist, or a value is outside its range.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise UsageError(
                f"preprocessing: unknown settings {', '.join(unknown)}; known are "
                f"{', '.join(sorted(known))}"
            )
        return cls(**values)
