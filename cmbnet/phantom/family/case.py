"""`make_family_case`: one scan of the wide family with everything that is known about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmbnet.phantom.acquisition import acquire, motion_factor, receive_bias
from cmbnet.phantom.case import (
    MAX_TILT_RAD,
    TILT_PROBABILITY,
    WHITE_LEVEL,
    PhantomCase,
    Truth,
    mark_tissue,
    noise_free_pair,
    recorder_of,
    store,
    with_phase,
)
from cmbnet.phantom.family.disease import Disease, draw_diseases
from cmbnet.phantom.family.head import FamilyHead, make_family_head
from cmbnet.phantom.family.lesions import draw_family_lesions
from cmbnet.phantom.family.looks import Looks, draw_looks, paint
from cmbnet.phantom.family.mimics import draw_family_mimics
from cmbnet.phantom.grid import FloatArray, Grid, resample
from cmbnet.phantom.lesions import Microbleed
from cmbnet.phantom.mimics import Mimic, MimicKind, paint_mimics, taken_by
from cmbnet.phantom.phase import PhaseRecorder, draw_calcifications
from cmbnet.phantom.protocol import WideProtocol
from cmbnet.phantom.scan import (
    ComplexArray,
    HeadSignal,
    ScanPlan,
    average_sub_slices,
    plan_scan,
    shows_lesions,
    signal_of,
)
from cmbnet.phantom.spheres import add_spheres
from cmbnet.phantom.swi import susceptibility_weighted
from cmbnet.phantom.template import AnatomyKind
from cmbnet.phantom.truth import find_apparent
from cmbnet.phantom.veins import VeinPoints

MOTION_PROBABILITY = 0.15
STRIPPED_PROBABILITY, DEFACED_PROBABILITY = 0.15, 0.1
LEAST_KEPT = 0.9
"""Share of a lesion that must be left of it where the skull is stripped."""


def make_family_case(
    seed: int,
    protocol: WideProtocol,
    *,
    positive: bool,
    anatomy: AnatomyKind,
    anatomy_seed: int,
    lesion_count: int | None = None,
    phase: str | None = None,
    calcifications: int = 0,
) -> PhantomCase:
    """Make a phantom of the wide family; `cmbnet.phantom.make_case` calls this for its protocols.

    Arguments are those of `cmbnet.phantom.make_case`. The phase is that of the first of
    `echo_times_ms`.
    """
    head = make_family_head(anatomy, anatomy_seed, protocol.head_scale)
    rng = np.random.default_rng([seed, 41])
    tilt = rng.uniform(-MAX_TILT_RAD, MAX_TILT_RAD) if rng.random() < TILT_PROBABILITY else 0.0
    margin = (float(rng.uniform(0, 24)), *(rng.uniform(24, 50, 2) * protocol.head_scale).tolist())
    scan = _part(plan_scan(head.anatomy, protocol, tilt, margin), protocol)
    patient = _draw_patient(seed, head, protocol)
    rng = np.random.default_rng([seed, 49])
    grains = draw_calcifications(rng, head.anatomy, protocol, calcifications)
    patient.mimics.extend(grains)
    recorder = recorder_of(seed, phase, scan)
    bias = receive_bias(np.random.default_rng([seed, 43]), scan.grid.shape, protocol.bias)
    bias *= _slab(scan, protocol)
    rng = np.random.default_rng([seed, 47])
    pair = np.zeros((2, *scan.grid.shape), np.float32)
    image = np.zeros(scan.grid.shape, np.float32)
    lesions: list[Microbleed] = []
    echoes = [replace(protocol, te_ms=te_ms) for te_ms in echo_times_ms(protocol)]
    noise_sd = np.sqrt(len(echoes)) / protocol.snr
    for number, at_echo in enumerate(echoes):
        echo = replace(scan, protocol=at_echo)
        seen = _seen(patient, echo)
        without = complete = average_sub_slices(seen.signal, echo)
        if number == 0:
            first = replace(seen, signal=seen.signal[:0])
            if positive:
                lesions = _draw_lesions(seed, patient, echo, seen, without, lesion_count)
        if lesions:
            for lesion in lesions:
                add_spheres(seen.signal, echo, lesion.spheres)
            complete = average_sub_slices(seen.signal, echo)
        del seen
        pair += noise_free_pair(lesions, without, complete, bias, echo)
        taken = recorder if number == 0 else None
        image += _image(rng, complete * bias, echo, at_echo, noise_sd, taken)
    # Where there is most of the noise; texture hides a lesion as well as noise does.
    noise = float(np.hypot((1 + protocol.uneven_noise) / protocol.snr, patient.looks.texture))
    truth = find_apparent(
        lesions, scan.grid, pair[1] / len(echoes), pair[0] / len(echoes), noise=noise, white=1.0,
        filled=True,
    )  # fmt: skip
    case = _store(seed, scan, patient, truth, image / np.float32(len(echoes)), first, tilt)
    return with_phase(case, recorder, grains, scan.grid)


def echo_times_ms(protocol: WideProtocol) -> list[float]:
    """Return echo times whose mean is that of the protocol, the middle or last one first."""
    shares = {1: (1.0,), 2: (1.35, 0.65), 3: (1.0, 1.5, 0.5)}[protocol.echoes]
    return [protocol.te_ms * share for share in shares]


@dataclass(frozen=True, slots=True)
class _Patient:
    """A head with its contrasts, veins, mimics and diseases, before it is scanned."""

    head: FamilyHead
    looks: Looks
    signal: FloatArray
    chi_ppm: FloatArray
    veins: VeinPoints
    mimics: list[Mimic]
    diseases: list[Disease]


def _draw_patient(seed: int, head: FamilyHead, protocol: WideProtocol) -> _Patient:
    rng = np.random.default_rng([seed, 44])
    looks = draw_looks(rng, protocol)
    signal, chi = paint(rng, head, looks)
    diseases = draw_diseases(np.random.default_rng([seed, 45]), head, looks, signal, chi)
    mimics, veins = draw_family_mimics(
        np.random.default_rng([seed, 46]), head, protocol, looks.signal["csf"]
    )
    veins = VeinPoints.joined([head.anatomy.veins, veins])
    return _Patient(head, looks, signal, chi, veins, mimics, diseases)


def _seen(patient: _Patient, scan: ScanPlan) -> HeadSignal:
    """The patient with mimics and diseases, before microbleeds."""
    looks = patient.looks
    seen = signal_of(
        patient.signal, patient.chi_ppm, 1.0, patient.head.anatomy, scan, patient.veins,
        (looks.signal["vein"], looks.chi_ppm["vein"]),
    )  # fmt: skip
    for mimic in patient.mimics:
        for sphere in mimic.spheres:
            add_spheres(seen.signal, scan, [sphere])
    return seen


def _draw_lesions(
    seed: int, patient: _Patient, scan: ScanPlan, seen: HeadSignal, without: ComplexArray,
    count: int | None,
) -> list[Microbleed]:  # fmt: skip
    """Draw the microbleeds where they could be seen, and in no other disease."""

    def suitable(points_mm: NDArray[np.floating]) -> NDArray[np.bool_]:
        return shows_lesions(points_mm, scan, seen, without)

    taken = taken_by(patient.mimics)
    taken += [(one.centre_mm, one.reach_mm) for one in patient.diseases if one.reach_mm]
    rng = np.random.default_rng([seed, 42])
    return draw_family_lesions(rng, patient.head, scan, suitable, taken, count)


def _part(scan: ScanPlan, protocol: WideProtocol) -> ScanPlan:
    """The scan of the slices that the slab covers."""
    first, last = (round(share * scan.grid.shape[0]) for share in protocol.covered)
    last = max(last, first + 1)

    def cut(grid: Grid, factor: int) -> Grid:
        z = grid.origin_mm[0] + first * factor * grid.spacing_mm[0]
        shape = ((last - first) * factor, *grid.shape[1:])
        return replace(grid, shape=shape, origin_mm=(z, *grid.origin_mm[1:]))

    return replace(scan, grid=cut(scan.grid, 1), work=cut(scan.work, scan.sub_slices))


def _slab(scan: ScanPlan, protocol: WideProtocol) -> FloatArray:
    """(z, 1, 1) signal along a slab: the outer slices of 3D scans fade."""
    edge = protocol.edge_slices
    z = np.arange(scan.grid.shape[0])
    from_end = np.minimum(z, z[::-1]) + 0.5
    share = 1 / (1 + np.exp(-(from_end - edge / 2) / max(edge / 4, 1e-3))) if edge else z * 0 + 1
    result: FloatArray = share.astype(np.float32)[:, None, None]
    return result


def _image(
    rng: np.random.Generator,
    complete: ComplexArray,
    scan: ScanPlan,
    protocol: WideProtocol,
    noise_sd: float,
    phase: PhaseRecorder | None,
) -> FloatArray:
    """What the scanner makes of the slices: motion, ghosts, noise, SWI, filters."""
    factor = _ghosts(rng, scan.grid, protocol.ghost)
    if rng.random() < MOTION_PROBABILITY:
        factor = factor * motion_factor(rng, scan.grid, float(rng.uniform(0.2, 0.8)))
    z, y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in scan.grid.shape)
    middle = np.exp(-2 * (y[:, None] ** 2 + x**2))
    sd = (noise_sd * (1 + protocol.uneven_noise * middle[..., None])).astype(np.float32)
    image = np.empty(complete.shape, np.float32)
    for number in range(len(z)):
        noise = rng.standard_normal((1, *scan.grid.shape[1:], 2), np.float32) * sd
        noisy = complete[number : number + 1] + noise.view(np.complex64)[..., 0]
        noisy = acquire(noisy, protocol, motion=factor)
        image[number] = susceptibility_weighted(noisy, scan.grid, protocol)[0]
        if phase is not None:
            phase.take(number, noisy)
    return image


def _ghosts(rng: np.random.Generator, grid: Grid, strength: float) -> ComplexArray:
    """Factor of k-space, (y, 1): copies of the head at a part of the field of view."""
    rows = np.arange(grid.shape[1])
    period = int(rng.integers(2, 5))
    wave = 1 + strength * np.exp(2j * np.pi * (rows / period + rng.random()))
    result: ComplexArray = wave[:, None].astype(np.complex64)
    return result


def _store(
    seed: int, scan: ScanPlan, patient: _Patient, truth: Truth, image: FloatArray, seen: HeadSignal,
    tilt: float,
) -> PhantomCase:  # fmt: skip
    """Strip or deface, scale to whole numbers and store the axes as a scanner might."""
    rng = np.random.default_rng([seed, 48])
    head = patient.head
    brain = (_on(head.anatomy.brain, head, scan) > 0.5) & (_on(head.sinus, head, scan) < 128)
    stripped = bool(rng.random() < STRIPPED_PROBABILITY)
    if stripped:
        kept = _stripped(rng, head, scan, brain)
        image *= kept
        truth = _kept_truth(truth, kept)
    elif rng.random() < DEFACED_PROBABILITY:
        image *= _defaced(rng, head, scan)
    image *= WHITE_LEVEL * rng.uniform(0.3, 1.5) / seen.white
    labels, ignore, rows = truth
    marks = _mimic_map(patient, scan, seen, brain)
    for disease in patient.diseases:
        if disease.ignored:
            box, share = disease.on(head.anatomy.grid, scan.grid)
            ignore[box][(share > 0.3) & (labels[box] == 0)] = 1
    maps = (image, labels, ignore, marks, brain.astype(np.uint8))
    return store(rng, seed, scan, tilt, head.anatomy, maps, rows, skull_stripped=stripped)


def _on(values: NDArray[Any], head: FamilyHead, scan: ScanPlan) -> FloatArray:
    return resample(values.astype(np.float32), head.anatomy.grid, scan.grid, outside=0.0)


def _stripped(
    rng: np.random.Generator, head: FamilyHead, scan: ScanPlan, brain: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """What a skull-stripping tool keeps: the brain, a little less, or all within the skull."""
    kind = rng.random()
    if kind < 0.4:
        kept: NDArray[np.bool_] = _on(head.outside_mm < rng.uniform(-1, 1), head, scan) > 0.5
        return kept
    structure = np.zeros((3, 3, 3), bool)
    structure[1] = ndimage.generate_binary_structure(2, 1)
    steps = int(rng.integers(1, 4))
    change = ndimage.binary_dilation if kind < 0.8 else ndimage.binary_erosion
    result: NDArray[np.bool_] = change(brain, structure, steps)
    return result


def _kept_truth(truth: Truth, kept: NDArray[np.bool_]) -> Truth:
    """The truth of a stripped scan: a lesion that is cut is lost."""
    labels, ignore, rows = truth
    count = len(rows) + 1
    whole, left = (np.bincount(part, minlength=count) for part in (labels.ravel(), labels[kept]))
    lost = left < LEAST_KEPT * whole
    lost[0] = False  # the background
    ignore[lost[labels]] = 1
    number = np.cumsum(~lost) - 1
    number[lost] = 0
    changed = [
        replace(row, status="lost", lesion=0)
        if lost[row.lesion]
        else replace(row, lesion=int(number[row.lesion]))
        for row in rows
    ]
    return number[labels].astype(labels.dtype), ignore, changed


def _defaced(rng: np.random.Generator, head: FamilyHead, scan: ScanPlan) -> NDArray[np.bool_]:
    """All but the face: a plane cuts it off in front of and below the brain."""
    z, y, _ = scan.grid.axes_mm()
    corner = head.anatomy.deformation.from_mni(
        np.array([[rng.uniform(-50, -30), rng.uniform(45, 75), 0.0]])
    )[0]
    slope = rng.uniform(0.4, 1.4)
    kept: NDArray[np.bool_] = (z - corner[0]) > slope * (y - corner[1])
    return kept


def _mimic_map(
    patient: _Patient, scan: ScanPlan, seen: HeadSignal, brain: NDArray[np.bool_]
) -> NDArray[np.uint16]:
    """Where which kind of mimic is; the more specific kind is written over the other."""
    head = patient.head
    marks = mark_tissue(head.anatomy, scan, seen, brain)
    marks[_on(head.sinus, head, scan) > 128] = MimicKind.SINUS
    marks[_on(head.artery, head, scan) > 100] = MimicKind.FLOW_VOID
    for disease in patient.diseases:
        box, share = disease.on(head.anatomy.grid, scan.grid)
        marks[box][share > 0.5] = MimicKind.OTHER_DISEASE
    paint_mimics(patient.mimics, scan.grid, marks)
    return marks
