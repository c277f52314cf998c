"""Acquisition protocols: the numbers a scanner is told, and families to draw them from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from cmbnet.errors import UsageError

GAMMA_MHZ_PER_T = 42.577
"""Gyromagnetic ratio of the proton over 2 pi; times ppm it gives Hz per T."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """One way of acquiring and processing a scan."""

    name: str  # Family it was drawn from, for example ``"siemens-3t"``
    field_t: float  # Main field in T
    te_ms: float  # Echo time; the mean one where echoes are combined
    tr_ms: float  # Repetition time
    flip_deg: float  # Flip angle
    pixel_mm: float  # In-plane size of a stored pixel
    slice_mm: float  # Distance between slices, which is their thickness plus the gap
    # In-plane resolution measured along the read axis (zero-filled to `pixel_mm`)
    acquired_mm: float
    gap_mm: float = 0.0  # Part of `slice_mm` that is not excited
    phase_fraction: float = 0.85  # Part of k-space acquired along the phase axis, 0 to 1
    # Width of the Hann low-pass whose phase is removed, cycles per mm
    high_pass_per_mm: float = 0.125
    mask_power: int = 4  # Times the phase mask is multiplied in
    output: Literal["swi", "magnitude"] = "swi"  # ``"swi"`` or the plain ``"magnitude"``
    snr: float = 24.0  # Magnitude of white matter over the noise sd of one channel
    bias: float = 0.5  # Strength of the receive bias, 0 none, 1 uncorrected
    head_scale: float = 1.0  # Size of the head, 1 for an adult; tests use half heads
    shape: tuple[int, int, int] | None = None  # Slices, rows, columns; None covers the head

    def __post_init__(self) -> None:
        sizes = (self.pixel_mm, self.slice_mm, self.acquired_mm, self.te_ms, self.field_t)
        if min(sizes) <= 0 or not 0 <= self.gap_mm < self.slice_mm:
            raise UsageError(f"positive sizes and times are required, got {self}")

    @property
    def radians_per_ppm(self) -> float:
        """Phase at the echo that a field offset of 1 ppm causes."""
        return float(2 * np.pi * GAMMA_MHZ_PER_T * self.field_t * self.te_ms * 1e-3)


@dataclass(frozen=True, slots=True)
class ProtocolFamily:
    """Ranges to draw a `Protocol` from; pairs are (lowest, highest)."""

    name: str
    field_t: float
    te_ms: tuple[float, float]
    tr_ms: tuple[float, float]
    flip_deg: tuple[float, float]
    pixel_mm: tuple[float, float]
    slice_mm: tuple[float, float]
    snr: tuple[float, float]
    high_pass_per_mm: tuple[float, float]
    mask_power: tuple[int, ...] = (4,)
    zero_fill: tuple[float, float] = (1.0, 1.15)
    phase_fraction: tuple[float, float] = (0.75, 0.95)
    gap_share: tuple[float, float] = (0.0, 0.0)
    bias: tuple[float, float] = (0.0, 1.0)
    output: Literal["swi", "magnitude"] = "swi"
    weight: float = 1.0

    def draw(self, rng: np.random.Generator) -> Protocol:
        """Draw a protocol, each number uniformly from its range."""
        pixel_mm = round(rng.uniform(*self.pixel_mm), 4)
        slice_mm = round(rng.uniform(*self.slice_mm), 2)
        return Protocol(
            name=self.name,
            field_t=self.field_t,
            te_ms=round(rng.uniform(*self.te_ms), 2),
            tr_ms=round(rng.uniform(*self.tr_ms), 1),
            flip_deg=round(rng.uniform(*self.flip_deg), 1),
            pixel_mm=pixel_mm,
            slice_mm=slice_mm,
            acquired_mm=round(pixel_mm * rng.uniform(*self.zero_fill), 4),
            gap_mm=round(slice_mm * rng.uniform(*self.gap_share), 3),
            phase_fraction=round(rng.uniform(*self.phase_fraction), 3),
            high_pass_per_mm=round(rng.uniform(*self.high_pass_per_mm), 4),
            mask_power=int(rng.choice(self.mask_power)),
            output=self.output,
            snr=round(rng.uniform(*self.snr), 1),
            bias=round(rng.uniform(*self.bias), 3),
        )


@dataclass(frozen=True, slots=True)
class WideProtocol(Protocol):
    """A protocol whose phantoms come from the wide family (`cmbnet.phantom.family`)."""

    # How phase becomes a mask: ``"power"`` falls linearly from phase 0 on, ``"tanh"`` is a soft
    # step, ``"symmetric"`` darkens both signs
    mask: Literal["power", "tanh", "symmetric"] = "power"
    echoes: int = 1  # Echoes that are combined; their mean is `te_ms`
    smoothing_px: float = 0.0  # Sd of a Gaussian filter of the image
    sharpening: float = 0.0  # Strength of an edge filter
    ghost: float = 0.0  # Strength of ghosts along the phase axis
    # First and last share of the head that the slab covers
    covered: tuple[float, float] = (0.0, 1.0)
    edge_slices: float = 0.0  # Slices at each end that fade
    uneven_noise: float = 0.0  # How much more noise there is in the middle of the head


@dataclass(frozen=True, slots=True)
class WideFamily(ProtocolFamily):
    """Ranges to draw a `WideProtocol` from."""

    masks: tuple[Literal["power", "tanh", "symmetric"], ...] = ("power",)
    echoes: tuple[int, int] = (1, 1)
    smoothing_px: tuple[float, float] = (0.0, 0.6)
    edge_slices: tuple[float, float] = (0.0, 0.0)

    def draw(self, rng: np.random.Generator) -> WideProtocol:
        """Draw a protocol with filters, ghosts and the part of the head that it covers."""
        base = ProtocolFamily.draw(self, rng)
        first, last = 0.0, 1.0
        if rng.random() < PARTIAL_PROBABILITY:
            size = rng.uniform(0.45, 0.9)
            first = round(rng.uniform(0, 1 - size), 3)
            last = round(first + size, 3)
        filtered, sharpened, ghosted = rng.random(3) < (0.4, 0.2, 0.12)
        return WideProtocol(
            **asdict(base),
            mask=self.masks[int(rng.integers(len(self.masks)))],
            echoes=int(rng.integers(self.echoes[0], self.echoes[1] + 1)),
            smoothing_px=round(rng.uniform(*self.smoothing_px), 3) if filtered else 0.0,
            sharpening=round(rng.uniform(0.2, 1.0), 3) if sharpened else 0.0,
            ghost=round(rng.uniform(0.01, 0.05), 3) if ghosted else 0.0,
            covered=(first, last),
            edge_slices=round(rng.uniform(*self.edge_slices), 2),
            uneven_noise=round(rng.uniform(0, 1.2), 2) if rng.random() < 0.5 else 0.0,
        )


PARTIAL_PROBABILITY = 0.12

_F = ProtocolFamily
_W = WideFamily
PROTOCOL_SETS: dict[str, tuple[ProtocolFamily, ...]] = {
    "training": (
        _F("siemens-1.5t", 1.5, (32, 46), (45, 54), (15, 20), (0.55, 0.9), (1.6, 2.5),
           (10, 20), (0.10, 0.16), weight=0.8),
        _F("siemens-3t", 3.0, (16, 24), (26, 32), (13, 17), (0.5, 0.72), (1.5, 2.2),
           (18, 30), (0.10, 0.17), weight=1.3),
        _F("ge-swan-3t", 3.0, (20, 27), (36, 44), (12, 15), (0.45, 0.6), (1.8, 3.0),
           (18, 30), (0.08, 0.14), (3, 4), zero_fill=(1.4, 1.9)),
        _F("philips-3t", 3.0, (14, 21), (29, 34), (15, 19), (0.55, 0.8), (1.0, 2.0),
           (15, 26), (0.12, 0.2), (3, 4, 5)),
        _F("canon-3t", 3.0, (18, 26), (28, 40), (13, 20), (0.5, 0.8), (1.6, 2.4),
           (16, 28), (0.14, 0.25), (3, 4, 5), zero_fill=(1.0, 1.6), weight=0.7),
        # No scanner's own: wider than any one of them, so that the next one lies inside.
        _F("wide-1.5t", 1.5, (26, 52), (40, 80), (12, 22), (0.45, 1.0), (1.0, 5.0),
           (9, 26), (0.07, 0.25), (3, 4, 5), zero_fill=(1.0, 2.0), phase_fraction=(0.6, 1.0),
           bias=(0.0, 1.3)),
        _F("wide-3t", 3.0, (13, 30), (24, 50), (10, 20), (0.45, 1.0), (1.0, 5.0),
           (12, 34), (0.07, 0.25), (3, 4, 5), zero_fill=(1.0, 2.0), phase_fraction=(0.6, 1.0),
           bias=(0.0, 1.3), weight=1.3),
        _F("gre-3d-1.5t", 1.5, (18, 46), (35, 70), (12, 22), (0.55, 1.0), (1.4, 5.0),
           (10, 26), (0.1, 0.1), zero_fill=(1.0, 1.6), output="magnitude", weight=0.7),
        _F("gre-3d-3t", 3.0, (14, 34), (30, 50), (12, 20), (0.5, 1.0), (1.4, 5.0),
           (14, 34), (0.1, 0.1), zero_fill=(1.0, 1.6), output="magnitude", weight=0.7),
        _F("wide-gap-1.5t", 1.5, (26, 52), (40, 80), (12, 22), (0.6, 1.0), (2.4, 5.5),
           (10, 28), (0.07, 0.25), (3, 4, 5), zero_fill=(1.0, 1.6), gap_share=(0.0, 0.2),
           weight=0.5),
        _F("wide-gap-3t", 3.0, (13, 30), (24, 50), (10, 20), (0.6, 1.0), (2.4, 5.5),
           (14, 36), (0.07, 0.25), (3, 4, 5), zero_fill=(1.0, 1.6), gap_share=(0.0, 0.2),
           weight=0.5),
        _F("wide-gre-2d-1.5t", 1.5, (15, 32), (350, 900), (15, 30), (0.6, 1.0), (2.4, 5.5),
           (12, 32), (0.1, 0.1), zero_fill=(1.0, 1.6), gap_share=(0.0, 0.2), output="magnitude",
           weight=0.5),
        _F("wide-gre-2d-3t", 3.0, (12, 28), (350, 900), (15, 30), (0.6, 1.0), (2.4, 5.5),
           (16, 42), (0.1, 0.1), zero_fill=(1.0, 1.6), gap_share=(0.0, 0.2), output="magnitude",
           weight=0.5),
    ),
    "validation": (
        _F("canon-1.5t", 1.5, (30, 42), (45, 60), (15, 20), (0.6, 0.85), (1.8, 2.4),
           (11, 19), (0.12, 0.2), (3, 4)),
        _F("philips-ingenia-3t", 3.0, (20, 25), (30, 36), (16, 18), (0.5, 0.62), (1.4, 1.9),
           (17, 28), (0.15, 0.22), (4, 5)),
        _F("ge-premier-3t", 3.0, (22, 29), (38, 46), (12, 14), (0.5, 0.68), (2.2, 2.9),
           (18, 30), (0.09, 0.12), (3,), zero_fill=(1.2, 1.6)),
    ),
    "more-validation": (
        _F("hitachi-1.5t", 1.5, (36, 46), (52, 66), (18, 25), (0.5, 0.7), (1.4, 2.1),
           (10, 16), (0.12, 0.17), (4, 5), zero_fill=(1.2, 1.7)),
        _F("neusoft-1.5t", 1.5, (26, 36), (40, 50), (15, 20), (0.6, 0.8), (2.2, 2.8),
           (12, 18), (0.17, 0.24), (3, 4), phase_fraction=(0.65, 0.8)),
        _F("siemens-skyra-3t", 3.0, (20, 25), (27, 32), (14, 16), (0.68, 0.85), (1.4, 1.9),
           (18, 28), (0.13, 0.18), (4,), bias=(0.0, 0.4)),
        _F("hitachi-3t", 3.0, (23, 28), (34, 42), (12, 18), (0.5, 0.6), (1.2, 1.7),
           (14, 22), (0.06, 0.085), (5,), zero_fill=(1.1, 1.4)),
    ),
    "test": (
        _F("ge-swan-1.5t", 1.5, (38, 50), (60, 78), (15, 15), (0.48, 0.56), (2.0, 2.6),
           (11, 20), (0.09, 0.13), (4,), zero_fill=(1.5, 1.8)),
        _F("siemens-prisma-3t", 3.0, (19.5, 22.5), (27, 29), (15, 15), (0.6, 0.67), (1.8, 2.2),
           (20, 32), (0.18, 0.22), (4,), bias=(0.0, 0.3)),
        _F("philips-1.5t", 1.5, (30, 44), (46, 56), (18, 22), (0.65, 0.78), (1.2, 2.2),
           (12, 20), (0.11, 0.18), (3, 4)),
        _F("united-3t", 3.0, (17, 22), (24, 30), (12, 18), (0.55, 0.7), (1.7, 2.3),
           (17, 28), (0.085, 0.115), (5,), phase_fraction=(0.65, 0.75)),
    ),
    "gaps-validation": (
        _F("gap-swi-1.5t", 1.5, (32, 46), (48, 70), (15, 20), (0.7, 1.0), (4.1, 4.6),
           (14, 28), (0.08, 0.2), gap_share=(0.05, 0.15)),
        _F("gre-2d-gap-3t", 3.0, (16, 25), (450, 700), (18, 25), (0.7, 0.95), (4.1, 4.6),
           (20, 40), (0.1, 0.1), gap_share=(0.05, 0.15), output="magnitude"),
    ),
    "gaps": (
        _F("gap-swi-3t", 3.0, (16, 26), (26, 40), (13, 18), (0.7, 1.0), (4.1, 5.0),
           (20, 35), (0.08, 0.2), gap_share=(0.05, 0.2)),
        _F("gre-2d-1.5t", 1.5, (18, 28), (500, 700), (18, 22), (0.85, 1.0), (4.5, 5.0),
           (15, 30), (0.1, 0.1), gap_share=(0.05, 0.2), output="magnitude"),
        _F("gre-2d-3t", 3.0, (14, 22), (500, 700), (18, 22), (0.8, 1.0), (4.1, 5.0),
           (20, 40), (0.1, 0.1), gap_share=(0.05, 0.2), output="magnitude"),
    ),
    "ood-validation": (
        _F("swi-1t", 1.0, (40, 60), (55, 80), (18, 25), (0.7, 1.0), (2.0, 3.5),
           (9, 16), (0.1, 0.2), (4, 5)),
        _F("gre-7t", 7.0, (9, 14), (20, 40), (9, 14), (0.45, 0.7), (1.2, 2.2),
           (20, 36), (0.1, 0.1), output="magnitude"),
    ),
    "ood": (
        _F("swi-7t", 7.0, (10, 16), (20, 35), (9, 14), (0.4, 0.6), (1.0, 2.0),
           (20, 36), (0.14, 0.3), (4,)),
        _F("gre-3d-1t", 1.0, (28, 45), (50, 80), (18, 28), (0.7, 1.0), (2.0, 3.5),
           (10, 18), (0.1, 0.1), output="magnitude"),
        _F("gre-2d-wide-gap", 1.5, (20, 28), (500, 800), (18, 25), (0.75, 0.95), (4.5, 5.5),
           (15, 30), (0.1, 0.1), gap_share=(0.25, 0.35), output="magnitude"),
    ),
    # Wide in all things: see `cmbnet.phantom.family`. Half is T2* (clinics: 588 of 808 scans): thin
    # SWI has three times as many slices.
    "family": (
        _W("family-swi-3t", 3.0, (15, 26), (23, 40), (10, 20), (0.5, 1.0), (1.0, 3.0),
           (10, 34), (0.07, 0.25), (2, 3, 4, 4, 4, 5), zero_fill=(1.0, 1.9),
           phase_fraction=(0.6, 1.0), bias=(0.0, 1.3), masks=("power", "power", "power", "tanh"),
           edge_slices=(0.0, 4.0), weight=2.0),
        _W("family-swi-1.5t", 1.5, (28, 50), (40, 80), (12, 25), (0.5, 1.0), (1.2, 3.0),
           (8, 24), (0.07, 0.25), (2, 3, 4, 4, 4, 5), zero_fill=(1.0, 1.9),
           phase_fraction=(0.6, 1.0), bias=(0.0, 1.3), masks=("power", "power", "power", "tanh"),
           edge_slices=(0.0, 4.0), weight=1.2),
        _W("family-swan", 3.0, (18, 30), (32, 50), (10, 18), (0.43, 1.0), (1.0, 3.0),
           (12, 34), (0.07, 0.2), (1, 2, 3, 4), zero_fill=(1.0, 2.0), bias=(0.0, 1.3),
           masks=("power", "tanh"), echoes=(2, 3), edge_slices=(0.0, 4.0), weight=0.7),
        _W("family-swip", 3.0, (13, 24), (26, 40), (12, 20), (0.4, 0.9), (0.8, 2.5),
           (12, 30), (0.07, 0.25), (1, 2, 3, 4, 5), zero_fill=(1.0, 2.0), bias=(0.0, 1.0),
           masks=("power", "tanh", "symmetric"), echoes=(2, 3), edge_slices=(0.0, 4.0),
           weight=0.7),
        _W("family-gre-3d", 3.0, (12, 34), (25, 60), (8, 22), (0.5, 1.1), (1.0, 4.0),
           (10, 34), (0.1, 0.1), zero_fill=(1.0, 1.9), bias=(0.0, 1.3), output="magnitude",
           edge_slices=(0.0, 4.0), weight=0.4),
        _W("family-gre-2d-1.5t", 1.5, (15, 50), (350, 1000), (12, 35), (0.45, 1.1), (3.0, 6.5),
           (10, 36), (0.1, 0.1), zero_fill=(1.0, 2.0), phase_fraction=(0.5, 1.0),
           gap_share=(0.0, 0.3), bias=(0.0, 1.3), output="magnitude", weight=2.6),
        _W("family-gre-2d-3t", 3.0, (10, 32), (350, 1000), (12, 35), (0.43, 1.1), (3.0, 6.5),
           (12, 40), (0.1, 0.1), zero_fill=(1.0, 2.0), phase_fraction=(0.5, 1.0),
           gap_share=(0.0, 0.3), bias=(0.0, 1.3), output="magnitude", weight=1.8),
        _W("family-epi", 3.0, (18, 42), (1500, 4000), (60, 90), (0.9, 1.8), (2.5, 5.0),
           (12, 40), (0.1, 0.1), zero_fill=(1.0, 1.5), phase_fraction=(0.7, 1.0),
           gap_share=(0.0, 0.25), bias=(0.0, 1.0), output="magnitude", weight=0.4),
        _W("family-7t", 7.0, (9, 18), (18, 40), (8, 15), (0.4, 0.8), (0.8, 2.0),
           (10, 34), (0.1, 0.3), (2, 3, 4), bias=(0.2, 1.5), masks=("power", "tanh"),
           edge_slices=(0.0, 4.0), weight=0.4),
    ),
}  # fmt: skip
"""Families by purpose. Only ``training`` is trained on. ``validation``, ``more-validation`` (other
scanners, half of them of 1.5 T) and those that end in ``-validation`` choose (when to stop,
thresholds); ``test``, ``gaps`` and ``ood`` are for measuring alone. ``gaps`` are conventional thick
slices with gaps between them, most of 2D acquisition. What is ``ood`` (out of distribution) has a
main field of 1 T or 7 T, or gaps wider than any in training."""

TINY = Protocol("tiny", 3.0, 20, 28, 15, 0.95, 2.2, 0.95, head_scale=0.5, shape=(24, 96, 96))
"""For tests: half a head in 96 x 96 x 24 voxels."""
WIDE_TINY = WideProtocol(
    "family-tiny", 3.0, 20, 28, 15, 0.95, 2.2, 0.95, head_scale=0.5, shape=(24, 96, 96)
)
"""The same of the wide family."""


def draw_protocol(name: str, rng: np.random.Generator) -> Protocol:
    """Draw a family of a named set by its weight, then a protocol from it.

    `name` is a key of `PROTOCOL_SETS`, one family, ``"tiny"`` or ``"family-tiny"``.

    Raises:
        UsageError: If there is no such set or family.
    """
    for tiny in (TINY, WIDE_TINY):
        if name == tiny.name:
            return tiny
    families = {family.name: family for group in PROTOCOL_SETS.values() for family in group}
    if name in families:
        return families[name].draw(rng)
    if name not in PROTOCOL_SETS:
        known = ", ".join([*PROTOCOL_SETS, *families, TINY.name, WIDE_TINY.name])
        raise UsageError(f"a set or family of protocols is required ({known}), got {name!r}")
    group = PROTOCOL_SETS[name]
    weights = np.array([family.weight for family in group])
    return group[int(rng.choice(len(group), p=weights / weights.sum()))].draw(rng)
