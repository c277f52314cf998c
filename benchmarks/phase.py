"""How well phase tells calcifications from microbleeds on phantoms of the test families.

    python -m benchmarks.phase --cases 16 [--shares FILE]
    python -m benchmarks.phase --first 300 --cases 20 --microbleeds 25 --calcifications 0
    python -m benchmarks.phase --signs 200

Each case has 10 microbleeds and 12 calcifications of 1 to 8 mm, and a phase in the style of one of
four vendors in turn. Calcifications are also judged at their own places, whether or not the network
marked them: it rejects most by their look. The thresholds were chosen on cases 0 to 14.

With `--signs`, only the sign is asked, of five scans of each of many heads: other noise, phase of
the coils, vendor and sign, half of them turned over. Only the slab of slices that the sign is found
in is acquired, and the brain is the true one: a scan costs a second.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.shares import keep_shares
from cmbnet.backends import open_backend
from cmbnet.bundle import load_bundle
from cmbnet.evaluation.stats.intervals import wilson
from cmbnet.lesions import Lesion
from cmbnet.phantom import PhantomCase, make_case
from cmbnet.phantom.acquisition import acquire
from cmbnet.phantom.anatomy import make_anatomy
from cmbnet.phantom.case import MAX_TILT_RAD, _tissue_and_mimics, stored_affine
from cmbnet.phantom.grid import Grid, resample
from cmbnet.phantom.phase import PHASE_STYLES, CalcificationTruth, PhaseRecorder
from cmbnet.phantom.protocol import draw_protocol
from cmbnet.phantom.scan import average_sub_slices, plan_scan
from cmbnet.phantom.swi import susceptibility_weighted
from cmbnet.phase import read_phase, scan_sign, susceptibility
from cmbnet.phase.sign import SLAB_MM
from cmbnet.predict import predict_volume
from cmbnet.volume import Volume

FAMILIES = ("ge-swan-1.5t", "siemens-prisma-3t", "philips-1.5t", "united-3t")
FIRST_SEED = 7_000_000
LARGE_MM = 2.5
BLOOMING = 1.3
"""A calcification looks this much larger than it is."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One lesion or calcification, and what the phase said of it.

    Args:
        kind: "microbleed", "calcification", "ignored" or "other" of what the network reported;
            "place" of a calcification at its own place.
        field_t: Main field.
        diameter_mm: Of a calcification.
        call: What the phase said.
    """

    kind: str
    field_t: float
    diameter_mm: float
    call: str


@dataclass(frozen=True, slots=True)
class CaseRows:
    """What a case gave: its lesions, whether the sign was right, and seconds of processor time."""

    rows: list[Judged]
    sign: str
    seconds: float


def make(number: int, microbleeds: int, calcifications: int) -> PhantomCase:
    """Case of a number; heads change every four cases, vendors and families go round."""
    return make_case(
        FIRST_SEED + number,
        positive=True,
        protocol=FAMILIES[number % 4],
        anatomy_seed=FIRST_SEED + number // 4,
        lesion_count=microbleeds,
        phase=_style(number),
        calcifications=calcifications,
    )


def _style(number: int) -> str:
    return ("ge", "siemens", "philips", "canon")[(number + number // 4) % 4]


def judge(number: int, case: PhantomCase, lesions: Iterable[Lesion], brain: np.ndarray) -> CaseRows:
    """Judge what the network reported, and each calcification inside the brain at its place."""
    assert case.phase is not None
    style = PHASE_STYLES[_style(number)]
    start = time.process_time()
    phase = read_phase(case.phase, case.image)
    sign = scan_sign(phase, case.image, brain)
    found = [
        (lesion, susceptibility(
            lesion.centre_ras_mm, lesion.max_in_plane_diameter_mm, phase, case.image, sign))
        for lesion in lesions
    ]  # fmt: skip
    seconds = time.process_time() - start
    rows = []
    for lesion, answer in found:
        kind, diameter_mm = _truth(case, lesion)
        rows.append(Judged(kind, case.protocol.field_t, diameter_mm, answer.call))
    for row in case.calcifications:
        index = np.rint([row.z, row.y, row.x]).astype(int)
        inside = np.all((index >= 0) & (index < brain.shape))
        if inside and brain[tuple(index)]:
            place = case.image.world_mm((row.z, row.y, row.x))
            size = max(2.0, BLOOMING * row.diameter_mm)
            answer = susceptibility(place, size, phase, case.image, sign)
            rows.append(Judged("place", case.protocol.field_t, row.diameter_mm, answer.call))
    right = {0: "unknown", style.sign: "right"}.get(sign.sign, "wrong")
    return CaseRows(rows, right, seconds)


def _truth(case: PhantomCase, lesion: Lesion) -> tuple[str, float]:
    box = tuple(slice(a, b) for a, b in lesion.bbox)
    if (case.lesions.data[box] > 0).any():
        return "microbleed", 0.0
    centre = (np.linalg.inv(case.image.affine) @ [*lesion.centre_ras_mm, 1.0])[:3]

    def outside_mm(row: CalcificationTruth) -> float:
        away = (centre - [row.z, row.y, row.x]) * case.image.spacing_mm
        return float(np.linalg.norm(away)) - 0.8 * row.diameter_mm - 1.5

    near = min(case.calcifications, key=outside_mm, default=None)
    if near is not None and outside_mm(near) < 0:
        return "calcification", near.diameter_mm
    return ("ignored" if case.ignore.data[box].any() else "other"), 0.0


def counts(cases: list[CaseRows]) -> dict[str, tuple[int, int]]:
    """Hits and total of each figure."""
    rows = [row for case in cases for row in case.rows]
    found: dict[str, tuple[int, int]] = {}

    def add(what: str, chosen: list[Judged], call: str = "diamagnetic") -> None:
        found[what] = (sum(row.call == call for row in chosen), len(chosen))

    places = [row for row in rows if row.kind == "place"]
    for field_t in (3.0, 1.5):
        at = [row for row in places if row.field_t == field_t]
        add(f"calcifications of 2.5 mm and more called diamagnetic, {field_t:g} T",
            [row for row in at if row.diameter_mm >= LARGE_MM])  # fmt: skip
        add(
            f"smaller calcifications, {field_t:g} T",
            [row for row in at if row.diameter_mm < LARGE_MM],
        )
    add("calcifications called paramagnetic", places, "paramagnetic")
    for kind in ("microbleed", "calcification"):
        add(f"reported {kind}s called diamagnetic", [row for row in rows if row.kind == kind])
    for answer in ("wrong", "unknown"):
        found[f"scans whose sign is {answer}"] = (
            sum(case.sign == answer for case in cases), len(cases)
        )  # fmt: skip
    return found


def table(cases: list[CaseRows]) -> str:
    """The table of the issue, as Markdown, with Wilson intervals of 95 %."""
    lines = ["| what | n | share | 95 % |", "|---|---|---|---|"]
    for what, (hits, total) in counts(cases).items():
        interval = wilson(hits, total)
        share = f"{hits / total:.3f}" if total else ""
        ends = f"{interval.low:.3f} to {interval.high:.3f}" if total else ""
        lines.append(f"| {what} | {hits} of {total} | {share} | {ends} |")
    seconds = np.median([case.seconds for case in cases])
    lines.append(f"| processor seconds for phase, median | {len(cases)} | {seconds:.2f} | |")
    return "\n".join(lines)


ABOUT = (
    "Phantoms of four families have microbleeds and calcifications of 1 to 8 mm, and phase in the "
    "units and signs of four vendors. Calcifications are judged at their own places; the network "
    "rejects most of them by their look."
)


SCANS_OF_A_HEAD = 5


def signs(count: int, first: int) -> None:
    """Print how often the sign of a scan is right, wrong and unknown."""
    answers: dict[str, int] = {"right": 0, "wrong": 0, "unknown": 0}
    start = time.process_time()
    for number in range(count // SCANS_OF_A_HEAD):
        for answer, told in _signs_of_a_head(first + number, number * SCANS_OF_A_HEAD):
            answers[answer] += 1
            print(f"{first + number} {told}: {answer}", flush=True)
        print(f"{answers}, {time.process_time() - start:.0f} s of CPU", flush=True)


def _signs_of_a_head(number: int, scans_before: int) -> Iterator[tuple[str, str]]:
    """The answers for the scans of a head; of all scans every second one is turned over."""
    rng = np.random.default_rng([FIRST_SEED, number])
    protocol = draw_protocol(FAMILIES[number % 4], rng)
    head = make_anatomy("mni", FIRST_SEED + number, protocol.head_scale)
    tilt = rng.uniform(-MAX_TILT_RAD, MAX_TILT_RAD)
    scan = plan_scan(head, protocol, tilt)
    _, seen = _tissue_and_mimics(FIRST_SEED + number, head, scan, [])
    brain = resample(head.brain.astype(np.float32), head.grid, scan.grid, outside=0.0) > 0.5
    used = np.flatnonzero(brain.any(axis=(1, 2)))
    middle, half = (used[0] + used[-1] + 1) // 2, max(3, round(SLAB_MM / protocol.slice_mm / 2))
    slab = slice(middle - half, middle + half)
    slices = average_sub_slices(seen.signal, scan)[slab]
    grid = Grid(slices.shape, scan.grid.origin_mm, scan.grid.spacing_mm)
    affine, noise_sd = stored_affine(grid, tilt, ()), seen.white / protocol.snr
    for variant in range(SCANS_OF_A_HEAD):
        style = list(PHASE_STYLES)[(scans_before + variant) // 2 % 4]
        recorder = PhaseRecorder(rng, style, grid, protocol.high_pass_per_mm)
        image = np.empty(grid.shape, np.float32)
        for z in range(len(slices)):
            noisy = acquire(slices[z : z + 1], protocol, noise_sd=noise_sd, rng=rng)
            image[z] = susceptibility_weighted(noisy, grid, protocol)[0]
            recorder.take(z, noisy)
        turned = -1 if (scans_before + variant) % 2 else 1
        stored = (
            recorder.stored if turned == 1 else 2 * PHASE_STYLES[style].offset - recorder.stored
        )
        swi = Volume(image, affine, "swi")
        phase = read_phase(Volume(np.asarray(stored, np.float32), affine, "phase"), swi)
        found = scan_sign(phase, swi, brain[slab])
        true = turned * PHASE_STYLES[style].sign
        answer = {0: "unknown", true: "right"}.get(found.sign, "wrong")
        told = "turned" if turned < 0 else "as it is"
        yield answer, f"{protocol.name} {style}, {told}, {found.agreeing:.2f} of {found.votes}"


def main() -> None:
    """Make the cases, predict and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=16)
    parser.add_argument("--first", type=int, default=100, help="number of the first case")
    parser.add_argument("--microbleeds", type=int, default=10, help="of each case")
    parser.add_argument("--calcifications", type=int, default=12, help="of each case")
    parser.add_argument("--signs", type=int, default=0, help="ask as many scans for the sign alone")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shares", type=Path, help="file of counts for cmbnet card, to add to")
    asked = parser.parse_args()
    if asked.signs:
        signs(asked.signs, asked.first)
        return
    bundle = load_bundle("default")
    backend = open_backend(bundle, "auto", threads=asked.threads)
    done = []
    for number in range(asked.first, asked.first + asked.cases):
        case = make(number, asked.microbleeds, asked.calcifications)
        found = predict_volume(case.image, bundle, backend)
        brain = found.prepared.frame.to_native(found.prepared.brain)
        done.append(judge(number, case, found.found.lesions, brain))
        print(f"\n{number} {case.protocol.name}: {done[-1].sign}\n{table(done)}", flush=True)
    backend.close()
    if asked.shares:
        run = (
            f"--first {asked.first} --cases {asked.cases} --microbleeds {asked.microbleeds} "
            f"--calcifications {asked.calcifications}"
        )
        keep_shares(asked.shares, run, counts(done), where="with phase", about=ABOUT, bundle=bundle)


if __name__ == "__main__":
    main()
