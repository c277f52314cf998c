"""Write the results of scans as BIDS derivatives.

References:
    BIDS 1.10, derivatives of images (bids-specification.readthedocs.io).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cmbnet import RESEARCH_USE_ONLY, __version__
from cmbnet.bids.find import DESCRIPTION, Scan, Session
from cmbnet.bids.record import (
    CASES,
    COMPARED,
    RECORD,
    Record,
    picture_of,
    read_record,
    record_of,
    record_of_gap,
)
from cmbnet.errors import UsageError
from cmbnet.io import link_or_copy, write_text_atomically
from cmbnet.pages import render
from cmbnet.report.tables import lesion_row
from cmbnet.report.write import LESIONS, MASK, PROBABILITY, REPORT, clear_case

if TYPE_CHECKING:
    from cmbnet.bids.sessions import Followed
    from cmbnet.report.batch import Outcome
    from cmbnet.report.result import Result

BIDS_VERSION: Final = "1.10.0"
IGNORED: Final = (
    *(CASES, f"{CASES}/**", COMPARED, f"{COMPARED}/**"),
    *("*.html", "cmbnet_group.*"),
)
"""What lies in the derivatives and is not BIDS."""

_README: Final = f"""Cerebral microbleeds found by cmbnet {__version__}. {RESEARCH_USE_ONLY}

The masks (1 in lesions) and labels (a number for each lesion) lie on the grid of the scans.
sub-<label>.html is the report of a subject. cases/ holds the files of `cmbnet predict`, compare/
those of `cmbnet compare`.
"""
_IMAGES: Final = {"mask": MASK, "dseg": LESIONS, "probseg": PROBABILITY}
_COLUMNS: Final = {
    "size_class": "small (at least 2 mm and less than 5 mm) or large (5 to 10 mm).",
    "score": "Score of the lesion, 0 to 1.",
    "max_in_plane_diameter_mm": {"Description": "Largest diameter in a slice.", "Units": "mm"},
    "volume_mm3": {"Description": "Volume.", "Units": "mm^3"},
    "right_mm": {"Description": "Centre, to the right of the scan's origin.", "Units": "mm"},
    "anterior_mm": {"Description": "Centre, in front of the scan's origin.", "Units": "mm"},
    "superior_mm": {"Description": "Centre, above the scan's origin.", "Units": "mm"},
    "region": "Approximate region of the Microbleed Anatomical Rating Scale.",
    "side": "Side of the region.",
    "region_group": "lobar, deep or infratentorial.",
    "phase": "What the phase says: paramagnetic (blood), diamagnetic (calcium), indeterminate.",
}
"""Columns of ``dseg.tsv`` after index and name, with the words of its data dictionary."""


def prepare_folder(out: Path, root: Path) -> None:
    """Make the folder of derivatives with its description.

    Raises:
        UsageError: If it is the data set itself, or a data set of something else.
        OSError: If the file system refuses.
    """
    if out.resolve() == root.resolve():
        raise UsageError(f"an output folder other than the data set is required, got {out}")
    file = out / DESCRIPTION
    with suppress(OSError, ValueError, AttributeError, TypeError):
        made_by = [one.get("Name") for one in json.loads(file.read_bytes())["GeneratedBy"]]
        if "cmbnet" not in made_by:
            raise UsageError(f"{out} holds derivatives of {', '.join(map(str, made_by))}")
    source = Path(os.path.relpath(root.resolve(), out.resolve())).as_posix()
    description = {
        "Name": "Cerebral microbleeds found by cmbnet",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {"Name": "cmbnet", "Version": __version__, "Description": RESEARCH_USE_ONLY}
        ],
        "SourceDatasets": [{"URL": source}],
        "DatasetLinks": {"raw": source},
    }
    write_new(file, _json(description))
    write_new(out / ".bidsignore", "\n".join(IGNORED) + "\n")
    write_new(out / "README", _README)


def write_new(file: Path, text: str) -> None:
    """Write a file unless it is there: shards that start at once need not write it again."""
    with suppress(OSError):
        if file.read_text(encoding="utf-8") == text:
            return
    write_text_atomically(file, text)


def _json(content: object) -> str:
    return json.dumps(content, indent=2) + "\n"


def publish(scan: Scan, session: Session, outcome: Outcome, root: Path, out: Path) -> Record:
    """Write the derivatives of a scan and its record, which comes last. No other run may do so.

    What is there and belongs to the same result is left as it is. Without a result, derivatives
    of an earlier run are removed.

    Returns:
        The record.

    Raises:
        OSError: If the file system refuses.
    """
    file = out / CASES / scan.name / RECORD
    record, old = record_of(scan, session, outcome, root, out), read_record(file)
    wanted = {} if outcome.result is None else _files(scan, session, outcome.result)
    record = record.model_copy(update={"files": tuple(wanted)})
    if old is not None and _complete(old, record, out):
        return old
    _remove(old, wanted, out)
    file.unlink(missing_ok=True)  # until all is written
    for name, content in wanted.items():
        for left in (out / name).parent.glob(f".{Path(name).name}.*~"):  # by a run that was killed
            left.unlink(missing_ok=True)
        if isinstance(content, str):
            write_text_atomically(out / name, content)
        else:
            link_or_copy(out / CASES / content, out / name)
    record = record.model_copy(update={"picture": picture_of(record, out)})
    write_text_atomically(file, record.model_dump_json(indent=1) + "\n")
    return record


def _complete(old: Record, record: Record, out: Path) -> bool:
    """Return whether a scan was published before, from the same result."""
    same = record == old.model_copy(update={"picture": ""})
    return same and all((out / name).is_file() for name in record.files)


def publish_gap(session: Session, out: Path) -> Record:
    """Write the record of a session without a scan."""
    record = record_of_gap(session)
    write_new(out / CASES / record.case / RECORD, record.model_dump_json(indent=1) + "\n")
    return record


def forget(record: Record, out: Path) -> None:
    """Remove what was written for a scan that its session has no more."""
    _remove(record, (), out)
    (out / CASES / record.case / RECORD).unlink(missing_ok=True)
    clear_case(out / CASES / record.case)


def _remove(old: Record | None, wanted: Iterable[str], out: Path) -> None:
    for name in set(old.files if old else ()) - set(wanted):
        (out / name).unlink(missing_ok=True)


def _files(scan: Scan, session: Session, result: Result) -> dict[str, str | Path]:
    """Map paths in the derivatives to their text, or to the files in ``cases`` that they are."""
    *pieces, _ = scan.name.split("_")
    source = "_".join(piece for piece in pieces if not piece.startswith("part-"))
    folder = f"sub-{session.subject}" + (f"/ses-{session.session}" if session.session else "")
    files: dict[str, str | Path] = {}
    for suffix, name in _IMAGES.items():
        if name in result.files:
            # BIDS has no label in the name of a dseg, whose labels are in its table.
            label = "" if suffix == "dseg" else "_label-CMB"
            stem = f"{folder}/anat/{source}_space-orig{label}_desc-cmbnet_{suffix}"
            files[f"{stem}.nii.gz"] = Path(scan.name, name)
            files[f"{stem}.json"] = _json(_sidecar(suffix, scan, folder, result))
            if suffix == "dseg":
                files[f"{stem}.tsv"] = _lesions_tsv(result)
    return files


def _sidecar(suffix: str, scan: Scan, folder: str, result: Result) -> dict[str, Any]:
    images = [scan.path] if scan.phase is None else [scan.path, scan.phase]
    sources = [f"bids:raw:{folder}/{one.parent.name}/{one.name}" for one in images]
    content: dict[str, Any] = {
        "Description": {
            "mask": "1 in possible microbleeds, 0 elsewhere.",
            "dseg": "A number for each possible microbleed, 0 elsewhere.",
            "probseg": "Probability of a microbleed that the network gave, 0 to 1.",
        }[suffix],
        "Sources": sources,
        "SpatialReference": sources[0],
        "Manual": False,
        "cmbnet": {
            "notice": result.notice,
            "version": result.request.cmbnet,
            "model": result.model.bundle,
            "model_sha256": result.request.bundle_sha256,
            "training": result.model.training,
            "operating_point": result.model.operating_point,
            "input_sha256": result.request.input_sha256,
            "forced": result.quality.forced,
        },
    }
    if suffix == "mask":
        content["Type"] = "Lesion"
    if suffix == "dseg":
        words = {
            name: {"Description": w} if isinstance(w, str) else w for name, w in _COLUMNS.items()
        }
        content |= words
    return content


def _lesions_tsv(result: Result) -> str:
    rows = [
        lesion_row(one) | {"index": one.id, "name": f"lesion {one.id}"} for one in result.lesions
    ]
    return tsv(("index", "name", *_COLUMNS), rows)


def tsv(columns: Iterable[str], rows: Iterable[dict[str, Any]]) -> str:
    """Write a table as BIDS wants it: tabs between cells, and n/a in empty ones.

    Examples:
        >>> tsv(["index", "name"], [{"index": 1}]).split()
        ['index', 'name', '1', 'n/a']
    """
    names = list(columns)
    lines = [names, *([_cell(row.get(name)) for name in names] for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines)


def _cell(value: Any) -> str:
    return " ".join(str(value).split()) if value not in (None, "") else "n/a"


def write_subject_page(records: Sequence[Record], compared: Followed | None, out: Path) -> Path:
    """Write the report of a subject, which leads to those of its scans.

    Args:
        records: All records of the subject.
        compared: The comparison of its sessions.
        out: Folder of the derivatives.
    """
    page = out / records[0].subject_page
    text = render(
        "bids_subject.html",
        subject=records[0].subject,
        records=records,
        compared=compared,
        report=lambda record: report_of(record, out),
        notice=RESEARCH_USE_ONLY,
    )
    write_new(page, text)
    return page


def report_of(record: Record, out: Path) -> str:
    """Return the path of the report of a scan in the derivatives, or nothing if there is none."""
    name = f"{CASES}/{record.case}/{REPORT}"
    return name if (out / name).is_file() else ""
