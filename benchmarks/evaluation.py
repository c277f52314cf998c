"""Time and memory of the evaluation, beside picai_eval and panoptica on the same masks.

    python benchmarks/evaluation.py [--cases 1615] [--jobs 2] [--peers 8]

Masks of 384 x 384 x 72 voxels at 0.6 x 0.6 x 2 mm hold balls of 2 to 8 mm, 6.5 a case, and
predictions that miss 15 % of them and displace the others. 1,615 cases are 95 different ones,
each read 17 times under different names. The peers score the first few of them in this process;
they are timed where they are installed: `make conformance` makes such an environment, then

    PYTHONPATH=. .venv-oracles/bin/python benchmarks/evaluation.py
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cmbnet.evaluation import Case, MatchingRule, Settings, score_case, summarise
from cmbnet.evaluation.cohort.files import CaseFiles
from cmbnet.evaluation.cohort.load import score_many
from cmbnet.evaluation.stats.bootstrap import ClusteredAuc, resample
from cmbnet.io import write_nifti
from cmbnet.lesions import spacing_affine
from cmbnet.volume import Volume

SHAPE, SPACING_MM = (72, 384, 384), (2.0, 0.6, 0.6)
DIFFERENT, LESIONS_PER_CASE = 95, 10_525 / 1615


def draw_case(seed: int, lesions: int) -> tuple[Volume, Volume]:
    """Truth and prediction."""
    rng = np.random.default_rng(seed)
    truth, predicted = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    z, y, x = np.mgrid[-3:4, -8:9, -8:9]
    distance = np.sqrt((z * 2.0) ** 2 + (y * 0.6) ** 2 + (x * 0.6) ** 2)
    used: list[np.ndarray] = []
    while len(used) < lesions:
        centre = rng.integers((8, 70, 70), (64, 310, 310))
        if any(np.all(np.abs(centre - other) < (8, 20, 20)) for other in used):
            continue
        used.append(centre)
        ball = distance <= rng.uniform(1.0, 4.0)
        truth[box(centre)] |= ball
        if rng.random() < 0.85:
            predicted[box(centre + np.array([0, *rng.integers(-1, 2, 2)]))] |= ball
    affine = spacing_affine(SPACING_MM)
    return Volume(truth, affine), Volume(predicted, affine)


def box(centre: np.ndarray) -> tuple[slice, slice, slice]:
    """The voxels around a centre."""
    z, y, x = (slice(int(c) - r, int(c) + r + 1) for c, r in zip(centre, (3, 8, 8), strict=True))
    return z, y, x


def counts_per_case(rng: np.random.Generator) -> np.ndarray:
    """Lesions of each different case: log-normal, at least 1, of the paper's mean."""
    counts = np.ceil(np.exp(rng.normal(0.8, 1.2, DIFFERENT))).astype(int)
    total = round(DIFFERENT * LESIONS_PER_CASE)
    while counts.sum() != total:
        index = rng.integers(DIFFERENT)
        counts[index] = max(1, counts[index] + np.sign(total - counts.sum()))
    return counts


def write_files(folder: Path, cases: int) -> list[CaseFiles]:
    """The different cases on disk, listed under as many names as asked for."""
    counts = counts_per_case(np.random.default_rng(0))
    for index in range(min(DIFFERENT, cases)):
        for side, volume in zip(("t", "p"), draw_case(index, int(counts[index])), strict=True):
            write_nifti(volume, folder / f"{side}{index:03}.nii.gz", dtype=np.uint8)
    return [
        CaseFiles(f"{n:04}", folder / f"t{n % DIFFERENT:03}.nii.gz",
                  folder / f"p{n % DIFFERENT:03}.nii.gz")
        for n in range(cases)
    ]  # fmt: skip


def peak_mib(jobs: int) -> float:
    """Upper bound of the memory: this process and as many as `jobs` of the largest child."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return (own + jobs * child) / 1024


def cohort(cases: int, jobs: int) -> None:
    """Read and score a cohort, then resample it."""
    with tempfile.TemporaryDirectory() as folder:
        files = write_files(Path(folder), cases)
        start, busy = time.perf_counter(), sum(os.times()[:4])
        scores = summarise(score_many(files, Settings(), jobs=jobs), Settings())
        seconds, cpu = time.perf_counter() - start, sum(os.times()[:4]) - busy
    lesions = int(scores.counts["found"] + scores.counts["missed"])
    print(f"| {cases} cases, {lesions} true lesions, files read, {jobs} processes | "
          f"{seconds:.1f} s, {cpu:.1f} s CPU | {peak_mib(jobs):.0f} MiB |")  # fmt: skip
    rng = np.random.default_rng(1)
    n = len(scores.columns.patients)
    owner = rng.integers(0, n, 12_000)
    positive = rng.random(12_000) < 0.8
    score = rng.random(12_000)
    start = time.perf_counter()
    aucs = {name: ClusteredAuc.of(owner, positive, score, n) for name in "abc"}
    for one in resample(scores.columns, aucs=aucs, resamples=10_000).values():
        one.interval()
    print(f"| 10,000 resamples of {n} patients, all metrics and 3 areas, BCa | "
          f"{time.perf_counter() - start:.1f} s | |")  # fmt: skip


def clock(task: Callable[[], object], runs: int) -> tuple[float, float]:
    """Best wall time and best time of the processor of some runs, children included, s."""
    wall, cpu = [], []
    for _ in range(runs):
        start, busy = time.perf_counter(), sum(os.times()[:4])
        task()
        wall.append(time.perf_counter() - start)
        cpu.append(sum(os.times()[:4]) - busy)
    return min(wall), min(cpu)


def peers(cases: int) -> None:
    """The same masks, in memory and one process: this package and its peers."""
    counts = counts_per_case(np.random.default_rng(0))
    drawn = [draw_case(index, int(counts[index])) for index in range(cases)]
    rule = Settings(rule=MatchingRule("iou", 0.1))
    tasks: dict[str, Callable[[], object]] = {
        # 20 times over: the clock of the processor ticks in 10 ms.
        "cmbnet": lambda: [score_case(Case("a", t, p), rule) for _ in range(20) for t, p in drawn]
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tasks |= picai_task(drawn) | panoptica_task(drawn)
        seconds = {name: clock(task, runs=3) for name, task in tasks.items()}
    ours = tuple(value / 20 for value in seconds["cmbnet"])
    for name, theirs in {**seconds, "cmbnet": ours}.items():
        wall, cpu = theirs
        print(f"| {name}, {cases} cases, {int(counts[:cases].sum())} lesions | "
              f"{1e3 * wall / cases:.1f} ms a case, {1e3 * cpu / cases:.1f} ms CPU | "
              f"{wall / ours[0]:.1f} x wall, {cpu / ours[1]:.1f} x CPU |")  # fmt: skip


def picai_task(drawn: list[tuple[Volume, Volume]]) -> dict[str, Callable[[], object]]:
    """picai_eval, if it is installed."""
    try:
        from picai_eval.eval import evaluate_case
    except ImportError:
        return {}
    return {"picai_eval": lambda: [evaluate_case(p.data, t.data) for t, p in drawn]}


def panoptica_task(drawn: list[tuple[Volume, Volume]]) -> dict[str, Callable[[], object]]:
    """panoptica, if it is installed; only the matching counts, no surface distances."""
    try:
        from panoptica import (
            ConnectedComponentsInstanceApproximator,
            InputType,
            Metric,
            NaiveThresholdMatching,
            Panoptica_Evaluator,
        )
    except ImportError:
        return {}
    evaluator = Panoptica_Evaluator(
        expected_input=InputType.SEMANTIC,
        instance_approximator=ConnectedComponentsInstanceApproximator(),
        instance_matcher=NaiveThresholdMatching(matching_threshold=0.1),
        instance_metrics=[Metric.DSC, Metric.IOU],
        global_metrics=[Metric.DSC],
    )

    def run() -> list[object]:
        results: list[object] = []
        for t, p in drawn:
            result = next(iter(evaluator.evaluate(p.data, t.data, verbose=False).values()))
            results.append((result.tp, result.fp, result.fn))
        return results

    return {"panoptica": run}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1615)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--peers", type=int, default=8)
    options = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, numpy {np.__version__}\n")
    print("| what | time | memory or factor |\n|---|--:|--:|")
    if options.cases:
        cohort(options.cases, options.jobs)
    if options.peers:
        peers(options.peers)


if __name__ == "__main__":
    main()
