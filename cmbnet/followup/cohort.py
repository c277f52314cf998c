"""Compare the scans of many patients. A bad row never stops the others."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.errors import CmbnetError, InputRefused, UnreadableFile, UsageError
from cmbnet.followup.changes import Category
from cmbnet.followup.comparison import Compared, compare_scans
from cmbnet.followup.write import clear, write_comparison
from cmbnet.io import table_csv, write_text_atomically
from cmbnet.io.table import read_rows
from cmbnet.predict import STAGES
from cmbnet.threads import in_stages

if TYPE_CHECKING:
    from cmbnet.predict import Answer
    from cmbnet.threads import Steps

SUMMARY: Final = "summary.csv"
COLUMNS: Final = (
    "case", "status", "time_point", "baseline_lesions", "lesions",
    *(name.replace(" ", "_") for name in get_args(Category)),
    "aria_h", "no_category", "warnings", "reason", "notice",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Patient:
    """The scans of one patient in order of time, and the name of their folder in the output."""

    name: str
    scans: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one patient: a comparison and its page, or the reason why there is none."""

    patient: Patient
    status: Literal["done", "refused", "failed"]
    compared: Compared | None = None
    page: Path | None = None
    reason: str = ""
    argument: str = ""  # Name of the argument by which the caller can decide otherwise


def read_patients(table: Path) -> list[Patient]:
    """Read a CSV with the columns ``case``, ``baseline``, ``followup`` and more like the last.

    A relative path begins at the folder of the table. ``followup_2`` and so on may be empty.

    Raises:
        UnreadableFile: If it is no such table, or has no row.
        UsageError: If a name is no name of a folder, or occurs twice.
    """

    def patient(row: dict[str, str]) -> Patient:
        later = [row[name] for name in row if name and name.startswith("followup") and row[name]]
        scans = (row["baseline"], *(later or [row["followup"]]))
        return Patient(row["case"], tuple(table.parent / scan for scan in scans))

    patients = read_rows(table, "columns case, baseline and followup", patient)
    if not patients:
        raise UnreadableFile(f"a row for each patient is required, got none in {table}")
    taken = {SUMMARY}
    for name in (one.name for one in patients):
        if not re.fullmatch(r"\w[\w.-]*", name) or name.casefold() in taken:
            raise UsageError(
                f"names of letters, digits, _, - and . are required, each once, got {name!r} in "
                f"the column case of {table}"
            )
        taken.add(name.casefold())
    return patients


def compare_cohort(
    patients: Sequence[Patient],
    out: Path,
    read: Callable[[Path], Steps[Answer]],
    *,
    same_protocol: bool = False,
    dicom: Collection[str] = (),
) -> Iterator[Outcome]:
    """Compare the scans of each patient and keep ``summary.csv`` up to date.

    Args:
        patients: Their scans.
        out: Folder that gets a folder for each patient.
        read: Finds what is on a scan, or reads what was found, in at most `STAGES` stages.
        same_protocol: As in `compare_scans`.
        dicom: As in `write_comparison`.
    """
    rows: list[dict[str, object]] = []
    for patient in patients:
        answers = in_stages(map(read, patient.scans), stages=STAGES)
        outcome = compare_patient(
            patient, answers, out / patient.name, same_protocol=same_protocol, dicom=dicom
        )
        rows += _rows(outcome)
        text = table_csv(COLUMNS, ([row.get(name) for name in COLUMNS] for row in rows))
        write_text_atomically(out / SUMMARY, text)
        yield outcome


def compare_patient(
    patient: Patient,
    answers: Iterable[Answer],
    folder: Path,
    *,
    same_protocol: bool = False,
    dicom: Collection[str] = (),
) -> Outcome:
    """Compare the scans of a patient and write the files. Whatever goes wrong becomes the outcome.

    Args:
        patient: The patient.
        answers: What is on the scans, in order of time. Taken only here, so that it may fail here.
        folder: Where to write. An earlier comparison in it is removed.
        same_protocol: As in `compare_scans`.
        dicom: As in `write_comparison`.
    """
    try:
        clear(folder)  # an earlier answer must not be taken for this one
        compared = compare_scans(list(answers), same_protocol=same_protocol)
        page = write_comparison(compared, folder, dicom=dicom)
        return Outcome(patient, "done", compared, page)
    except InputRefused as error:
        return Outcome(patient, "refused", reason=str(error), argument=error.argument)
    except (CmbnetError, OSError, MemoryError) as error:
        return Outcome(patient, "failed", reason=str(error) or "not enough memory")
    except Exception as error:  # a fault of ours must not cost the patients that follow
        what = f"unexpected {type(error).__name__}; please report this"
        return Outcome(patient, "failed", reason=what)


def _rows(outcome: Outcome) -> list[dict[str, object]]:
    """Make a row for each later scan, or one that says why there is none."""
    row: dict[str, object] = {
        "case": outcome.patient.name, "status": outcome.status, "reason": outcome.reason,
        "notice": RESEARCH_USE_ONLY,
    }  # fmt: skip
    if outcome.compared is None:
        return [row]
    comparison = outcome.compared.comparison
    return [
        row
        | {name.replace(" ", "_"): count for name, count in later.counts.items()}
        | {
            "time_point": later.time_point,
            "baseline_lesions": comparison.time_points[0].lesions,
            "lesions": comparison.time_points[later.time_point].lesions,
            "aria_h": later.aria_h.category,
            "no_category": later.aria_h.refused,
            "warnings": " | ".join(comparison.warnings),
        }
        for later in comparison.follow_ups
    ]
