"""Score comparisons against the truth of longitudinal phantoms: new lesions and categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from cmbnet.errors import UnreadableFile
from cmbnet.evaluation.show.table import Table
from cmbnet.evaluation.stats.intervals import wilson
from cmbnet.evaluation.stats.kappa import cohen_kappa
from cmbnet.followup.changes import REACH_MM
from cmbnet.followup.comparison import Comparison
from cmbnet.followup.grade import severity
from cmbnet.followup.write import JSON
from cmbnet.io import read_nifti
from cmbnet.io.table import read_rows

CATEGORIES: Final = ("none", "mild", "moderate", "severe")


@dataclass(frozen=True, slots=True)
class Added:
    """A lesion that the later scan has and the first has not.

    Args:
        centre_mm: Its place in the world of the later scan, RAS+.
        seen: Whether it can be seen. Others are neither missed nor false.
    """

    centre_mm: tuple[float, float, float]
    seen: bool


@dataclass(frozen=True, slots=True)
class PairScore:
    """A pair of scans that were compared.

    Args:
        case: Its name.
        changed: Whether a lesion was added.
        added: Number of added lesions that can be seen.
        found: Number of those that were called new.
        new: Number of lesions that were called new.
        false_new: Number of those that lie at no added lesion.
        category: The true category of ARIA-H by new microhaemorrhages.
        called: The category of the comparison. None if it was refused.
    """

    case: str
    changed: bool
    added: int
    found: int
    new: int
    false_new: int
    category: str
    called: str | None


def score_pair(case: str, comparison: Comparison, added: Sequence[Added]) -> PairScore:
    """Compare the new lesions of the last scan with those that were added since the first.

    A new lesion is right within `REACH_MM` of an added one.
    """
    follow_up, later = comparison.follow_ups[-1], comparison.time_points[-1]
    new = [one.centre_mm for one in follow_up.changes if one.category == "new"]
    to_first = np.eye(4) if later.registration is None else np.array(later.registration.to_first)
    there = np.array([[*one.centre_mm, 1.0] for one in added]).reshape(-1, 4) @ to_first.T
    near = _near(np.array(new).reshape(-1, 3), there[:, :3])
    seen = np.array([one.seen for one in added], bool)
    return PairScore(
        case=case,
        changed=bool(added),
        added=int(seen.sum()),
        found=int((near.any(axis=0) & seen).sum()),
        new=len(new),
        false_new=int((~near.any(axis=1)).sum()),
        category=severity(int(seen.sum())),
        called=follow_up.aria_h.category,
    )


def _near(new: NDArray[np.float64], added: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(new, added): whether an added lesion is the nearest of a new one, and within reach."""
    away = np.linalg.norm(new[:, None] - added[None], axis=-1)
    nearest = away == away.min(axis=1, keepdims=True, initial=np.inf)
    result: NDArray[np.bool_] = nearest & (away <= REACH_MM)
    return result


def read_truth(cohort: Path) -> dict[str, list[Added]]:
    """Read what was added, from a cohort of ``cmbnet phantom --follow-up``.

    Raises:
        UnreadableFile: If the folder is no such cohort.
    """
    later = cohort / "follow-up"
    cases = read_rows(later / "cases.csv", "the column case", lambda row: row["case"])
    truth: dict[str, list[Added]] = {case: [] for case in cases}
    needed = "columns case, added, status, z, y and x"
    grids: dict[str, Any] = {}

    def take(row: dict[str, str]) -> None:
        case = row["case"]
        if not int(row["added"]):
            return
        if case not in grids:
            grids[case] = read_nifti(later / "lesions" / f"{case}.nii.gz")
        place = grids[case].world_mm((float(row["z"]), float(row["y"]), float(row["x"])))
        truth[case].append(Added(place, row["status"] == "truth"))

    read_rows(later / "lesions.csv", needed, take)
    return truth


def score_cohort(compared: Path, cohort: Path) -> tuple[list[PairScore], list[str]]:
    """Score the output of ``cmbnet compare --table`` on a longitudinal cohort.

    Returns:
        The scores, and the names of the cases without a comparison.

    Raises:
        UnreadableFile: If a file is not what is required.
    """
    scores, without = [], []
    for case, added in read_truth(cohort).items():
        file = compared / case / JSON
        if not file.is_file():
            without.append(case)
            continue
        try:
            comparison = Comparison.model_validate_json(file.read_bytes())
        except ValidationError as error:
            raise UnreadableFile(
                f"a comparison of this version of cmbnet is required in {file}: run cmbnet compare "
                "again"
            ) from error
        scores.append(score_pair(case, comparison, added))
    if not scores:
        raise UnreadableFile(f"a comparison of a case of {cohort} is required in {compared}")
    return scores, without


def figures(scores: Sequence[PairScore], without: Sequence[str] = ()) -> dict[str, Any]:
    """Sum up scores: shares with Wilson's intervals, and the weighted kappa of the category."""
    same = [one for one in scores if not one.changed]
    added, found = sum(one.added for one in scores), sum(one.found for one in scores)
    new, false_new = sum(one.new for one in scores), sum(one.false_new for one in scores)
    false_same = sum(one.false_new for one in same)
    graded = [one for one in scores if one.called is not None]
    table = np.zeros((len(CATEGORIES),) * 2)
    for one in graded:
        table[CATEGORIES.index(one.category), CATEGORIES.index(str(one.called))] += 1
    return {
        "pairs": len(scores),
        "without_comparison": list(without),
        "sensitivity_of_new": _share(found, added),
        "precision_of_new": _share(new - false_new, new),
        "false_new_per_pair_without_change": {
            "value": false_same / len(same) if same else None, "n": len(same),
        },
        "category": {
            "graded": len(graded),
            "right": _share(int(table.trace()), len(graded)),
            "weighted_kappa": asdict(cohen_kappa(table, "quadratic")),
            "confusion": table.astype(int).tolist(),
        },
    }  # fmt: skip


def _share(part: int, total: int) -> dict[str, Any]:
    value = part / total if total else None
    return {"value": value, "n": total, "interval": asdict(wilson(part, total))}


def table_of(found: dict[str, Any]) -> Table:
    """Make the table of `figures`."""
    kappa, category = found["category"]["weighted_kappa"], found["category"]
    rows = [
        ("sensitivity of new", found["sensitivity_of_new"]),
        ("precision of new", found["precision_of_new"]),
        ("false new per pair without change", found["false_new_per_pair_without_change"]),
        ("ARIA-H category right", category["right"]),
        ("weighted kappa of the category",
         {"value": kappa["value"], "n": category["graded"], "interval": kappa["interval"]}),
    ]  # fmt: skip
    return Table.of(
        "Follow-up",
        ("what", "n", "value", "low", "high"),
        [
            (
                name, row["n"], row["value"],
                *(row.get("interval", {}).get(end) for end in ("low", "high")),
            )
            for name, row in rows
        ],
        f"{found['pairs']} pairs were compared, {len(found['without_comparison'])} were not. A new "
        f"lesion is right within {REACH_MM:g} mm of one that was added. Intervals are 95 %.",
    )  # fmt: skip
