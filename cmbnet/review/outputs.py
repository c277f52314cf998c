"""What comes out of a review: masks on the grid of the scan, ``verdicts.json`` and tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.errors import UnreadableFile
from cmbnet.io import table_csv, write_nifti, write_text_atomically
from cmbnet.lesions import Component, measure_components
from cmbnet.report.write import LESIONS, MASK
from cmbnet.review.cohort import OpenCase
from cmbnet.review.log import CaseState
from cmbnet.review.verdicts import Arm, CaseReview, Judgement, Mark, Review, Verdict

VERDICTS: Final = "verdicts.json"
TABLE: Final = "reviewed.csv"
TIMES: Final = "times.csv"
CASE: Final = "case.json"
IGNORE: Final = "ignore.nii.gz"
ALONE: Final = "alone.nii.gz"
VERIFIED: Final = ("sr.dcm", "seg.dcm")

COLUMNS: Final = (
    "case", "label", "source", "judgement", "kind", "certainty", "outline", "score", "region",
    "max_in_plane_diameter_mm", "volume_mm3", "right_mm", "anterior_mm", "superior_mm",
    "i", "j", "k", "found_alone", "note",
)  # fmt: skip


def write_case(folder: Path, case: str, opened: OpenCase, state: CaseState) -> CaseReview:
    """Write the masks of a finished case. ``case.json`` comes last.

    Args:
        folder: Folder of the case within that of the reader.
        case: Name of the case.
        opened: Its scan and the model's lesions.
        state: What the reader said. Every lesion of the model that was shown has a judgement.

    Raises:
        OSError: If the file system refuses.
    """
    clear_case(folder)
    scan, names = opened.volume, {"accept": LESIONS, "uncertain": IGNORE}
    judged = [(mark, mark.judgement) for mark in state.marks.values()
              if mark.judgement and not mark.removed]  # fmt: skip
    judged.sort(key=lambda one: (one[0].added, int(one[0].id.removeprefix("r"))))
    last = max((lesion.id for lesion in opened.result.lesions), default=0)
    labels, verdicts = {name: np.zeros(scan.shape, np.uint16) for name in names.values()}, []
    for mark, judgement in judged:
        label = last + int(mark.id[1:]) if mark.added else int(mark.id)
        voxels = voxels_of(mark, opened)
        verdicts.append(_verdict(mark, judgement, label, voxels, opened, state))
        if judgement in names:
            flat = labels[names[judgement]].reshape(-1)
            flat[voxels[flat[voxels] == 0]] = label
    folder.mkdir(parents=True, exist_ok=True)
    write_nifti(scan.with_data(labels[LESIONS] > 0), folder / MASK, dtype=np.uint8)
    write_nifti(scan.with_data(labels[LESIONS]), folder / LESIONS, dtype=np.uint16)
    if labels[IGNORE].any():
        write_nifti(scan.with_data(labels[IGNORE]), folder / IGNORE, dtype=np.uint16)
    if state.alone is not None:
        alone = np.zeros(scan.shape, bool)
        for mark in state.alone.values():
            alone.reshape(-1)[voxels_of(mark, opened)] = True
        write_nifti(scan.with_data(alone), folder / ALONE, dtype=np.uint8)
    review = CaseReview(
        case=case,
        input_sha256=opened.result.request.input_sha256,
        bundle_sha256=opened.result.request.bundle_sha256,
        arms=_arms(state),
        finished=state.finished,
        seconds_without=round(state.seconds["without"], 1),
        seconds_with=round(state.seconds["with"], 1),
        note=state.note,
        verdicts=tuple(verdicts),
    )
    write_text_atomically(folder / CASE, review.model_dump_json(indent=2) + "\n")
    return review


def _arms(state: CaseState) -> tuple[Arm, ...]:
    if state.alone is not None:
        return "without", "with"
    return ("with",) if state.seen else ("without",)


def clear_case(folder: Path) -> None:
    """Remove the files of a case, ``case.json`` first.

    Raises:
        OSError: If the file system refuses.
    """
    for name in (CASE, *VERIFIED, MASK, LESIONS, IGNORE, ALONE):
        (folder / name).unlink(missing_ok=True)


def read_case(folder: Path) -> CaseReview | None:
    """Read the verdicts of a finished case, or return None if it has none."""
    try:
        return CaseReview.model_validate_json((folder / CASE).read_bytes())
    except (OSError, ValidationError):
        return None


def read_review(folder: Path) -> Review:
    """Read ``verdicts.json`` in the folder of a reader.

    Raises:
        UnreadableFile: If there is none, or it is damaged or of another version.
    """
    file = folder / VERDICTS
    try:
        return Review.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise UnreadableFile(
            f"verdicts of this version of cmbnet are required, and {file} cannot be read by this "
            "version: start `cmbnet review` of this reader again, which writes them anew"
        ) from error


def write_tables(folder: Path, reader: str, cases: Sequence[CaseReview]) -> None:
    """Write ``verdicts.json``, ``reviewed.csv`` and ``times.csv`` of a reader.

    Raises:
        OSError: If the file system refuses.
    """
    review = Review(notice=RESEARCH_USE_ONLY, reader=reader, cases=tuple(cases))
    write_text_atomically(folder / VERDICTS, review.model_dump_json(indent=2) + "\n")
    rows = [_row(case.case, verdict) for case in cases for verdict in case.verdicts]
    write_text_atomically(folder / TABLE, table_csv(COLUMNS, rows))
    arms: dict[str, Callable[[CaseReview], float]] = {
        "without": lambda case: case.seconds_without,
        "with": lambda case: case.seconds_with,
    }
    times = [
        (reader, case.case, arm, seconds(case))
        for case in cases
        for arm, seconds in arms.items()
        if seconds(case) > 0
    ]
    write_text_atomically(folder / TIMES, table_csv(("reader", "case", "arm", "seconds"), times))


def voxels_of(mark: Mark, opened: OpenCase) -> NDArray[np.int64]:
    """Return the voxels of a mark as ascending indices of the flattened scan."""
    if mark.voxels is None:
        return opened.outlines[int(mark.id)]
    return np.asarray(mark.voxels, np.int64)


def middle_of(voxels: NDArray[np.int64], opened: OpenCase) -> NDArray[np.int64]:
    """Return the voxel (z, y, x) of a group that is nearest to its centre."""
    index = np.stack(np.unravel_index(voxels, opened.volume.shape), axis=1)
    middle: NDArray[np.int64] = index[((index - index.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    return middle


def measured(voxels: NDArray[np.int64], opened: OpenCase) -> Component:
    """Measure a group of voxels of the scan."""
    index = np.stack(np.unravel_index(voxels, opened.volume.shape), axis=1)
    low = index.min(axis=0)
    box = np.zeros(index.max(axis=0) - low + 1, np.uint8)
    box[tuple((index - low).T)] = 1
    affine = opened.volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ low
    return measure_components(box, affine)[0]


def _verdict(
    mark: Mark,
    judgement: Judgement,
    label: int,
    voxels: NDArray[np.int64],
    opened: OpenCase,
    state: CaseState,
) -> Verdict:
    lesion = next((one for one in opened.result.lesions if str(one.id) == mark.id), None)
    component = measured(voxels, opened)
    z, y, x = middle_of(voxels, opened).tolist()
    return Verdict(
        label=label,
        source="reader" if mark.added else "model",
        judgement=judgement,
        kind=mark.kind,
        certainty=mark.certainty,
        note=mark.note,
        outline=_drawn(mark),
        score=None if lesion is None else round(lesion.score, 4),
        region="" if lesion is None or lesion.place is None else lesion.place.region,
        centre_ras_mm=component.centroid_ras_mm,
        voxel_ijk=(x, y, z),
        volume_mm3=round(component.volume_mm3, 4),
        max_in_plane_diameter_mm=round(component.max_in_plane_diameter_mm, 4),
        found_alone=None if state.alone is None else _found_alone(mark, voxels, opened, state),
    )


def _drawn(mark: Mark) -> Literal["model", "dark spot", "painted"]:
    if mark.voxels is None:
        return "model"
    return "painted" if mark.share is None else "dark spot"


def _found_alone(mark: Mark, voxels: NDArray[np.int64], opened: OpenCase, state: CaseState) -> bool:
    return any(
        one.id == mark.id or bool(np.isin(voxels_of(one, opened), voxels).any())
        for one in (state.alone or {}).values()
    )


def _row(case: str, verdict: Verdict) -> list[Any]:
    values = verdict.model_dump() | {"case": case}
    for axis, mm in zip(("right", "anterior", "superior"), verdict.centre_ras_mm, strict=True):
        values[f"{axis}_mm"] = round(mm, 2)
    values |= dict(zip("ijk", verdict.voxel_ijk, strict=True))
    return [values[name] for name in COLUMNS]
