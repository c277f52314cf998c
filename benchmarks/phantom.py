"""The phantom against published figures: blooming, contrast, sizes; and its speed and memory.

Run from the repository: ``python benchmarks/phantom.py [--lesions 150] [--heads 3] [--time]``. It
prints a table with the published value beside ours. These figures check physics, not realism: no
image of a patient was used, and nothing here says how a model does on patients.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from dataclasses import replace

import numpy as np

from benchmarks.planted.patch import PatchResult, image_microbleed
from benchmarks.planted.reader import Look, Reader
from benchmarks.planted.rescan import look_with_each
from cmbnet import RESEARCH_USE_ONLY
from cmbnet.phantom.anatomy import make_anatomy
from cmbnet.phantom.lesions import (
    MEDIAN_MOMENT_PPM_MM3,
    SIGMA_LOG_MOMENT,
    Microbleed,
    draw_count,
    draw_microbleed,
)
from cmbnet.phantom.protocol import Protocol, draw_protocol
from cmbnet.phantom.regions import Region

Row = tuple[str, str, str]
AT_3T = Protocol("3t", 3.0, 20, 28, 15, 0.5, 2.0, 0.5, snr=24)
AT_1_5T = Protocol("1.5t", 1.5, 40, 49, 18, 0.5, 2.0, 0.5, snr=14)

THIN_SWI = Protocol("swi", 1.5, 40, 49, 18, 0.5, 1.5, 0.5, snr=14, shape=(32, 384, 320))
THICK_GRE = Protocol("gre", 1.5, 24, 750, 20, 0.94, 6.0, 0.94, gap_mm=1.0, output="magnitude",
                     snr=30, shape=(8, 204, 170))  # fmt: skip
"""The middle 48 mm of a head."""


def draw(count: int, seed: int) -> list[Microbleed]:
    """Microbleeds as cases have them, each somewhere within a voxel."""
    rng = np.random.default_rng(seed)
    moments = MEDIAN_MOMENT_PPM_MM3 * np.exp(SIGMA_LOG_MOMENT * rng.standard_normal(count))
    return [
        draw_microbleed(rng, Region.FRONTAL, rng.uniform(-1, 1, 3), float(moment), AT_3T)
        for moment in np.clip(moments, 0.05, 400)
    ]


def image(lesions: list[Microbleed], protocol: Protocol) -> list[PatchResult]:
    """All of them, one at a time."""
    return [image_microbleed(lesion, protocol) for lesion in lesions]


def found(result: PatchResult) -> bool:
    """Whether a reader would count it."""
    return result.truth.status == "truth"


def blooming(lesions: list[Microbleed], swi: list[PatchResult]) -> list[Row]:
    """What depends on echo time, field and processing."""
    gre = image(lesions, replace(AT_3T, output="magnitude"))
    long_swi = image(lesions, replace(AT_3T, te_ms=40))
    long_gre = image(lesions, replace(AT_3T, te_ms=40, output="magnitude"))
    low_field = image(lesions, AT_1_5T)
    seen = [n for n, result in enumerate(swi) if found(result)]

    def ratio(after: list[PatchResult], before: list[PatchResult]) -> str:
        values = [after[n].truth.volume_mm3 / max(before[n].truth.volume_mm3, 0.1) for n in seen]
        return f"{np.mean(values):.2f} +- {np.std(values):.2f}"

    def mean(results: list[PatchResult], name: str) -> float:
        return float(np.mean([getattr(results[n].truth, name) for n in seen]))

    contrast = [np.mean([r.contrast_to_noise for r in rs if found(r)]) for rs in (swi, low_field)]
    drive = [lesion.moment_ppm_mm3 for lesion in lesions]
    linear = np.corrcoef(drive, [result.loss_mm3 for result in gre])[0, 1] ** 2
    return [
        ("SWI volume, TE 40 / TE 20 ms, 3 T", "2.30 +- 1.19", ratio(long_swi, swi)),
        ("T2*w volume, TE 40 / TE 20 ms, 3 T", "2.30 +- 1.20", ratio(long_gre, gre)),
        ("peak drop, GRE -> SWI", "more in SWI",
         f"{mean(gre, 'peak_drop'):.2f} -> {mean(swi, 'peak_drop'):.2f}"),
        ("diameter, GRE -> SWI, mm", "differs < 0.3",
         f"{mean(gre, 'diameter_mm'):.2f} -> {mean(swi, 'diameter_mm'):.2f}"),
        ("contrast to noise, 3 T / 1.5 T", "27.4 / 17.4 = 1.57",
         f"{contrast[0]:.1f} / {contrast[1]:.1f} = {contrast[0] / contrast[1]:.2f}"),
        ("loss linear in moment, R2", "linear", f"{linear:.3f}"),
    ]  # fmt: skip


def sizes(count: int) -> list[Row]:
    """How large lesions appear over the protocols of training."""
    rng = np.random.default_rng(5)
    results = [
        image_microbleed(lesion, draw_protocol("training", rng), tilt_rad=rng.uniform(-0.3, 0.3))
        for lesion in draw(count, 6)
    ]
    diameters = np.array([result.truth.diameter_mm for result in results if found(result)])
    small = float(np.mean(diameters < 5))
    counts = np.array([draw_count(rng) for _ in range(20_000)])
    return [
        ("size 2-5 mm / 5-10 mm, %", "89.2 / 10.8", f"{100 * small:.1f} / {100 - 100 * small:.1f}"),
        ("median diameter, mm", "-", f"{np.median(diameters):.2f} (n={len(diameters)})"),
        ("lesions drawn that a reader would count", "-", f"{len(diameters) / count:.0%}"),
        ("lesions a positive patient, mean", "6.5", f"{counts.mean():.1f}"),
    ]


def thick_slices(heads: int, count: int) -> list[Row]:
    """What a reader counts on thick GRE of what the same reader counts on thin SWI.

    Args:
        heads: MNI heads to scan.
        count: Microbleeds to put into each.
    """
    near = replace(THICK_GRE, field_t=3.0, te_ms=20, tr_ms=28, flip_deg=15)
    protocols = {
        "thin SWI": THIN_SWI,
        "thin, no mask": replace(THIN_SWI, output="magnitude"),
        "contiguous 3T": replace(near, slice_mm=5.0, gap_mm=0.0, shape=(10, 204, 170)),
        "gap 3T": near,
        "GRE": THICK_GRE,
        "TE 15": replace(THICK_GRE, te_ms=15),
        "no noise": replace(THICK_GRE, snr=1e4),
    }
    looks: dict[str, list[Look]] = {name: [] for name in protocols}
    fewer: list[list[Look]] = [[], []]
    for seed in range(1, heads + 1):
        head = make_anatomy("mni", seed, 1.0)
        found = look_with_each(head, list(protocols.values()), count=count, seed=seed)
        for name, those in zip(protocols, found, strict=True):
            looks[name] += those
        small = look_with_each(
            head, [THIN_SWI, THICK_GRE], count=count, seed=seed,
            median_moment_ppm_mm3=MEDIAN_MOMENT_PPM_MM3 / 3,
        )  # fmt: skip
        for total, those in zip(fewer, small, strict=True):
            total += those

    def share(rule: Reader, scan: list[Look], reference: list[Look]) -> str:
        both, there = rule.found_of(scan, reference)
        return f"{both / there:.0%} ({both} of {there})"

    swi, gre, every = looks["thin SWI"], looks["GRE"], Reader(least_diameter_mm=0)
    return [
        ("counted on 5 mm GRE at 1.5 T of those on 1.5 mm SWI", "33 %; pooled 53 - 67 %",
         share(Reader(), gre, swi)),
        ("- SWI without its phase mask", "-", share(Reader(), looks["thin, no mask"], swi)),
        ("- 3 T TE 20, no gap, any drop of .25", "-",
         share(Reader(0, least_diameter_mm=0), looks["contiguous 3T"], swi)),
        ("- 3 T TE 20, no gap", "-", share(Reader(), looks["contiguous 3T"], swi)),
        ("- 3 T TE 20", "-", share(Reader(), looks["gap 3T"], swi)),
        ("- TE 15", "-", share(Reader(), looks["TE 15"], swi)),
        ("- GRE without noise", "-", share(Reader(), looks["no noise"], swi)),
        ("- contrast of 0 / 3 / 4 sd is enough", "-",
         " / ".join(share(Reader(least), gre, swi) for least in (0, 3, 4))),
        ("- half of the signal has to be gone", "-", share(Reader(least_drop=0.5), gre, swi)),
        ("- of any diameter", "-", share(every, gre, swi)),
        ("- a third of the iron / and of any diameter", "-",
         share(Reader(), fewer[1], fewer[0]) + " / " + share(every, fewer[1], fewer[0])),
    ]  # fmt: skip


def speed() -> list[Row]:
    """Time and memory of one case at 0.5 x 0.5 x 2 mm, the head in memory already.

    The median of three after two: until then a virtual machine may have to fetch its memory.
    """
    from cmbnet.phantom.case import make_case

    start = time.process_time()
    make_anatomy("mni", 1, 1.0)
    head_s = time.process_time() - start
    cpu_s, clock_s = [], []
    for seed in range(5):
        start, wall = time.process_time(), time.perf_counter()
        case = make_case(seed, positive=True, protocol=AT_3T, anatomy_seed=1, lesion_count=7)
        cpu_s.append(time.process_time() - start)
        clock_s.append(time.perf_counter() - wall)
    case_s, wall_s = statistics.median(cpu_s[2:]), statistics.median(clock_s[2:])
    start = time.process_time()
    make_case(1, positive=True, anatomy="procedural")
    tiny_s = time.process_time() - start
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        ("case of " + " x ".join(map(str, case.image.shape)), "8 s", f"{case_s:.1f} s CPU"),
        ("the same by the clock", "8 s", f"{wall_s:.1f} s"),
        ("a new head, once", "-", f"{head_s:.1f} s CPU"),
        ("procedural 96 x 96 x 24, new head", "1 s", f"{tiny_s:.1f} s CPU"),
        ("peak memory", "2000 MB", f"{peak_mb:.0f} MB"),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lesions", type=int, default=150, help="Lesions a figure is made of.")
    parser.add_argument("--heads", type=int, default=3, help="Heads for thick against thin.")
    parser.add_argument("--time", action="store_true", help="Also measure speed and memory.")
    options = parser.parse_args()
    timed = speed() if options.time else []  # first, while the peak of memory is a case's own
    lesions = draw(options.lesions, 4)
    rows = [*blooming(lesions, image(lesions, AT_3T)), *sizes(2 * options.lesions)]
    rows += [*thick_slices(options.heads, options.lesions), *timed]
    print(f"| what | published or bar | phantom |\n|{'---|' * 3}")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(RESEARCH_USE_ONLY)


if __name__ == "__main__":
    main()
