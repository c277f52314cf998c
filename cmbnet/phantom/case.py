"""`make_case`: one digital scan with everything that is known about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmbnet.phantom.acquisition import acquire, motion_factor, receive_bias
from cmbnet.phantom.anatomy import Anatomy, make_anatomy
from cmbnet.phantom.grid import FloatArray, Grid, resample
from cmbnet.phantom.lesions import Microbleed, draw_count, draw_moments, place_lesions
from cmbnet.phantom.mimics import Mimic, MimicKind, draw_mimics, paint_mimics, taken_by
from cmbnet.phantom.phase import (
    CalcificationTruth,
    PhaseRecorder,
    calcification_truth,
    draw_calcifications,
)
from cmbnet.phantom.protocol import TINY, Protocol, WideProtocol, draw_protocol
from cmbnet.phantom.scan import (
    ComplexArray,
    HeadSignal,
    ScanPlan,
    average_sub_slices,
    object_signal,
    plan_scan,
    shows_lesions,
)
from cmbnet.phantom.spheres import add_spheres
from cmbnet.phantom.swi import susceptibility_weighted
from cmbnet.phantom.template import AnatomyKind
from cmbnet.phantom.tissue import NUCLEI
from cmbnet.phantom.truth import LesionTruth, find_apparent
from cmbnet.phantom.veins import VeinPoints
from cmbnet.volume import Volume

WHITE_LEVEL = 600.0
"""Stored value of white matter; the brightest values stay within 12 bits."""
STORED_MAX = 4095

MOTION_PROBABILITY = 0.12
STRIPPED_PROBABILITY = 0.2
TILT_PROBABILITY, MAX_TILT_RAD = 0.6, 0.35

STORAGE_FLIPS: tuple[tuple[int, ...], ...] = ((1, 2), (1, 2), (1, 2), (), (2,))
"""Array axes that are stored backwards: scanners mostly write left-posterior-superior."""

REACH_MM = 9.0
"""Slices this near to a lesion are imaged for its truth."""

VEIN_SHARE = 0.12
IRON_LABELS = tuple(
    NUCLEI.index(name) + 1 for name in ("pallidus", "red nucleus", "nigra", "dentate")
)


@dataclass(frozen=True, slots=True)
class PhantomCase:
    """A phantom scan and its truth, all on one grid."""

    image: Volume  # int16 values as a scanner stores them
    lesions: Volume  # uint16, a value per microbleed that can be seen: the reference
    ignore: Volume  # uint8, 1 where no answer is asked for
    mimics: Volume  # uint16, `MimicKind` of what looks like a microbleed
    brain: Volume  # uint8, 1 in the brain
    truth: tuple[LesionTruth, ...]  # One row per microbleed, seen or not
    protocol: Protocol  # How it was acquired
    seed: int  # Seed of lesions, mimics, noise and acquisition
    anatomy_seed: int  # Seed of the head
    anatomy: AnatomyKind  # ``"mni"`` or ``"procedural"``
    skull_stripped: bool  # Whether all but the brain was set to 0
    phase: Volume | None = None  # int16 values as a scanner stores phase, if it was asked for
    fringe: bool = False  # Whether a fringe line of the coils ends in the head
    calcifications: tuple[CalcificationTruth, ...] = ()  # The calcifications that were asked for


def make_case(
    seed: int,
    *,
    positive: bool,
    protocol: Protocol | str | None = None,
    anatomy: AnatomyKind = "mni",
    anatomy_seed: int | None = None,
    lesion_count: int | None = None,
    phase: str | None = None,
    calcifications: int = 0,
) -> PhantomCase:
    """Make a phantom.

    Args:
        seed: The same seed and arguments give the same bytes.
        positive: Whether the patient has microbleeds.
        protocol: A protocol, or the name of a set or family to draw one from; None draws from
            ``"training"``, for the procedural anatomy it is the tiny one of tests.
        anatomy: ``"mni"`` (needs nilearn) or ``"procedural"`` (needs nothing).
        anatomy_seed: Seed of the head; `seed` if None.
        lesion_count: Number of microbleeds; drawn if None.
        phase: Vendor in whose style the phase is written (`cmbnet.phantom.phase.PHASE_STYLES`);
            None writes none.
        calcifications: Number of calcifications beyond those that every phantom may have.

    Raises:
        MissingExtra: If the MNI anatomy is asked for and nilearn is not installed.
        UsageError: If there is no such protocol or style.
    """
    if protocol is None:
        protocol = "training" if anatomy == "mni" else TINY
    if isinstance(protocol, str):
        protocol = draw_protocol(protocol, np.random.default_rng([seed, 10]))
    head_seed = seed if anatomy_seed is None else anatomy_seed
    if isinstance(protocol, WideProtocol):
        from cmbnet.phantom.family import make_family_case

        return make_family_case(
            seed, protocol, positive=positive, anatomy=anatomy, anatomy_seed=head_seed,
            lesion_count=lesion_count, phase=phase, calcifications=calcifications,
        )  # fmt: skip
    head = make_anatomy(anatomy, head_seed, protocol.head_scale)
    rng = np.random.default_rng([seed, 11])
    tilt = rng.uniform(-MAX_TILT_RAD, MAX_TILT_RAD) if rng.random() < TILT_PROBABILITY else 0.0
    scan = plan_scan(head, protocol, tilt)
    grains = draw_calcifications(np.random.default_rng([seed, 18]), head, protocol, calcifications)
    mimics, seen = _tissue_and_mimics(seed, head, scan, grains)
    without = average_sub_slices(seen.signal, scan)
    lesions: list[Microbleed] = []
    complete = without
    if positive:
        lesions = _draw_lesions(seed, head, scan, mimics, seen, without, lesion_count)
        for lesion in lesions:
            add_spheres(seen.signal, scan, lesion.spheres)
        complete = average_sub_slices(seen.signal, scan)
    bias = receive_bias(np.random.default_rng([seed, 13]), scan.grid.shape, protocol.bias)
    pair = noise_free_pair(lesions, without, complete, bias, scan)
    truth = find_apparent(
        lesions, scan.grid, pair[1], pair[0], noise=seen.white / protocol.snr, white=seen.white
    )
    del without
    recorder = recorder_of(seed, phase, scan)
    image = _image(seed, complete * bias, scan, seen.white, recorder)
    case = _store(seed, scan, head, mimics, truth, image, seen, tilt)
    return with_phase(case, recorder, grains, scan.grid)


def recorder_of(seed: int, phase: str | None, scan: ScanPlan) -> PhaseRecorder | None:
    """Make what takes the phase of a scan in a style; None takes none."""
    if phase is None:
        return None
    coils = np.random.default_rng([seed, 19])
    return PhaseRecorder(coils, phase, scan.grid, scan.protocol.high_pass_per_mm)


def with_phase(
    case: PhantomCase, recorder: PhaseRecorder | None, grains: list[Mimic], grid: Grid
) -> PhantomCase:
    """The case with its phase and calcifications, with axes stored as those of the image."""
    flips = tuple(axis for axis in range(3) if case.image.affine[2 - axis, axis] < 0)
    phase = None
    if recorder is not None:
        stored = np.ascontiguousarray(np.flip(recorder.stored, flips))
        phase = replace(case.image, data=stored, source=f"phantom {case.seed} phase")
    rows = tuple(calcification_truth(grain, grid, flips) for grain in grains)
    fringe = recorder is not None and recorder.fringe
    return replace(case, phase=phase, fringe=fringe, calcifications=rows)


def _tissue_and_mimics(
    seed: int, head: Anatomy, scan: ScanPlan, grains: list[Mimic]
) -> tuple[list[Mimic], HeadSignal]:
    """The head with its mimics, on the sub-slices."""
    mimics, end_on = draw_mimics(np.random.default_rng([seed, 14]), head, scan.protocol)
    mimics += grains
    veins = VeinPoints.joined([head.veins, end_on])
    seen = object_signal(np.random.default_rng([seed, 16]), head, scan, veins)
    for mimic in mimics:
        for sphere in mimic.spheres:
            add_spheres(seen.signal, scan, [sphere])
    return mimics, seen


def _draw_lesions(
    seed: int, head: Anatomy, scan: ScanPlan, mimics: list[Mimic], seen: HeadSignal,
    without: ComplexArray, count: int | None,
) -> list[Microbleed]:  # fmt: skip
    """Draw the microbleeds of a case where they could be seen."""
    rng = np.random.default_rng([seed, 12])
    if count is None:
        count = max(1, round(draw_count(rng) * scan.protocol.head_scale**3))

    def suitable(points_mm: NDArray[np.floating]) -> NDArray[np.bool_]:
        return shows_lesions(points_mm, scan, seen, without)

    moments = draw_moments(rng, count)
    return place_lesions(rng, head, scan.protocol, moments, suitable, taken_by(mimics))


Truth = tuple[NDArray[np.uint16], NDArray[np.uint8], list[LesionTruth]]


def noise_free_pair(
    lesions: list[Microbleed], without: ComplexArray, complete: ComplexArray, bias: FloatArray,
    scan: ScanPlan,
) -> FloatArray:  # fmt: skip
    """Make images without and with the lesions (2, z, y, x), only of slices near a lesion."""
    grid = scan.grid
    pair = np.zeros((2, *grid.shape), np.float32)
    near = np.zeros(grid.shape[0], bool)
    for lesion in lesions:
        middle = float(grid.index_of(lesion.centre_mm)[0])
        reach = REACH_MM / grid.spacing_mm[0]
        near[max(0, int(middle - reach)) : max(0, int(middle + reach) + 2)] = True
    for z in np.flatnonzero(near):
        for image, slices in zip(pair, (without, complete), strict=True):
            noise_free = acquire(slices[z : z + 1] * bias[z], scan.protocol)
            image[z] = susceptibility_weighted(noise_free, grid, scan.protocol)[0]
    return pair


def _image(
    seed: int,
    complete: ComplexArray,
    scan: ScanPlan,
    white: float,
    phase: PhaseRecorder | None = None,
) -> FloatArray:
    """What the scanner makes of the slices: motion, noise, SWI."""
    rng = np.random.default_rng([seed, 17])
    motion = motion_factor(rng, scan.grid) if rng.random() < MOTION_PROBABILITY else None
    image = np.empty(complete.shape, np.float32)
    for z in range(len(complete)):
        noisy = acquire(
            complete[z : z + 1], scan.protocol, noise_sd=white / scan.protocol.snr, rng=rng,
            motion=motion,
        )  # fmt: skip
        image[z] = susceptibility_weighted(noisy, scan.grid, scan.protocol)[0]
        if phase is not None:
            phase.take(z, noisy)
    return image


def _store(
    seed: int, scan: ScanPlan, head: Anatomy, mimics: list[Mimic], truth: Truth, image: FloatArray,
    seen: HeadSignal, tilt: float,
) -> PhantomCase:  # fmt: skip
    """Scale to whole numbers and store the axes as a scanner might."""
    rng = np.random.default_rng([seed, 15])
    brain = resample(head.brain.astype(np.float32), head.grid, scan.grid, outside=0.0) > 0.5
    stripped = bool(rng.random() < STRIPPED_PROBABILITY)
    if stripped:
        image *= ndimage.binary_dilation(brain)
    # Scanners choose their own scale; nothing may depend on it.
    image *= WHITE_LEVEL * rng.uniform(0.5, 1.5) / seen.white
    marks = mark_tissue(head, scan, seen, brain)
    paint_mimics(mimics, scan.grid, marks)
    maps = (image, *truth[:2], marks, brain.astype(np.uint8))
    return store(rng, seed, scan, tilt, head, maps, truth[2], skull_stripped=stripped)


def store(
    rng: np.random.Generator, seed: int, scan: ScanPlan, tilt: float, head: Anatomy,
    maps: tuple[NDArray[Any], ...], rows: list[LesionTruth], *, skull_stripped: bool,
) -> PhantomCase:  # fmt: skip
    """Round an image to whole numbers and store the axes as a scanner might.

    `tilt` is the angle between slices and main field in rad. `maps` are image, lesions, what is
    ignored, mimics and brain, (z, y, x) each. There is a row for each microbleed.
    """
    image, *others = maps
    stored = np.minimum(np.rint(image), STORED_MAX).astype(np.int16)
    flips = STORAGE_FLIPS[int(rng.integers(len(STORAGE_FLIPS)))]
    affine = stored_affine(scan.grid, tilt, flips)
    names = ("image", "lesions", "ignore", "mimics", "brain")
    volumes: dict[str, Any] = {
        name: Volume(np.ascontiguousarray(np.flip(data, flips)), affine, f"phantom {seed} {name}")
        for name, data in zip(names, (stored, *others), strict=True)
    }
    return PhantomCase(
        **volumes,
        truth=tuple(flip_row(row, flips, scan.grid.shape) for row in rows),
        protocol=scan.protocol,
        seed=seed,
        anatomy_seed=head.seed,
        anatomy=head.kind,
        skull_stripped=skull_stripped,
    )


def stored_affine(grid: Grid, tilt: float, flips: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the affine, index (z, y, x) to RAS+ mm. The main field points to S."""
    cos, sin = np.cos(tilt), np.sin(tilt)
    # Columns: where z, y and x of the head point in R, A, S.
    axes = np.array([[0.0, 0.0, 1.0], [-sin, cos, 0.0], [cos, sin, 0.0]])
    affine = np.eye(4)
    affine[:3, :3] = axes * np.array(grid.spacing_mm)
    affine[:3, 3] = axes @ np.array(grid.origin_mm)
    for axis in flips:
        affine[:3, 3] += affine[:3, axis] * (grid.shape[axis] - 1)
        affine[:3, axis] *= -1
    return affine


def flip_row(row: LesionTruth, flips: tuple[int, ...], shape: tuple[int, int, int]) -> LesionTruth:
    """Turn the indices of a truth row into those of the stored array."""
    index = [row.z, row.y, row.x]
    for axis in flips:
        index[axis] = shape[axis] - 1 - index[axis]
    return replace(row, z=index[0], y=index[1], x=index[2])


def mark_tissue(
    head: Anatomy, scan: ScanPlan, seen: HeadSignal, brain: NDArray[np.bool_]
) -> NDArray[np.uint16]:
    """Mark drop-out, iron and veins by `MimicKind`. The more specific kind replaces the other."""
    marks = np.zeros(scan.grid.shape, np.uint16)
    marks[(seen.left < 0.6) & brain] = MimicKind.DROP_OUT
    iron = np.isin(head.nucleus, IRON_LABELS) * head.nucleus_share
    marks[resample(iron, head.grid, scan.grid, outside=0.0) > 128] = MimicKind.IRON
    marks[seen.blood > VEIN_SHARE] = MimicKind.VEIN
    return marks
