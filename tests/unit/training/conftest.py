"""A small cohort that a network learns in seconds: dark balls and tubes in a bright one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cmbnet.io import write_nifti
from cmbnet.lesions import spacing_affine
from cmbnet.preprocess import PreprocessRecipe
from cmbnet.training.data.cache import build_cache
from cmbnet.training.data.reader import Cache
from cmbnet.volume import Volume

SHAPE = (8, 112, 112)
SPACING_MM = (2.0, 0.6, 0.6)


def ball(centre: tuple[float, float, float], diameter_mm: float) -> NDArray[np.bool_]:
    grid = np.moveaxis(np.indices(SHAPE), 0, -1)
    distance = np.linalg.norm((grid - np.array(centre)) * SPACING_MM, axis=-1)
    ball: NDArray[np.bool_] = distance <= diameter_mm / 2
    return ball


def write_case(cohort: Path, name: str, seed: int, n_lesions: int) -> None:
    rng = np.random.default_rng(seed)
    head = ball((3.5, 55.5, 55.5), 60.0)
    image = np.where(head, 600.0, 20.0) + rng.normal(0, 15, SHAPE)
    lesions, mimics = np.zeros(SHAPE, np.uint16), np.zeros(SHAPE, np.uint16)
    for number in range(1, n_lesions + 1):
        angle = 2 * np.pi * (number / max(n_lesions, 1) + rng.random() * 0.1)
        centre = (float(rng.integers(2, 6)), 55 + 26 * np.sin(angle), 55 + 26 * np.cos(angle))
        lesions[ball(centre, 4.2)] = number
    y, x = rng.integers(50, 60, 2)
    mimics[:, y : y + 5, x : x + 5] = 1  # a vein through all slices
    image[lesions > 0] = 100.0
    image[mimics > 0] = 150.0
    ignore = np.zeros(SHAPE, np.uint8)
    ignore[3, 70:74, 40:44] = 1
    affine = spacing_affine(SPACING_MM)
    for kind, data, dtype in (
        ("images", image, np.float32),
        ("lesions", lesions, np.uint16),
        ("ignore", ignore, np.uint8),
        ("mimics", mimics, np.uint16),
    ):
        (cohort / kind).mkdir(parents=True, exist_ok=True)
        write_nifti(Volume(data, affine), cohort / kind / f"{name}.nii.gz", dtype=dtype)


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cases with lesions and one control."""
    directory = tmp_path_factory.mktemp("cohort")
    write_case(directory, "case-a", 1, 4)
    write_case(directory, "case-b", 2, 2)
    write_case(directory, "control", 3, 0)
    return directory


@pytest.fixture(scope="session")
def cache_path(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their cache, in frames of 112 pixels."""
    path = tmp_path_factory.mktemp("cache") / "train"
    build_cache(cohort, path, recipe=PreprocessRecipe(size=112))
    return path


@pytest.fixture(scope="session")
def cache(cache_path: Path) -> Cache:
    """The cache, read; the control is case 2."""
    return Cache(cache_path)
