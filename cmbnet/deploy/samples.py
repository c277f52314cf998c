"""Phantom scans to calibrate artefacts on, and other phantom scans to judge them on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cmbnet.backends.base import Shape
from cmbnet.deploy.gate import GateCase, small_lesions
from cmbnet.errors import UsageError
from cmbnet.preprocess import prepare
from cmbnet.slices import brain_box, make_stacks
from cmbnet.workers import start_workers

if TYPE_CHECKING:
    from cmbnet.bundle import Bundle
    from cmbnet.phantom import PhantomCase

JUDGED_SEED = 770_001
CALIBRATION_SEED = 880_001
JUDGED_LESIONS = 100
"""Number per positive phantom. It is high so that a few scans suffice."""

CALIBRATION_LESIONS = 20
"""Number per phantom. It is that of patients with many, because ranges should be usual ones."""

TINY_LESIONS = 4
"""Number in the tiny phantom, whose brain has no room for more."""

JUDGED_SLICES = 40
"""Number of adjacent slices of a scan that are judged: those with the most lesions."""

STACKS_PER_CASE = 16


CalibrationSlices = Callable[[Shape, int], NDArray[np.float32]]
"""Function of rows and columns and the number of a draw to float32 (n, y, x, 3) in [0, 1].

Half of the slices hold lesions. Another draw gives other slices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """The phantoms to make."""

    # "mni" is life-size and needs nilearn; "procedural" is tiny, for tests
    anatomy: Literal["mni", "procedural"] = "mni"
    positives: int = 6  # Number of judged scans with lesions
    controls: int = 1  # Number of judged scans without lesions
    calibration: int = 3  # Number of scans with lesions on which int8 ranges are measured

    def __post_init__(self) -> None:
        if self.positives < 1 or self.controls < 0 or self.calibration < 1:
            raise UsageError(
                f"scans with lesions to judge and to calibrate on are required, got {self}"
            )

    def judged(self) -> tuple[GateCase, ...]:
        """Make the scans of the parity gate, which are always the same."""
        counts = [JUDGED_LESIONS] * self.positives + [0] * self.controls
        return tuple(
            _gate_case(self._make(JUDGED_SEED + n, lesions)) for n, lesions in enumerate(counts)
        )

    @contextmanager
    def judged_meanwhile(self) -> Iterator[Callable[[], tuple[GateCase, ...]]]:
        """Make the scans of the parity gate in another process.

        Yields:
            A function that waits for the scans and returns them.
        """
        if self.anatomy == "procedural":  # made before a process has started
            yield self.judged
            return
        from cmbnet.phantom.template import load_template

        load_template(self.anatomy)  # a missing package is reported now, and by this process
        with start_workers(1) as pool:
            yield pool.submit(self.judged).result

    def calibrating(self, draw: int = 0) -> tuple[PhantomCase, ...]:
        """Make the scans on which int8 ranges are measured. Each draw gives others."""
        first = CALIBRATION_SEED + draw * self.calibration
        return tuple(
            self._make(seed, CALIBRATION_LESIONS) for seed in range(first, first + self.calibration)
        )

    def _make(self, seed: int, lesions: int) -> PhantomCase:
        from cmbnet.phantom import make_case

        return make_case(
            seed,
            positive=lesions > 0,
            protocol="validation" if self.anatomy == "mni" else None,
            anatomy=self.anatomy,
            lesion_count=(lesions if self.anatomy == "mni" else TINY_LESIONS) if lesions else None,
        )


def _gate_case(case: PhantomCase) -> GateCase:
    """Take the slab of a phantom with the most lesions, for the gate."""
    slab = _densest(case.lesions.data, JUDGED_SLICES)
    lesions, brain = np.zeros_like(case.lesions.data), np.zeros_like(case.brain.data)
    lesions[slab], brain[slab] = case.lesions.data[slab], case.brain.data[slab]
    rows = [(row.lesion, row.diameter_mm) for row in case.truth if row.status == "truth"]
    return GateCase(
        name=f"phantom {case.seed}",
        scan=case.image.with_data(case.image.data.astype(np.float32)),
        lesions=lesions,
        small=small_lesions(lesions, rows),
        brain=case.brain.with_data(brain),
    )


def _densest(lesions: NDArray[Any], length: int) -> slice:
    """Return the adjacent slices with the most lesion voxels, or the middle ones without any.

    Examples:
        >>> _densest(np.array([0, 0, 1, 1, 1, 0])[:, None, None], 3)
        slice(2, 5, None)
    """
    total = len(lesions)
    if length >= total:
        return slice(0, total)
    voxels = np.count_nonzero(lesions, axis=(1, 2))
    if not voxels.any():
        return slice((total - length) // 2, (total + length) // 2)
    held = np.convolve(voxels, np.ones(length, np.intp), mode="valid")
    start = int(np.argmax(held))
    return slice(start, start + length)


def phantom_slices(
    bundle: Bundle, samples: Samples, report: Callable[[str], None]
) -> CalibrationSlices:
    """Take calibration slices from phantoms, which are made once for each draw.

    Recipe, context and crop are the bundle's.
    """

    @lru_cache(maxsize=1)
    def drawn(draw: int) -> tuple[PhantomCase, ...]:
        report("making phantoms to calibrate int8 on")
        return samples.calibrating(draw)

    def slices(shape: Shape, draw: int) -> NDArray[np.float32]:
        return np.concatenate([_stacks_of(bundle, case, shape) for case in drawn(draw)])

    return slices


def _stacks_of(bundle: Bundle, case: PhantomCase, shape: Shape) -> NDArray[np.float32]:
    image = case.image.with_data(case.image.data.astype(np.float32))
    prepared = prepare(image, bundle.recipe)
    whole = (prepared.image.shape[1], prepared.image.shape[2])
    box = brain_box(prepared.brain, shapes=_fitting(shape, whole))
    lesions = prepared.frame.from_native(case.lesions.data > 0)
    with_lesion = np.array([bool(lesions[z].any()) for z in box.slices], bool)
    chosen = _half_and_half(box.slices, with_lesion)
    stacks = make_stacks(
        box.crop(prepared.image),
        chosen,
        spacing_z_mm=prepared.spacing_mm[0],
        context=bundle.context,
    )
    return centre_crop(stacks, shape)


def _fitting(shape: Shape, whole: Shape) -> Sequence[Shape]:
    """Return the crop, and the whole frame for a brain that is too large for the crop."""
    return (shape,) if shape == whole else (shape, whole)


def _half_and_half(slices: NDArray[np.intp], lesion: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Choose up to `STACKS_PER_CASE` slices, evenly from those with and without lesions."""
    chosen = [
        group[np.unique(np.linspace(0, len(group) - 1, STACKS_PER_CASE // 2).astype(np.intp))]
        for group in (slices[lesion], slices[~lesion])
        if len(group)
    ]
    return np.sort(np.concatenate(chosen))


def centre_crop(stacks: NDArray[np.float32], shape: Shape) -> NDArray[np.float32]:
    """Cut the middle of stacks (n, y, x, 3), where the physical frame has the brain."""
    y, x = ((have - want) // 2 for have, want in zip(stacks.shape[1:3], shape, strict=True))
    return np.ascontiguousarray(stacks[:, y : y + shape[0], x : x + shape[1]])
