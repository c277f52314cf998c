"""Verdicts as Microbleed-review-viewer keeps them: findings go out, its readers' verdicts come in.

Places are RAS+ mm. See `examples/README.md` and `review_store.py` of
https://github.com/subyoung/Microbleed-review-viewer, as they were on 2026-11-29.
"""

from __future__ import annotations

import io
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np

from cmbnet.errors import InputRefused, UnreadableFile
from cmbnet.io import write_bytes_atomically
from cmbnet.review.cohort import Cohort, OpenCase
from cmbnet.review.session import Session, Wish
from cmbnet.review.verdicts import Kind, Review

SHEET: Final = "MCH-microhemorrage"
COLUMNS: Final = ("subjectid", "RAS L-R L", "RAS P-A A", "RAS I-S S", "verify (yes=1)",
                  "atlasregions", "readers", "need adjudicate", "comments")  # fmt: skip

NEAR_MM: Final = 2.0
"""A finding this near to the outline of a lesion is that lesion."""

KINDS: Final[dict[str, Kind]] = {"vessel": "vein", "calcification": "calcification",
                                 "artefact": "artefact", "partial volume": "artefact"}  # fmt: skip
"""What the viewer calls a mimic, and what it is here. All others are "other"."""

_QUERY = """
    SELECT r.reader_id, r.case_id, r.target_id, r.verify, r.certainty, r.mimic, r.comment,
           COALESCE(r.ras_l, s.ras_l, m.ras_l), COALESCE(r.ras_p, s.ras_p, m.ras_p),
           COALESCE(r.ras_s, s.ras_s, m.ras_s)
    FROM review_annotations r
    LEFT JOIN source_microbleeds s ON s.target_id = r.target_id
    LEFT JOIN manual_annotations m ON m.target_id = r.target_id
    ORDER BY r.review_round, r.review_id
"""


def write_findings(review: Review, file: Path) -> int:
    """Write the verdicts of a reader as findings, and return their number.

    An uncertain lesion has no verdict there, and asks for adjudication.
    """
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.create_sheet(SHEET)
    del book["Sheet"]  # an empty one
    sheet.append(COLUMNS)
    for case in review.cases:
        for one in case.verdicts:
            verify = {"accept": 1, "reject": 0}.get(one.judgement)
            doubt = "uncertain" if verify is None else ""
            place = [round(mm, 2) for mm in one.centre_ras_mm]
            sheet.append((case.case, *place, verify, one.region, review.reader, doubt, one.note))
            for cell in sheet[sheet.max_row]:
                if cell.data_type == "f":  # text that a spreadsheet program would run
                    cell.data_type = "s"
    stream = io.BytesIO()
    book.save(stream)
    write_bytes_atomically(file, stream.getvalue())
    return int(sheet.max_row) - 1


def read_verdicts(database: Path, reader: str, session: Session, cohort: Cohort) -> Iterator[str]:
    """Take over the verdicts of a reader, latest round last, and finish the cases that are whole.

    A finding near a lesion of the model judges it. One elsewhere that the reader confirmed is added
    and outlined. Cases that were begun are left alone. It yields a sentence for each case.

    Raises:
        UnreadableFile: If the file is no database of the viewer.
        InputRefused: If it holds no verdict of this reader.
    """
    rows: dict[str, dict[str, Any]] = defaultdict(dict)
    for who, case, finding, *said in _rows(database):
        if who == reader:
            rows[case][finding] = said
    if not rows:
        others = ", ".join(sorted({row[0] for row in _rows(database)})) or "nobody"
        raise InputRefused(
            f"verdicts of {reader} are required in {database}, which has some of: {others}",
            argument="reader",
        )
    for number, case in enumerate(session.cases):
        if case.name in rows:
            opened = cohort.open(case)
            yield f"{case.name}: {_taken_over(session, number, opened, rows[case.name].values())}"


def _rows(database: Path) -> list[Any]:
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as opened:
            return opened.execute(_QUERY).fetchall()
    except sqlite3.Error as error:
        raise UnreadableFile(
            f"a database of Microbleed-review-viewer is required, got {database}: {error}"
        ) from error


def _taken_over(session: Session, number: int, opened: OpenCase, findings: Iterable[Any]) -> str:
    state = session.show(number)
    if state["revision"]:
        return "left alone, its review was begun before"

    def act(do: Any, **values: Any) -> dict[str, Any]:
        state.update(session.act(number, Wish(do=do, revision=state["revision"], **values)))
        return state

    judged = [_judged(act, opened, said) for said in findings]
    still_open = judged.count(False) + sum(one["judgement"] is None for one in state["marks"])
    if still_open:
        return f"{still_open} verdicts are still open"
    act("finish")
    return "finished"


def _judged(act: Callable[..., dict[str, Any]], opened: OpenCase, said: Sequence[Any]) -> bool:
    """Say here what the reader said there. False if that was nothing."""
    verify, certainty, mimic, note, *place = said
    mark = _lesion_at(opened, place)
    if verify is None or (mark is None and not verify):
        return verify is not None
    if mark is None:
        mark = act("add", at=_shown(opened, place))["marks"][-1]["id"]
    elif verify:
        act("judge", mark=mark, judgement="accept")
    else:
        act("judge", mark=mark, judgement="reject", kind=KINDS.get(mimic or "", "other"))
    if verify and certainty in ("probable", "possible"):
        act("certainty", mark=mark, certainty="possible")
    if note:
        act("mark_note", mark=mark, text=note[:2000])
    return True


def _lesion_at(opened: OpenCase, place: Sequence[float]) -> str | None:
    """Return the lesion of the model that is nearest to a place, within `NEAR_MM`."""
    affine, best = opened.volume.affine, (NEAR_MM, "")
    for label, voxels in opened.outlines.items():
        index = np.stack(np.unravel_index(voxels, opened.volume.shape), axis=1)
        away_mm = np.linalg.norm(index @ affine[:3, :3].T + affine[:3, 3] - place, axis=1)
        best = min(best, (float(away_mm.min()), str(label)))
    return best[1] or None


def _shown(opened: OpenCase, place: Sequence[float]) -> tuple[int, ...]:
    voxel = np.linalg.inv(opened.volume.affine) @ (*place, 1.0)
    return tuple(opened.to_shown(np.rint(voxel[np.newaxis, :3]).astype(np.int64))[0].tolist())
