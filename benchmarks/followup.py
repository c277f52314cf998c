"""Measure `cmbnet compare` on phantoms that are scanned twice.

Usage, from the root of the repository:
    python -m benchmarks.followup --pairs 8 [--seed 7200] [--protocols validation] [--te 1.3]

Every second pair has no change. The others get 1 to 8 more microbleeds. Heads are used for four
pairs. What can be stored on a disk is scored by `cmbnet evaluate --comparisons`, too.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.shares import keep_shares
from cmbnet.backends import open_backend
from cmbnet.bundle import load_bundle
from cmbnet.errors import InputRefused
from cmbnet.followup import compare_scans
from cmbnet.followup.register import RigidMap
from cmbnet.followup.score import Added, PairScore, figures, score_pair, table_of
from cmbnet.io import write_nifti
from cmbnet.phantom.case import PhantomCase
from cmbnet.phantom.follow_up import Rescan, make_pair
from cmbnet.predict import Request, predict_file


def main() -> None:
    """Print a row per pair and the sums."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=7200)
    parser.add_argument("--protocols", default="validation")
    parser.add_argument("--te", type=float, default=1.0, help="Later over first echo time.")
    parser.add_argument("--shares", type=Path, help="File of counts for cmbnet card, to add to.")
    options = parser.parse_args()
    bundle = load_bundle("default")
    backend = open_backend(bundle, "auto", threads=1)
    scores: list[PairScore] = []
    refused = []
    for seed in range(options.seed, options.seed + options.pairs):
        number = seed - options.seed
        rng = np.random.default_rng([seed, 20])
        pair = make_pair(
            seed, added=int(rng.integers(1, 9)) if number % 2 else 0,
            lesion_count=int(rng.integers(0, 7)), protocol=options.protocols,
            anatomy_seed=options.seed + number // 4, rescan=Rescan(te_share=options.te),
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{name}.nii.gz" for name in ("first", "later")]
            for path, case in zip(paths, pair, strict=True):
                write_nifti(case.image, path, dtype=np.int16)
            start = time.process_time()
            try:
                answers = [predict_file(path, bundle, backend, Request()) for path in paths]
                found = compare_scans(answers, same_protocol=True)
            except InputRefused as error:
                print(f"# {seed}: refused: {error}", flush=True)
                refused.append(str(seed))
                continue
        cpu_ms = round(1000 * (time.process_time() - start))
        scores.append(score_pair(str(seed), found.comparison, added(pair)))
        off_mm = registration_error_mm(found.maps[1], pair)
        print(f"# {scores[-1]}, registration {off_mm:.2f} mm, {cpu_ms} ms of CPU", flush=True)
    print(table_of(figures(scores, refused)).to_markdown())
    if options.shares:
        run = f"--pairs {options.pairs} --seed {options.seed}"
        keep_shares(
            options.shares, run, counts(scores), where="in follow-up", about=ABOUT, bundle=bundle
        )


ABOUT = (
    "Phantom heads were scanned twice with one protocol; noise, tilt and position differ. Half of "
    "the pairs have 1 to 8 added microbleeds, the others have no change."
)


def counts(scores: list[PairScore]) -> dict[str, tuple[int, int]]:
    """Hits and totals for the model card."""
    new, false_new = sum(one.new for one in scores), sum(one.false_new for one in scores)
    same = [one for one in scores if not one.changed]
    return {
        "new microbleeds found": (
            sum(one.found for one in scores), sum(one.added for one in scores)
        ),
        "microbleeds called new that are new": (new - false_new, new),
        "pairs without change that have a false new one": (
            sum(one.false_new > 0 for one in same), len(same)
        ),
        "category of ARIA-H right": (
            sum(one.called == one.category for one in scores), len(scores)
        ),
    }  # fmt: skip


def added(pair: tuple[PhantomCase, PhantomCase]) -> list[Added]:
    """The lesions that only the second scan has."""
    first, later = pair
    return [
        Added(later.image.world_mm((row.z, row.y, row.x)), row.status == "truth")
        for row in later.truth[len(first.truth) :]
    ]


def registration_error_mm(found: RigidMap, pair: tuple[PhantomCase, PhantomCase]) -> float:
    """The largest distance between lesions that both scans have."""
    first, later = (
        np.array([case.image.world_mm((row.z, row.y, row.x)) for row in rows]).reshape(-1, 3)
        for case, rows in zip(
            pair, (pair[0].truth, pair[1].truth[: len(pair[0].truth)]), strict=True
        )
    )
    return float(np.linalg.norm(found.to_first(later) - first, axis=1).max(initial=0))


if __name__ == "__main__":
    main()
