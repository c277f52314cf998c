"""Measure the regions of lesions on phantoms, and the region map against an atlas.

Usage, from the root of the repository:
    cmbnet phantom -o phantoms --positives 24 --negatives 12 --seed 9500 --protocols test \
        --cases-per-head 1
    python -m benchmarks.regions phantoms [--atlas ../shared/data/mars_atlas/FILE.nii.gz] [--hard 3]

A phantom knows how its head was deformed from MNI space, so it knows the MNI position of every
voxel. The true region of a lesion is that of the region map at its true position. With --hard N,
every scan is also tilted, cut and stripped at random N times: each of these must be located to
within 8 mm (median over the brain), or refused.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.shares import keep_shares
from cmbnet.evaluation.stats.intervals import wilson
from cmbnet.io import read_nifti
from cmbnet.phantom.anatomy import deformation_of
from cmbnet.phantom.family.head import family_deformation
from cmbnet.phantom.individual import Deformation
from cmbnet.preprocess.brain_network import learned_brain
from cmbnet.preprocess.orientation import closest_orientation
from cmbnet.regions import REGIONS, Locator, group_of, head_template, locate

SILENT_MM = 8.0
FAR_MM = 3.0
Floats = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Case:
    """A phantom scan in canonical order, its true brain, and its lesions."""

    name: str
    image: NDArray[np.float32]
    brain: NDArray[np.bool_]
    affine: NDArray[np.float64]
    deformation: Deformation
    lesions_mm: Floats

    def true_mni(self, world_mm: Floats) -> Floats:
        """True MNI position (n, 3) of world positions (n, 3), superior, anterior, right."""
        axes = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        # Columns: the head's z, y, x in R, A, S. The map of a head knows nothing of the tilt.
        return self.deformation.to_mni((world_mm[:, ::-1] @ axes).astype(np.float32))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("phantoms", type=Path)
    parser.add_argument("--atlas", type=Path, help="MARS regions in MNI space, squared labels.")
    parser.add_argument("--hard", type=int, default=0)
    parser.add_argument("--shares", type=Path, help="File of counts for cmbnet card.")
    options = parser.parse_args()
    if options.atlas:
        agreement(options.atlas)
    found: list[tuple[str, str, float]] = []
    seconds, errors, hard = [], [], Counter[str]()
    rng = np.random.default_rng(0)
    for case in cases_of(options.phantoms):
        brain = estimated(case)
        start = time.process_time()
        locator = locate(case.image, brain, case.affine)
        seconds.append(time.process_time() - start)
        errors.append(error_mm(locator, case, case.brain, case.affine))
        found += compared(locator, case)
        print(f"# {case.name}: error {errors[-1]:.1f} mm {locator.failed}", flush=True)
        for _ in range(options.hard):
            hard[hard_case(case, rng)] += 1
    right = counts(found, hard)
    rows(right, errors, seconds)
    wrong = Counter((t, s) for t, s, _ in found if group_of(t) != group_of(s))
    print(f"| wrong groups | {wrong.most_common(6)} |\n| {dict(hard)} |")
    if options.shares:
        run = f"{options.phantoms.name} --hard {options.hard}"
        keep_shares(options.shares, run, right, where="of regions", about=ABOUT, bundle=None)


ABOUT = (
    "The region of each true microbleed of phantom heads was compared with that of its place in "
    "the head that the phantom was deformed from. The network has no part in that."
)


def cases_of(folder: Path) -> Iterator[Case]:
    """The scans of a cohort."""
    with (folder / "lesions.csv").open(newline="") as stream:
        lesions = [row for row in csv.DictReader(stream) if row["status"] == "truth"]
    for file in sorted((folder / "cases").glob("*.json")):
        told = json.loads(file.read_text())
        protocol, seed = told["protocol"], told["summary"]["anatomy_seed"]
        deform = family_deformation if "echoes" in protocol else deformation_of
        volume = read_nifti(folder / "images" / f"{file.stem}.nii.gz")
        brain = read_nifti(folder / "brain" / f"{file.stem}.nii.gz").data > 0
        turn = closest_orientation(volume.affine)
        places = np.array(
            [
                volume.world_mm((float(row["z"]), float(row["y"]), float(row["x"])))
                for row in lesions
                if row["case"] == file.stem
            ]
        ).reshape(-1, 3)
        yield Case(
            file.stem,
            np.ascontiguousarray(turn.apply(np.asarray(volume.data, np.float32))),
            np.ascontiguousarray(turn.apply(brain)),
            turn.affine(volume.affine, volume.shape),
            deform(seed, protocol["head_scale"]),
            places[:, ::-1],
        )


def estimated(case: Case) -> NDArray[np.bool_]:
    """The brain as the pipeline estimates it."""
    z, y, x = np.linalg.norm(case.affine[:3, :3], axis=0).tolist()
    axes = [np.arange(n, dtype=np.float64) for n in case.image.shape]
    return learned_brain(case.image, (z, y, x)).sample(axes[0], axes[1], axes[2])


def error_mm(
    locator: Locator, case: Case, brain: NDArray[np.bool_], affine: NDArray[np.float64]
) -> float:
    """Median distance of located and true MNI positions over the brain of the scan."""
    if locator.alignment is None:
        return np.inf
    some = np.random.default_rng(0).choice(np.flatnonzero(brain), 2000)
    index = np.stack(np.unravel_index(some, brain.shape), axis=1)
    known, world = (index @ a[:3, :3].T + a[:3, 3] for a in (case.affine, affine))
    there = locator.alignment.to_template(world[:, ::-1])
    true = case.true_mni(known[:, ::-1])
    return float(np.median(np.linalg.norm(there - true, axis=1)))


def compared(locator: Locator, case: Case) -> list[tuple[str, str, float]]:
    """True and stated region of each lesion, and the stated margin to the next group."""
    labels = head_template().labels
    result = []
    for point, number in zip(
        case.lesions_mm, labels.numbers(case.true_mni(case.lesions_mm)), strict=True
    ):
        place = locator.place((point[2], point[1], point[0]))
        true = REGIONS[number - 1] if number else "unknown"
        result.append((true, place.region, place.group_margin_mm or 0.0))
    return result


def hard_case(case: Case, rng: np.random.Generator) -> str:
    """Tilt, cut and strip a scan; say how it was answered."""
    image, brain, affine = case.image, case.brain, case.affine.copy()
    if rng.random() < 0.5:
        image = image * brain
    if rng.random() < 0.5:
        share = rng.uniform(0.35, 0.8)
        first = round(len(image) * rng.uniform(0, 1 - share))
        part = slice(first, first + round(len(image) * share))
        image, brain = image[part], brain[part]
        affine[:3, 3] += affine[:3, 0] * first
    cut = Case(case.name, image, brain, affine, case.deformation, case.lesions_mm)
    cosines = np.eye(4)
    for angle, (a, b) in zip(
        np.deg2rad(rng.uniform(-1, 1, 3) * (30, 12, 12)), ((1, 2), (0, 2), (0, 1)), strict=True
    ):
        turn = np.eye(4)
        turn[[a, b], [a, b]], turn[a, b], turn[b, a] = np.cos(angle), -np.sin(angle), np.sin(angle)
        cosines = cosines @ turn
    cosines[:3, 3] = rng.uniform(-40, 40, 3)
    locator = locate(image, estimated(cut), cosines @ affine)
    error = error_mm(locator, cut, brain, cosines @ affine) if brain.any() else np.inf
    right = error <= SILENT_MM
    found = locator.alignment
    said = f"overlap {found.overlap:.3f}, explained {found.explained:.2f}" if found else ""
    print(
        f"# {case.name}, {len(image)} slices: error {error:.1f} mm, {said} {locator.failed}",
        flush=True,
    )
    if locator.failed:
        return "refused though right" if right else "refused"
    return "right" if right else "SILENT FAILURE"


def counts(found: list[tuple[str, str, float]], hard: Counter[str]) -> dict[str, tuple[int, int]]:
    """Hits and total of each figure."""
    group = [(group_of(true) == group_of(stated), mm) for true, stated, mm in found]
    far = [same for same, mm in group if mm >= FAR_MM]
    return {
        "group right (lobar, deep, infratentorial)": (sum(s for s, _ in group), len(group)),
        f"the same, {FAR_MM:g} mm and more from the next group": (sum(far), len(far)),
        "region right, of 13": (sum(true == stated for true, stated, _ in found), len(found)),
        "region unknown": (sum(stated == "unknown" for _, stated, _ in found), len(found)),
        f"tilted, cut and stripped scans off by more than {SILENT_MM:g} mm in silence": (
            hard["SILENT FAILURE"], hard.total()
        ),
        "such scans refused with a reason": (
            hard["refused"] + hard["refused though right"], hard.total()
        ),
    }  # fmt: skip


def rows(right: dict[str, tuple[int, int]], errors: list[float], seconds: list[float]) -> None:
    """The table of lesions."""
    print(
        f"| {len(errors)} scans | error, median {np.median(errors):.1f}, worst "
        f"{max(errors):.1f} mm |"
    )
    print(f"| CPU | median {np.median(seconds):.2f} s |")
    for what, (hits, total) in right.items():
        interval = wilson(hits, total)
        print(f"| {what} | {hits} of {total} ({interval.low:.3f}-{interval.high:.3f}) |")


def agreement(file: Path) -> None:
    """Agreement of the region map with an atlas over the template's brain."""
    atlas = read_nifti(file)
    numbers = np.rint(np.sqrt(np.abs(np.asarray(atlas.data, np.float64)))).astype(int)
    template = head_template()
    index = np.argwhere(numbers > 0)
    world = (index @ atlas.affine[:3, :3].T + atlas.affine[:3, 3])[:, ::-1]
    inside = template.tissues.at(world)[0][:, 0] > 0.5
    true, stated = numbers[tuple(index[inside].T)], template.labels.numbers(world[inside])
    groups = np.array(["unknown", *map(group_of, REGIONS)])
    print(
        f"| atlas, {inside.sum()} voxels | region {np.mean(true == stated):.3f}, "
        f"group {np.mean(groups[true] == groups[stated]):.3f} |"
    )


if __name__ == "__main__":
    main()
