"""The tables ``lesions.csv`` of a case and ``summary.csv`` of a run."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from cmbnet.errors import UnreadableFile
from cmbnet.io import table_csv, write_text_atomically
from cmbnet.lesions import Lesion
from cmbnet.report.result import Result

LESION_COLUMNS = (
    "id", "status", "size_class", "score", "mean_probability", "max_probability",
    "right_mm", "anterior_mm", "superior_mm", "i", "j", "k",
    "max_in_plane_diameter_mm", "equivalent_diameter_mm", "volume_mm3", "z_extent_mm", "slices",
    "elongation", "border_distance_mm", "outside_brain", "region", "side", "region_group",
    "region_margin_mm", "removed_by", "reason", "phase", "phase_strength",
)  # fmt: skip

SUMMARY_COLUMNS = (
    "case", "status", "input", "lesions", "small", "large", "lesion_volume_mm3", "positive",
    "score", "candidates", "lobar", "lobar_left", "lobar_right", "deep", "deep_left", "deep_right",
    "infratentorial", "infratentorial_left", "infratentorial_right", "cerebellum",
    "region_unknown", "pattern", "warnings", "operating_point", "bundle", "bundle_sha256",
    "backend", "seconds", "reason", "notice",
)  # fmt: skip
"""Without those of the middle, left and right need not add up to the total."""

Status = Literal["done", "refused", "failed"]


def lesions_csv(lesions: Iterable[Lesion]) -> str:
    """Write lesions and excluded candidates as CSV, one row each."""
    rows = (lesion_row(lesion) for lesion in lesions)
    return table_csv(LESION_COLUMNS, ([row[name] for name in LESION_COLUMNS] for row in rows))


def lesion_row(lesion: Lesion) -> dict[str, object]:
    """Make the row of a lesion or excluded candidate."""
    row: dict[str, object] = {}
    for name in LESION_COLUMNS:
        value = getattr(lesion, name, None)
        row[name] = round(value, 4) if isinstance(value, float) else value
    for axis, value in zip(("right", "anterior", "superior"), lesion.centre_ras_mm, strict=True):
        row[f"{axis}_mm"] = round(value, 2)
    row |= dict(zip("ijk", lesion.voxel_ijk, strict=True))
    place = lesion.place
    if place is not None:
        row |= {"region": place.region, "side": place.side, "region_group": place.group}
        row["region_margin_mm"] = place.margin_mm
    row["status"] = "lesion" if lesion.removed_by is None else "excluded"
    return row


def summary_row(result: Result) -> dict[str, object]:
    """Make the row of a case that has a result."""
    return {
        "case": result.case,
        "status": "done",
        "input": result.input.file,
        "lesions": result.scan.lesions,
        "small": result.scan.small,
        "large": result.scan.large,
        "lesion_volume_mm3": round(result.scan.lesion_volume_mm3, 2),
        "positive": int(result.scan.positive),
        "score": round(result.scan.score, 4),
        "candidates": result.stages["candidates"],
        **_region_columns(result),
        "warnings": " | ".join(
            f.code for f in result.quality.findings if f.severity in ("warning", "refuse")
        ),
        "operating_point": result.model.operating_point,
        "bundle": result.model.bundle,
        "bundle_sha256": result.request.bundle_sha256,
        "backend": f"{result.model.backend}:{result.model.precision}",
        "seconds": round(sum(result.timings_s.values()), 2),
        "notice": result.notice,
    }


def _region_columns(result: Result) -> dict[str, object]:
    columns: dict[str, object] = {"pattern": result.regions.pattern}
    for row in result.regions.groups[:3]:
        columns |= {row.name: row.total, f"{row.name}_left": row.left}
        columns[f"{row.name}_right"] = row.right
    columns["region_unknown"] = result.regions.groups[3].total
    columns["cerebellum"] = result.regions.regions[1].total
    return columns


def fault_row(
    case: str, *, status: Status, file: str, reason: str, notice: str
) -> dict[str, object]:
    """Make the row of a case without a result. Its lesion columns stay empty."""
    return {"case": case, "status": status, "input": file, "reason": reason, "notice": notice}


def update_summary(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Put rows into ``summary.csv``, which is sorted by case. A row replaces that of the same case.

    Several processes and threads may do so at the same time. They take turns.

    Raises:
        UnreadableFile: If the file is another table.
        OSError: If the file system refuses.
    """
    from filelock import FileLock  # takes as long to import as a scan to read

    with FileLock(path.with_name(f".{path.name}.lock")):
        table = _read_summary(path) | {str(row["case"]): row for row in rows}
        ordered = (table[case] for case in sorted(table))
        text = table_csv(
            SUMMARY_COLUMNS, ([row.get(name) for name in SUMMARY_COLUMNS] for row in ordered)
        )
        write_text_atomically(path, text)


def _read_summary(path: Path) -> dict[str, Mapping[str, object]]:
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        if tuple(reader.fieldnames or ()) != SUMMARY_COLUMNS:
            raise UnreadableFile(
                f"{path} is no summary of this version of cmbnet; move it away or give another "
                "output folder"
            )
        return {row["case"]: row for row in reader}
