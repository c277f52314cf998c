"""How bright everything is: contrasts from priors that contain every scanner, and more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cmbnet.phantom.family.head import FamilyHead
from cmbnet.phantom.grid import FloatArray
from cmbnet.phantom.protocol import Protocol
from cmbnet.phantom.tissue import NUCLEI, TISSUES, spoiled_echo

PHYSICAL_PROBABILITY = 0.35
"""Share of cases whose tissues have the contrast that their relaxation gives."""

WIDE: dict[str, tuple[float, float]] = {
    "csf": (0.2, 2.2), "dura": (0.05, 1.6), "bone": (0.01, 0.12), "marrow": (0.04, 2.0),
    "muscle": (0.1, 1.6), "fat": (0.05, 2.5), "eye": (0.1, 2.0), "vein": (0.15, 1.0),
}  # fmt: skip
"""Lowest and highest signal, where white matter has 1; drawn log-uniformly."""

FLOWS: dict[str, tuple[float, tuple[float, float]]] = {
    "dark": (0.35, (0.03, 0.4)), "grey": (0.25, (0.4, 1.1)), "bright": (0.2, (1.1, 2.2)),
    "mixed": (0.2, (0.05, 1.6)),
}  # fmt: skip
"""Chance and range of the signal of a sinus."""


@dataclass(frozen=True, slots=True)
class Looks:
    """Contrast of one case. Signals are relative to white matter."""

    signal: dict[str, float]  # By tissue, with ``artery``, ``vein`` and the layers of the head
    chi_ppm: dict[str, float]  # Susceptibility by tissue
    # Lowest and highest signal within the sinuses; equal unless they are mixed
    sinus: tuple[float, float]
    texture: float  # Relative sd of the texture of tissue
    patches: float  # Relative sd of the contrast of grey matter from place to place


def draw_looks(rng: np.random.Generator, protocol: Protocol) -> Looks:
    """Draw the contrasts of one case."""
    white = spoiled_echo(TISSUES["white"], protocol)
    signal = {
        name: spoiled_echo(tissue, protocol) / white * float(np.exp(rng.normal(0, 0.05)))
        for name, tissue in TISSUES.items()
    }
    chi = {name: tissue.chi_ppm for name, tissue in TISSUES.items()}
    chi["sinus"] = chi["vein"] = float(rng.uniform(0.18, 0.6))
    physical = rng.random() < PHYSICAL_PROBABILITY
    for name, (low, high) in WIDE.items():
        if name not in signal or not physical:
            signal[name] = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    if not physical:
        signal["cortex"] = _grey(rng)
    signal["white"] = 1.0
    for name in NUCLEI:
        iron = float(np.clip(rng.normal(1, 0.45), 0.0, 2.5))
        chi[name] *= iron
        if not physical:
            signal[name] = signal["cortex"] * float(np.exp(rng.normal(-0.12 * iron, 0.12)))
    signal["artery"] = float(
        rng.uniform(0.03, 0.5) if rng.random() < 0.5 else rng.uniform(0.7, 2.5)
    )
    kinds = list(FLOWS)
    kind = kinds[int(rng.choice(len(kinds), p=[share for share, _ in FLOWS.values()]))]
    low, high = FLOWS[kind][1]
    one = float(rng.uniform(low, high))
    sinus = (low, high) if kind == "mixed" else (one, one)
    return Looks(signal, chi, sinus, float(rng.uniform(0.0, 0.06)), float(rng.uniform(0.0, 0.12)))


def _grey(rng: np.random.Generator) -> float:
    """Grey matter: brighter or darker than white matter, or just as bright."""
    if rng.random() < 0.12:
        return float(rng.uniform(0.98, 1.02))
    return float(np.clip(np.exp(rng.normal(0.04, 0.2)), 0.65, 1.6))


def paint(
    rng: np.random.Generator, head: FamilyHead, looks: Looks
) -> tuple[FloatArray, FloatArray]:
    """Paint signal (white matter has 1) and susceptibility on the 1 mm grid of the head."""
    anatomy = head.anatomy
    shape = anatomy.grid.shape
    signal, chi = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    names = ["cortex", "white", "csf", "csf", "artery", *head.layers]
    shares = [
        anatomy.grey, anatomy.white, anatomy.csf, anatomy.shell, head.artery, *head.layers.values()
    ]  # fmt: skip
    covered = np.zeros(shape, np.uint8)
    for name, share in reversed(list(zip(names, shares, strict=True))):
        # Dura and what lies outside come first: what they cover is not painted again.
        free = np.minimum(share, 255 - covered)
        covered += free
        weight = free.astype(np.float32)
        weight *= np.float32(1 / 255)
        signal += np.float32(looks.signal[name]) * weight
        chi += np.float32(looks.chi_ppm.get(name, 0.0)) * weight
    lookup = np.array([0.0] + [looks.signal[name] for name in NUCLEI], np.float32) / 255
    iron = np.array([0.0] + [looks.chi_ppm[name] for name in NUCLEI], np.float32) / 255
    signal += lookup[anatomy.nucleus] * anatomy.nucleus_share
    chi += iron[anatomy.nucleus] * anatomy.nucleus_share
    signal *= 1 + looks.texture * _noise(rng, shape, 1.2)
    if looks.patches:
        weight = anatomy.grey * np.float32(looks.patches / 255)
        signal *= 1 + weight * _coarse_noise(rng, shape)
    blood = head.sinus * np.float32(1 / 255)
    low, high = looks.sinus
    inside: FloatArray | float = low
    if high > low:
        inside = low + (high - low) * np.clip(0.5 + 0.8 * _coarse_noise(rng, shape), 0, 1)
    signal += blood * (inside - signal)
    chi += blood * (np.float32(looks.chi_ppm["sinus"]) - chi)
    return signal, chi


def _noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> FloatArray:
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), sigma, truncate=2)
    result: FloatArray = noise / np.float32(noise.std())
    return result


def _coarse_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    """Noise of unit variance whose grains are about 8 mm wide."""
    small = _noise(rng, tuple(-(-n // 4) + 1 for n in shape), 0.8)
    for axis, n in enumerate(shape):
        at = np.arange(n) / 4
        low = at.astype(int)
        weight = (at - low).astype(np.float32)[(...,) + (None,) * (2 - axis)]
        small = small.take(low, axis) * (1 - weight) + small.take(low + 1, axis) * weight
    return small
