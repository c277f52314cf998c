"""Tables of a cohort: what is known of its cases, and the regions of its true lesions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cmbnet.errors import InputRefused, UnreadableFile
from cmbnet.evaluation.cohort.images import SUBJECT
from cmbnet.io.table import read_rows

USUAL_STRATA = ("field_t", "protocol", "vendor", "anatomy")
"""Columns of a manifest that always become strata."""


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """A row of a manifest. Without a column ``patient``, each case is a separate patient."""

    patient: str
    strata: Mapping[str, str]
    patient_is_stated: bool = True


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of the cases, or of the subjects in the names of BIDS files."""

    rows: Mapping[str, ManifestRow]  # Case, or subject as ``sub-01`` -> its row
    of_subjects: bool = False

    def row(self, case: str) -> ManifestRow | None:
        """Return the row of a case, or None if there is none."""
        if not self.of_subjects:
            return self.rows.get(case)
        subject = SUBJECT.search(case)
        return None if subject is None else self.rows.get(subject[1])


def read_manifest(path: Path, strata: Sequence[str] = (), *, repeated: bool = False) -> Manifest:
    """Read a table of cases, or the ``participants.tsv`` of BIDS.

    Args:
        path: A CSV with a column ``case`` and, if patients were scanned twice, ``patient``; or a
            TSV with a column ``participant_id``. Its subjects may have several scans.
        strata: Columns that become strata. A missing column is refused. Columns of
            `USUAL_STRATA` are added if they exist.
        repeated: Whether a patient may have several scans.

    Raises:
        UnreadableFile: If the file is not a CSV with these columns.
        InputRefused: If a case occurs twice, or a patient does and `repeated` is False.
    """
    rows = read_rows(path, "cases", dict)
    columns = set(rows[0]) if rows else set()
    of_subjects = "participant_id" in columns and "case" not in columns
    needed = strata if of_subjects else ("case", *strata)
    absent = [name for name in needed if name not in columns]
    if absent:
        raise UnreadableFile(f"the manifest {path} needs the columns {', '.join(absent)}")
    chosen = [*strata, *(name for name in USUAL_STRATA if name in columns - set(strata))]
    manifest: dict[str, ManifestRow] = {}
    patients: dict[str, str] = {}
    for row in rows:
        case = row["participant_id"] if of_subjects else row["case"]
        patient = case if of_subjects else row.get("patient") or case
        if case in manifest:
            raise InputRefused(f"case {case} occurs twice in {path}")
        if patient in patients and not repeated:
            raise InputRefused(
                f"patient {patient} occurs twice in {path}, as {patients[patient]} and {case}; "
                "allow that patients repeat if these are scans of one person, to be pooled",
                argument="repeated_patients",
            )
        patients[patient] = case
        strata_of_case = {name: row[name] for name in chosen}
        stated = of_subjects or bool(row.get("patient"))
        manifest[case] = ManifestRow(patient, strata_of_case, stated)
    return Manifest(manifest, of_subjects)


def read_lesion_regions(path: Path) -> dict[str, dict[int, str]]:
    """Read the region of each true lesion from a CSV with the columns case, lesion, region.

    ``lesions.csv`` of a phantom cohort is such a file. Rows of lesion 0 (not in the reference) are
    skipped.

    Returns:
        The regions, as case -> instance label -> region.

    Raises:
        UnreadableFile: If the file is not such a table.
        InputRefused: If a lesion occurs twice or has no region.
    """
    regions: dict[str, dict[int, str]] = {}
    for case, lesion, region in read_rows(
        path,
        "columns case, lesion (a number) and region",
        lambda row: (row["case"], int(row["lesion"]), row["region"]),
    ):
        own = regions.setdefault(case, {})
        if lesion == 0:
            continue
        if lesion in own or not region:
            raise InputRefused(f"lesion {lesion} of case {case} needs one region in {path}")
        own[lesion] = region
    return regions
