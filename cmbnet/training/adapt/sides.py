"""The sides of an adaptation: what is learned from, what chooses, and what is held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmbnet.errors import InputRefused, UsageError
from cmbnet.io import link_or_copy, table_csv, write_text_atomically
from cmbnet.training.data.labelled import read_labelled, read_truth
from cmbnet.training.data.specs import ScanCase
from cmbnet.training.data.specs.labels import LabelImage
from cmbnet.training.data.specs.splits import TRAINING, VALIDATION

HELD_OUT = "held-out"
SHARE = 0.25
"""Share of the patients that choose, and of those that are held out. The rest is learned from."""

FEWEST_FOR_SHARES = 3
"""With fewer patients of a kind, all of them are learned from."""


@dataclass(frozen=True, slots=True)
class SiteCase:
    """A case of a cohort folder, and its number of lesions."""

    case: ScanCase
    lesions: int

    @property
    def patient(self) -> str:
        """The patient. Without a table of patients, each case is a patient."""
        return self.case.patient


def site_cases(cohort: Path) -> list[SiteCase]:
    """List the cases of a cohort folder."""
    return [
        SiteCase(case, len(read_truth(case)[1].components)) for case in read_labelled(cohort).cases
    ]


def split_by_patient(cases: Sequence[SiteCase], seed: int, what: str) -> dict[str, list[SiteCase]]:
    """Draw a side for each patient; patients with and without lesions are shared out alike.

    Raises:
        InputRefused: If fewer than `FEWEST_FOR_SHARES` patients have lesions.
    """
    ill = {one.patient for one in cases if one.lesions}
    if len(ill) < FEWEST_FOR_SHARES:
        raise InputRefused(
            f"{what} of {FEWEST_FOR_SHARES} patients with microbleeds are required, one for each "
            f"side, got {len(ill)}"
        )
    side: dict[str, str] = {}
    rng = np.random.default_rng(seed)
    for group in (ill, {one.patient for one in cases} - ill):
        drawn = rng.permutation(sorted(group)).tolist()
        count = max(1, round(SHARE * len(drawn))) if len(drawn) >= FEWEST_FOR_SHARES else 0
        side |= dict.fromkeys(drawn[:count], HELD_OUT)
        side |= dict.fromkeys(drawn[count : 2 * count], VALIDATION)
        side |= dict.fromkeys(drawn[2 * count :], TRAINING)
    sides: dict[str, list[SiteCase]] = {TRAINING: [], VALIDATION: [], HELD_OUT: []}
    for one in cases:
        sides[side[one.patient]].append(one)
    return sides


def gather(cases: Sequence[SiteCase], folder: Path) -> Path:
    """Put cases into a cohort folder, as links where the file system has them.

    Raises:
        UsageError: If two cases have one name.
    """
    names = [one.case.name for one in cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(
            f"reviewed and replayed cases must have different names, got {', '.join(twice)} twice"
        )
    for one in cases:
        label = one.case.label
        files = {"images": one.case.image,
                 "lesions": label.path if isinstance(label, LabelImage) else None,
                 "ignore": one.case.ignore, "mimics": one.case.mimics}  # fmt: skip
        for kind, file in files.items():
            if file is not None:
                suffix = file.name.removeprefix(one.case.name)
                link_or_copy(file.resolve(), folder / kind / f"{one.case.name}{suffix}")
    write_patients(folder, {one.case.name: (one.patient, one.lesions) for one in cases})
    return folder


def write_patients(folder: Path, rows: Mapping[str, tuple[str, int]]) -> None:
    """Write the table of a cohort folder: patient and number of lesions of each case.

    A phantom cohort has the same table; its patients are heads, hence the name of the column.
    """
    table = [(case, patient, lesions) for case, (patient, lesions) in sorted(rows.items())]
    text = table_csv(("case", "anatomy_seed", "n_lesions"), table)
    write_text_atomically(folder / "cases.csv", text)
