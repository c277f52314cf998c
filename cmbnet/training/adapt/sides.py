"""The sides of an adaptation: what is learned from, what chooses, and what is held out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmbnet.errors import InputRefused, UsageError
from cmbnet.io import read_nifti, table_csv, write_text_atomically
from cmbnet.lesions import label_components
from cmbnet.training.data.cohort import CohortCase, list_cohort, patients_in
from cmbnet.training.data.specs.check import TRAINING, VALIDATION
from cmbnet.training.data.specs.labels import read_label_image

HELD_OUT = "held-out"
SHARE = 0.25
"""Share of the patients that choose, and of those that are held out. The rest is learned from."""

FEWEST_FOR_SHARES = 3
"""With fewer patients of a kind, all of them are learned from."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A case of a cohort folder, its patient and its number of lesions."""

    case: CohortCase
    patient: str
    lesions: int


def labelled(cohort: Path) -> list[Labelled]:
    """List the cases of a cohort folder. Without a table of patients, each case is a patient."""
    patients = patients_in(cohort)
    return [Labelled(one, patients[one.name], _count(one)) for one in list_cohort(cohort)]


def _count(one: CohortCase) -> int:
    labels = read_label_image(one.lesions, read_nifti(one.image))
    instances = labels if labels.max(initial=0) > 1 else label_components(labels > 0)[0]
    return len(np.unique(instances[instances > 0]))


def split_by_patient(cases: Sequence[Labelled], seed: int, what: str) -> dict[str, list[Labelled]]:
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
    sides: dict[str, list[Labelled]] = {TRAINING: [], VALIDATION: [], HELD_OUT: []}
    for one in cases:
        sides[side[one.patient]].append(one)
    return sides


def gather(cases: Sequence[Labelled], folder: Path) -> Path:
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
        files = {"images": one.case.image, "lesions": one.case.lesions,
                 "ignore": one.case.ignore, "mimics": one.case.mimics}  # fmt: skip
        for kind, file in files.items():
            if file is not None:
                suffix = file.name.removeprefix(one.case.name)
                _place(file, folder / kind / f"{one.case.name}{suffix}")
    write_patients(folder, {one.case.name: (one.patient, one.lesions) for one in cases})
    return folder


def write_patients(folder: Path, rows: Mapping[str, tuple[str, int]]) -> None:
    """Write the table of a cohort folder: patient and number of lesions of each case.

    A phantom cohort has the same table; its patients are heads, hence the name of the column.
    """
    table = [(case, patient, lesions) for case, (patient, lesions) in sorted(rows.items())]
    text = table_csv(("case", "anatomy_seed", "n_lesions"), table)
    write_text_atomically(folder / "cases.csv", text)


def _place(source: Path, target: Path) -> None:
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)
