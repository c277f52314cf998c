"""Measure the brain masks against scans whose brain is known.

Usage, from the root of the repository:
    python benchmarks/brain_mask.py IMAGES TRUTH [--codes 3 4 5] [--png FOLDER]

IMAGES and TRUTH hold NIfTI files that sort alike. TRUTH is a mask, or codes of which --codes are
brain. With --lesions FOLDER, labels of lesions: how many lie in the mask as the rules ask.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cmbnet.io import read_nifti
from cmbnet.lesions.rules import LesionRules
from cmbnet.preprocess.brain import CoarseBrain, estimate_brain
from cmbnet.preprocess.brain_network import learned_brain
from cmbnet.preprocess.orientation import closest_orientation

Estimate = Callable[[NDArray[np.float32], tuple[float, float, float]], CoarseBrain]
ESTIMATES: dict[str, Estimate] = {"classical": estimate_brain, "learned-1": learned_brain}
COLOURS = {"truth": (0, 255, 0), "classical": (255, 0, 0), "learned-1": (255, 220, 0)}


def main() -> None:
    """Print a row per scan and the means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--codes", type=int, nargs="+")
    parser.add_argument("--lesions", type=Path)
    parser.add_argument("--png", type=Path, help="Folder for outlines.")
    options = parser.parse_args()
    rows: dict[str, list[tuple[float, ...]]] = {name: [] for name in ESTIMATES}
    print("| scan | mask | Dice | volume ratio | sensitivity | lesions kept | of | certainty | s |")
    for image, truth in zip(_files(options.images), _files(options.truth), strict=True):
        lesions = options.lesions and _files(options.lesions)[_files(options.images).index(image)]
        for name, row in measure(image, truth, options.codes, lesions, options.png).items():
            rows[name].append(row)
            print(f"| {image.name[:24]} | {name} | {_text(row)} |", flush=True)
    for name, all_of in rows.items():
        print(f"| mean of {len(all_of)} | {name} | {_text(tuple(np.mean(all_of, axis=0)))} |")
        print(f"| least of {len(all_of)} | {name} | {min(row[0] for row in all_of):.3f} |")


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.nii.gz"))


def _text(row: tuple[float, ...]) -> str:
    return " | ".join(f"{number:.3f}" for number in row)


def measure(
    image_file: Path, truth_file: Path, codes: list[int] | None,
    lesion_file: Path | None, png: Path | None,
) -> dict[str, tuple[float, ...]]:  # fmt: skip
    """Dice, volume ratio, sensitivity, lesions inside, lesions, certainty and seconds."""
    volume, known = read_nifti(image_file), np.asarray(read_nifti(truth_file).data)
    orientation = closest_orientation(volume.affine)
    image = orientation.apply(np.asarray(volume.data, np.float32))
    truth = orientation.apply(np.isin(known, codes) if codes else known > 0)
    lesions = np.zeros(truth.shape, int)
    if lesion_file:
        lesions = orientation.apply(np.asarray(read_nifti(lesion_file).data).astype(int))
    z_mm, y_mm, x_mm = (volume.spacing_mm[axis] for axis in orientation.axes)
    rows: dict[str, tuple[float, ...]] = {}
    masks = {"truth": truth}
    for name, estimate in ESTIMATES.items():
        start = time.process_time()
        brain = estimate(image, (z_mm, y_mm, x_mm))
        seconds = time.process_time() - start
        mask = brain.sample(*(np.arange(n, dtype=np.float64) for n in image.shape))
        both = np.count_nonzero(mask & truth)
        total = np.bincount(lesions.ravel())
        outside = np.bincount(lesions[~mask], minlength=len(total))
        there = np.flatnonzero(total)[1:]
        kept = np.count_nonzero(outside[there] <= LesionRules().max_outside_brain * total[there])
        rows[name] = (
            2 * both / (mask.sum() + truth.sum()), mask.sum() / truth.sum(), both / truth.sum(),
            float(kept), float(len(there)), brain.certainty, seconds,
        )  # fmt: skip
        masks[name] = mask
    if png:
        picture(image, masks, png / f"{image_file.name.removesuffix('.nii.gz')}.png")
    return rows


def picture(image: NDArray[np.float32], masks: dict[str, NDArray[np.bool_]], file: Path) -> None:
    """Five slices with the outlines of all masks, front up."""
    from PIL import Image
    from scipy.ndimage import binary_erosion

    tiles = []
    for z in np.linspace(0.12, 0.9, 5) * (len(image) - 1):
        one = int(z)
        grey = np.clip(image[one] / max(np.percentile(image, 99.5), 1e-6), 0, 1) * 255
        tile = np.repeat(grey[..., None], 3, axis=2)
        for name, mask in masks.items():
            tile[mask[one] & ~binary_erosion(mask[one])] = COLOURS[name]
        tiles.append(tile[::-1])
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.hstack(tiles).astype(np.uint8)).save(file)


if __name__ == "__main__":
    main()
