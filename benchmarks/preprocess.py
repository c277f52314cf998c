"""Measure preprocessing: time and memory at 384 x 448 x 72, verdicts of the gate on real files.

Usage, from the root of the repository:
    python benchmarks/preprocess.py            # time and memory
    python benchmarks/preprocess.py --verdicts # and the gate's table (needs ../shared/data)
    python benchmarks/preprocess.py --phantoms 6 # and the brain mask against phantoms
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cmbnet.errors import CmbnetError
from cmbnet.io import read_nifti, write_nifti
from cmbnet.preprocess import PreparedCase, PreprocessRecipe, check_quality, prepare
from cmbnet.preprocess.brain import estimate_brain
from cmbnet.preprocess.intensity import fit_intensity
from cmbnet.volume import Volume

DATA = Path("../shared/data")
REPEATS = 7
SHAPE = (72, 448, 384)
SPACING_MM = (2.0, 0.5, 0.5)


def head() -> Volume:
    """A head of ellipsoids with scalp and noise, int16 values, stored LPS as scanners do."""
    rng = np.random.default_rng(0)
    z, y, x = np.meshgrid(
        *[(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(SHAPE, SPACING_MM, strict=True)],
        indexing="ij",
        sparse=True,
    )
    brain = (z / 62) ** 2 + (y / 86) ** 2 + (x / 68) ** 2 < 1
    outer = (z / 80) ** 2 + (y / 104) ** 2 + (x / 86) ** 2 < 1
    inner = (z / 74) ** 2 + (y / 98) ** 2 + (x / 80) ** 2 < 1
    signal = 1000.0 * brain * (1 + 0.1 * np.sin(x / 3) * np.sin(y / 4)) + 900.0 * (outer & ~inner)
    data = np.hypot(signal + 30 * rng.normal(size=SHAPE), 30 * rng.normal(size=SHAPE))
    affine = np.array(
        [[0, 0, -0.5, 96], [0, -0.5, 0, 112], [2.0, 0, 0, -71], [0, 0, 0, 1]], dtype=float
    )
    return Volume(np.round(data).astype(np.float32), affine, "head")


def best_of(function: Callable[[], Any]) -> tuple[float, float]:
    """Fastest and median wall time in seconds."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times), float(np.median(times))


def row(name: str, seconds: tuple[float, float]) -> None:
    """Print one line of the table."""
    print(f"| {name:<44} | {seconds[0]:6.3f} | {seconds[1]:6.3f} |")


def times() -> None:
    """Time every step on one scan."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "head.nii.gz"
        write_nifti(head(), path, dtype=np.int16)
        print(f"{SHAPE[2]}x{SHAPE[1]}x{SHAPE[0]} at {SPACING_MM} mm (z, y, x), ", end="")
        print(f"{os.cpu_count()} cores, best and median of {REPEATS}, seconds")
        print(f"| {'step':<44} | {'best':>6} | {'median':>6} |")
        row("read_nifti, int16 .nii.gz", best_of(lambda: read_nifti(path)))
        volume = read_nifti(path)
        recipe = PreprocessRecipe()
        tracemalloc.start()
        case = prepare(volume, recipe)
        extra_mb = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        row("prepare, physical 0.6 mm (resampled)", best_of(lambda: prepare(volume, recipe)))
        cropped, paper = PreprocessRecipe(pixel_mm=0.5), PreprocessRecipe(frame="paper")
        row("prepare, physical 0.5 mm (cropped only)", best_of(lambda: prepare(volume, cropped)))
        row("prepare, paper", best_of(lambda: prepare(volume, paper)))
        stages(volume, case, recipe)
        row("check_quality", best_of(lambda: check_quality(volume, case)))
        probability = case.image * case.brain
        row("to_native, probability", best_of(lambda: case.frame.to_native(probability, order=1)))
        row("to_native, mask", best_of(lambda: case.frame.to_native(case.brain)))
        mask = Volume(volume.data > 2000, volume.affine)
        out = Path(folder) / "mask.nii.gz"
        row("write_nifti, mask .nii.gz", best_of(lambda: write_nifti(mask, out, dtype=np.uint8)))
    held_mb = (case.image.nbytes + case.brain.nbytes) / 1e6
    print(
        f"memory: scan {volume.data.nbytes / 1e6:.0f} MB, prepared case {held_mb:.0f} MB, ", end=""
    )
    print(f"peak of prepare beside the scan {extra_mb:.0f} MB")


def stages(volume: Volume, case: PreparedCase, recipe: PreprocessRecipe) -> None:
    """What prepare spends its time on."""
    canonical = case.frame.orientation.apply(volume.data)
    row("  of which brain mask", best_of(lambda: estimate_brain(canonical, SPACING_MM)))
    row("  of which resampling", best_of(lambda: case.frame.image_from_native(volume.data)))
    row(
        "  of which intensity",
        best_of(lambda: fit_intensity(case.image, case.brain, recipe, darkest=0.0)),
    )


def verdicts() -> None:
    """Print the gate's verdict and measures for every real file."""
    import nibabel as nib

    files: list[tuple[Path, int | None]] = [
        (Path(nib.__file__).parent / "tests/data/example4d.nii.gz", 0)
    ]
    for pattern, frame in (
        ("dcm_qa_fmap/Ref/*.nii", None),
        ("dcm_qa_orientation/Ref/*.nii", 0),
        ("megre_7t_crop/Mag.nii", 0),
        ("megre_7t_crop/Phase.nii", 0),
        ("sct_t2s_and_bad_headers/t2s*.nii.gz", None),
        ("niivue_headers/pcasl.nii.gz", 0),
        ("niivue_headers/shear.nii.gz", None),
        ("niivue_headers/complex_image.nii.gz", None),
        ("niivue_headers/nifti_space/RAS.nii.gz", None),
        ("dcm_qa_canon_61/Ref/*_cl.nii.gz", 0),
        ("dicom2nifti_headers/*/*/001_ground_truth.nii.gz", None),
    ):
        files += [(path, frame) for path in sorted(DATA.glob(pattern))]
    print("| file | verdict | ml | noise | structure | dark (asym.) | bright |")
    for path, frame in files:
        print(f"| {'/'.join(path.parts[-3:])[-46:]:<46} | {verdict(path, frame)} |")


def verdict(path: Path, frame: int | None) -> str:
    """One row of the table without the name."""
    try:
        volume = read_nifti(path, frame=frame)
        report = check_quality(volume, prepare(volume, PreprocessRecipe()))
    except CmbnetError as error:
        return f"REFUSED on reading: {str(error).removeprefix(str(path))[:90]}"
    wanted = "warning" if report.analysable else "refuse"
    codes = ", ".join(found.code for found in report.findings if found.severity == wanted)
    m = report.measures
    return (
        f"{'analysed' if report.analysable else 'REFUSED'} ({codes}) | {m.brain_ml:.0f} | "
        f"{m.noise:.3f} | {m.structure:.3f} | {m.deep_dark:.4f} ({m.dark_asymmetry:.2f}) | "
        f"{m.deep_bright:.3f}"
    )


def phantoms(count: int) -> None:
    """Compare the brain mask with the phantom's, and judge every phantom."""
    from cmbnet.phantom import make_case

    print("| phantom | Dice | sensitivity | lesions inside | verdict | measures |")
    for seed in range(count):
        phantom = make_case(seed, positive=seed % 2 == 0)
        case = prepare(phantom.image, PreprocessRecipe())
        truth = case.frame.from_native(np.asarray(phantom.brain.data) > 0)
        lesions = case.frame.from_native(np.asarray(phantom.lesions.data))
        both = np.count_nonzero(truth & case.brain)
        inside = len(np.unique(lesions[case.brain])) - 1
        report = check_quality(phantom.image, case)
        codes = [found.code for found in report.findings if found.severity != "info"]
        print(
            f"| {seed} {phantom.image.shape} | "
            f"{2 * both / (truth.sum() + case.brain.sum()):.3f} | {both / truth.sum():.4f} | "
            f"{inside} of {len(np.unique(lesions)) - 1} | {report.analysable} {codes} | "
            f"{report.measures} |"
        )


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verdicts", action="store_true")
    parser.add_argument("--phantoms", type=int, default=0)
    arguments = parser.parse_args()
    times()
    if arguments.verdicts:
        verdicts()
    if arguments.phantoms:
        phantoms(arguments.phantoms)


if __name__ == "__main__":
    main()
