"""Measure `cmbnet compare` on phantoms that are scanned twice.

Usage, from the root of the repository:
    python benchmarks/followup.py --pairs 8 [--seed 7200] [--protocols validation] [--te 1.3]

Every second pair has no change. The others get 1 to 8 more microbleeds. A new lesion is right if
it lies within 3 mm of one that was added and can be seen. Heads are used for four pairs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from cmbnet.backends import open_backend
from cmbnet.bundle import load_bundle
from cmbnet.errors import InputRefused
from cmbnet.evaluation.stats.intervals import wilson
from cmbnet.evaluation.stats.kappa import cohen_kappa
from cmbnet.followup import Compared, compare_scans
from cmbnet.followup.grade import aria_h
from cmbnet.io import write_nifti
from cmbnet.phantom.case import PhantomCase
from cmbnet.phantom.follow_up import Rescan, make_pair
from cmbnet.predict import Request, predict_file

NEAR_MM = 3.0


def main() -> None:
    """Print a row per pair and the sums."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=7200)
    parser.add_argument("--protocols", default="validation")
    parser.add_argument("--te", type=float, default=1.0, help="Later over first echo time.")
    options = parser.parse_args()
    bundle = load_bundle("default")
    backend = open_backend(bundle, "auto", threads=1)
    sums: Counter[str] = Counter()
    for number in range(options.pairs):
        seed = options.seed + number
        rng = np.random.default_rng([seed, 20])
        added = int(rng.integers(1, 9)) if number % 2 else 0
        pair = make_pair(
            seed, added=added, lesion_count=int(rng.integers(0, 7)), protocol=options.protocols,
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
            except InputRefused as refused:
                print(f"# {seed}: refused: {refused}", flush=True)
                sums["refused"] += 1
                continue
        row = scored(found, pair)
        row["cpu_ms"] = round(1000 * (time.process_time() - start))
        row["pairs with change" if added else "pairs without change"] = 1
        row["false new without change"] = 0 if added else row["false new"]
        sums.update(row)
        print(f"# {seed}: {dict(row)}", flush=True)
    print(dict(sums))
    names = ("none", "mild", "moderate", "severe")
    table = np.array([[sums[f"category {a} called {b}"] for b in names] for a in names], float)
    print("weighted kappa of the category", cohen_kappa(table, "quadratic"))
    print("sensitivity of new", wilson(sums["found new"], sums["added"]))
    print("precision of new", wilson(sums["new"] - sums["false new"], sums["new"]))


def scored(found: Compared, pair: tuple[PhantomCase, PhantomCase]) -> Counter[str]:
    """New lesions against those that were added; lesions that persist; the category."""
    first, later = pair
    follow_up = found.comparison.follow_ups[0]
    rows = later.truth[len(first.truth) :]
    seen = [row.status == "truth" for row in rows]
    there = np.array([later.image.world_mm((row.z, row.y, row.x)) for row in later.truth])
    added = found.maps[1].to_first(there.reshape(-1, 3))[len(first.truth) :]
    new = [change.centre_mm for change in follow_up.changes if change.category == "new"]
    hit: set[int] = set()
    false = 0
    for centre in new:
        away = np.linalg.norm(added - np.array(centre), axis=1) if len(added) else np.zeros(0)
        if len(away) and away.min() <= NEAR_MM:
            hit.add(int(away.argmin()))
        else:
            false += 1
    real = aria_h(sum(seen), uncertain=0, not_assessable=0, baseline=0).category
    known = np.array([first.image.world_mm((r.z, r.y, r.x)) for r in first.truth]).reshape(-1, 3)
    moved = found.maps[1].to_first(there.reshape(-1, 3))[: len(known)]
    wrong_mm = np.linalg.norm(moved - known, axis=1).max(initial=0)
    return Counter(
        {
            "added": sum(seen),
            "found new": sum(seen[one] for one in hit),
            "new": len(new),
            "false new": false,
            "newly above threshold": follow_up.counts["newly above threshold"],
            "persistent": follow_up.counts["persistent"],
            "category right": int(follow_up.aria_h.category == real),
            f"category {real} called {follow_up.aria_h.category}": 1,
            "registration off by more than 1 mm": int(wrong_mm > 1.0),
        }
    )


if __name__ == "__main__":
    main()
