"""Cohorts: many cases in a folder, with a manifest; made again, finished cases are kept.

The layout is flat: ``images/``, ``lesions/``, ``ignore/``, ``mimics/`` and ``brain/`` hold
``<case>.nii.gz``, ``cases/`` a JSON per finished case; ``cases.csv``, ``lesions.csv`` and
``cohort.json`` sum them up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cmbnet import RESEARCH_USE_ONLY, __version__
from cmbnet.errors import UsageError
from cmbnet.io import table_csv, write_nifti
from cmbnet.io.atomic import write_text_atomically
from cmbnet.io.digest import code_sha256
from cmbnet.phantom.case import PhantomCase, make_case
from cmbnet.phantom.follow_up import make_pair
from cmbnet.phantom.phase import PHASE_STYLES
from cmbnet.phantom.protocol import draw_protocol
from cmbnet.phantom.template import AnatomyKind, load_template
from cmbnet.workers import done_by

IMAGES = {"images": np.int16, "lesions": np.uint16, "ignore": np.uint8, "mimics": np.uint16,
          "brain": np.uint8}  # fmt: skip
FOLLOW_UP = "follow-up"

SEEDS_PER_COHORT = 1_000_000
"""Cohorts of different seeds share no case and no head as long as they are smaller than this."""


@dataclass(frozen=True, slots=True)
class CohortPlan:
    """What a cohort is made of; the same plan gives the same bytes."""

    positives: int  # Cases with microbleeds
    negatives: int  # Controls
    seed: int  # Cohorts of different seeds share neither cases nor heads
    protocols: str = "training"  # A set or family of protocols, or ``"tiny"``
    anatomy: AnatomyKind = "mni"  # ``"mni"`` or ``"procedural"``
    cases_per_head: int = 3  # Scans of one head, each with its own protocol, lesions and noise
    # Seeds of the heads, used in turn; drawn from `seed` if None
    anatomy_seeds: tuple[int, ...] | None = None
    # Fewest and most microbleeds of a positive case, any number between as likely; None draws as
    # many as patients have. Training learns more from crowded cases.
    lesions: tuple[int, int] | None = None
    # Fewest and most microbleeds that a second scan of each case adds; None makes no second scan.
    # The second scans are a cohort in ``follow-up/``, under the same names.
    follow_up: tuple[int, int] | None = None
    # Vendor in whose style phase is written to ``phase/``; None writes none
    phase: str | None = None
    # Number of calcifications that are added to each case, with their table ``calcifications.csv``
    calcifications: int = 0

    def __post_init__(self) -> None:
        total = self.positives + self.negatives
        if min(self.positives, self.negatives, self.seed) < 0 or self.cases_per_head < 1:
            raise UsageError("counts and seeds must not be negative, and a head has a scan or more")
        if not 0 < total < SEEDS_PER_COHORT:
            raise UsageError(f"1 to {SEEDS_PER_COHORT - 1} cases are required, got {total}")
        if self.anatomy_seeds is not None and not self.anatomy_seeds:
            raise UsageError("at least one anatomy seed is required, got none")
        if self.lesions is not None and not 1 <= self.lesions[0] <= self.lesions[1]:
            raise UsageError(f"lesions must be a rising range from 1 on, got {self.lesions}")
        if self.follow_up is not None and not 0 <= self.follow_up[0] <= self.follow_up[1]:
            raise UsageError(f"follow_up must be a rising range from 0 on, got {self.follow_up}")
        if self.phase not in (None, *PHASE_STYLES) or self.calcifications < 0:
            raise UsageError(
                f"phase of one of {', '.join(PHASE_STYLES)} and no negative number of "
                f"calcifications are required, got {self.phase!r} and {self.calcifications}"
            )
        if self.follow_up and (self.phase or self.calcifications):
            raise UsageError(
                "a follow-up without phase and calcifications is required, got both: leave out one"
            )
        draw_protocol(self.protocols, np.random.default_rng(0))

    def stated(self) -> dict[str, Any]:
        """The plan as plain values. What came later is left out where it is not asked for."""
        later = {"phase": None, "calcifications": 0, "follow_up": None}
        return {k: v for k, v in asdict(self).items() if k not in later or v != later[k]}

    def heads(self) -> Iterator[list[PlannedCase]]:
        """Yield the cases of one head after the other, with positives spread evenly."""
        total = self.positives + self.negatives
        cases = [self._case(n, total) for n in range(total)]
        for start in range(0, total, self.cases_per_head):
            yield cases[start : start + self.cases_per_head]

    def _case(self, number: int, total: int) -> PlannedCase:
        positive = (number + 1) * self.positives // total > number * self.positives // total
        head = number // self.cases_per_head
        if self.anatomy_seeds is not None:
            anatomy_seed = self.anatomy_seeds[head % len(self.anatomy_seeds)]
        else:
            anatomy_seed = self.seed * SEEDS_PER_COHORT + head
        name = f"phantom-{self.seed}-{number:04d}"
        seed = self.seed * SEEDS_PER_COHORT + number
        count = None
        if positive and self.lesions is not None:
            low, high = self.lesions
            count = int(np.random.default_rng([seed, 17]).integers(low, high + 1))
        return PlannedCase(name, seed, positive, anatomy_seed, count)


@dataclass(frozen=True, slots=True)
class PlannedCase:
    """One case of a plan."""

    name: str
    seed: int
    positive: bool
    anatomy_seed: int
    lesion_count: int | None


def write_cohort(
    directory: str | Path,
    plan: CohortPlan,
    *,
    jobs: int = 1,
    montage: bool = False,
    on_case: Callable[[str], None] | None = None,
) -> Path:
    """Write the cases of a plan that are not there yet, and the tables of all.

    Args:
        directory: Where to; made if need be.
        plan: What to make.
        jobs: Processes; each makes the scans of one head at a time.
        montage: Whether to write a picture of every new case to ``montages/``.
        on_case: Called with the name of each case that is finished or was there already.

    Returns:
        The manifest, ``cases.csv``.

    Raises:
        UsageError: If the folder holds a cohort of another plan.
    """
    root = Path(directory)
    more = [name for name, asked in (("montages", montage), ("phase", plan.phase)) if asked]
    for place in (root, *([root / FOLLOW_UP] if plan.follow_up else [])):
        for name in (*IMAGES, "cases", *more):
            (place / name).mkdir(parents=True, exist_ok=True)
    _claim(root, plan)
    report = on_case or (lambda _: None)
    heads = list(plan.heads())
    if jobs > 1:
        load_template(plan.anatomy)  # fails here rather than in every process
    for names in done_by(jobs, partial(_write_head, root, plan, montage), heads):
        for name in names:
            report(name)
    everything = [case for cases in heads for case in cases]
    if plan.follow_up:
        _write_tables(root / FOLLOW_UP, everything)
    return _write_tables(root, everything)


def _claim(root: Path, plan: CohortPlan) -> None:
    """Write the plan, or find the same one there."""
    statement = {
        "statement": RESEARCH_USE_ONLY + " Digital phantoms: no image of a patient.",
        "cmbnet": __version__,
        "code_sha256": code_sha256("phantom"),
        "plan": plan.stated(),
    }
    text = json.dumps(statement, indent=1) + "\n"
    file = root / "cohort.json"
    if file.exists():
        found = json.loads(file.read_text(encoding="utf-8"))
        if found.get("plan") != json.loads(text)["plan"]:
            raise UsageError(
                f"{root} holds a cohort of another plan ({found.get('plan')}): choose another "
                "folder"
            )
        if found.get("code_sha256") != statement["code_sha256"]:
            raise UsageError(
                f"{root} holds a cohort that other code made (cmbnet {found.get('cmbnet')}), whose "
                "phantoms may differ: choose another folder"
            )
    write_text_atomically(file, text)


def _write_head(root: Path, plan: CohortPlan, montage: bool, cases: list[PlannedCase]) -> list[str]:
    """Make the scans of one head that are not there yet; the JSON comes last."""
    for planned in cases:
        record = root / "cases" / f"{planned.name}.json"
        if record.exists():
            continue
        if plan.follow_up is not None:
            case = _write_pair(root, plan, planned)
        else:
            case = make_case(
                planned.seed,
                positive=planned.positive,
                protocol=plan.protocols,
                anatomy=plan.anatomy,
                anatomy_seed=planned.anatomy_seed,
                lesion_count=planned.lesion_count,
                phase=plan.phase,
                calcifications=plan.calcifications,
            )
        _write_images(root, planned.name, case)
        if montage:
            from cmbnet.phantom.montage import write_montage

            write_montage(case, root / "montages" / f"{planned.name}.png")
        write_text_atomically(record, json.dumps(_record(planned, case), indent=1) + "\n")
    return [planned.name for planned in cases]


def _write_pair(root: Path, plan: CohortPlan, planned: PlannedCase) -> PhantomCase:
    """Write the second scan of a case; the first is returned."""
    low, high = plan.follow_up or (0, 0)
    case, later = make_pair(
        planned.seed,
        added=int(np.random.default_rng([planned.seed, 19]).integers(low, high + 1)),
        lesion_count=planned.lesion_count if planned.positive else 0,
        protocol=plan.protocols,
        anatomy=plan.anatomy,
        anatomy_seed=planned.anatomy_seed,
    )
    _write_images(root / FOLLOW_UP, planned.name, later)
    record = _record(planned, later)
    before = [row.lesion for row in case.truth]
    for number, row in enumerate(record["lesions"]):
        row["added"] = int(number >= len(before))
        row["first_lesion"] = 0 if row["added"] else before[number]
    text = json.dumps(record, indent=1) + "\n"
    write_text_atomically(root / FOLLOW_UP / "cases" / f"{planned.name}.json", text)
    return case


def _write_images(root: Path, name: str, case: PhantomCase) -> None:
    volumes = (case.image, case.lesions, case.ignore, case.mimics, case.brain)
    for (folder, dtype), volume in zip(IMAGES.items(), volumes, strict=True):
        write_nifti(volume, root / folder / f"{name}.nii.gz", dtype=dtype)
    if case.phase is not None:
        write_nifti(case.phase, root / "phase" / f"{name}.nii.gz", dtype=np.int16)


def _record(planned: PlannedCase, case: PhantomCase) -> dict[str, Any]:
    """All that is known of a case, as plain values."""
    protocol = asdict(case.protocol)
    z, y, x = case.image.spacing_mm
    seen = sum(row.lesion > 0 for row in case.truth)
    summary = {
        "case": planned.name,
        "seed": case.seed,
        "positive": int(planned.positive),
        "anatomy": case.anatomy,
        "anatomy_seed": case.anatomy_seed,
        "protocol": protocol["name"],
        **{key: protocol[key] for key in ("field_t", "te_ms", "output")},
        "spacing_z_mm": round(z, 4),
        "spacing_y_mm": round(y, 4),
        "spacing_x_mm": round(x, 4),
        "skull_stripped": int(case.skull_stripped),
        "n_lesions": seen,
        "n_ignored": len(case.truth) - seen,
    }
    if case.phase is not None:
        summary["fringe"] = int(case.fringe)
    lesions = [{"case": planned.name, **_plain(asdict(row))} for row in case.truth]
    record = {"summary": summary, "protocol": protocol, "lesions": lesions}
    if case.calcifications:
        rows = [{"case": planned.name, **_plain(asdict(row))} for row in case.calcifications]
        record["calcifications"] = rows
    return record


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {key: round(float(v), 4) if isinstance(v, float) else v for key, v in row.items()}


def _write_tables(root: Path, cases: list[PlannedCase]) -> Path:
    records = [
        json.loads((root / "cases" / f"{case.name}.json").read_text(encoding="utf-8"))
        for case in cases
    ]
    write_text_atomically(root / "cases.csv", _csv([record["summary"] for record in records]))
    lesions = [row for record in records for row in record["lesions"]]
    write_text_atomically(root / "lesions.csv", _csv(lesions))
    calcifications = [row for record in records for row in record.get("calcifications", ())]
    if calcifications:
        write_text_atomically(root / "calcifications.csv", _csv(calcifications))
    return root / "cases.csv"


def _csv(rows: list[dict[str, Any]]) -> str:
    """Rows of equal keys as CSV; nothing but a line end where there are none."""
    columns = list(rows[0]) if rows else []
    return table_csv(columns, ([row[name] for name in columns] for row in rows))
