"""`compare_scans`: scans of one patient, in order of time, as the content of ``compare.json``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict

from cmbnet import RESEARCH_USE_ONLY, __version__
from cmbnet.errors import InputRefused, UsageError
from cmbnet.followup.changes import Category, Change, Look, Point, Spot, compare_lesions
from cmbnet.followup.grade import AriaH, Protocol, aria_h, sizes_comparable, why_not_comparable
from cmbnet.followup.register import IDENTITY, RigidMap, lay_on
from cmbnet.predict import predict_file

if TYPE_CHECKING:
    from cmbnet.backends import Backend
    from cmbnet.bundle import Bundle
    from cmbnet.predict import Prediction, Request
    from cmbnet.volume import Volume

LOOK_MM: Final = 2.0
"""The other scan is looked at this far around a place."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Registration(_Strict):
    """How a scan lies on the first: agreement of the brains, and the movement."""

    overlap: float
    explained: float
    edge_mm: float
    turn_deg: float


class TimePoint(_Strict):
    """One scan."""

    file: str
    input_sha256: str
    lesions: int
    protocol: Protocol
    warnings: tuple[str, ...]
    registration: Registration | None


class FollowUp(_Strict):
    """A later scan against the first. Changes of sizes are left out where protocols differ."""

    time_point: int
    sizes_comparable: bool
    counts: dict[Category, int]
    changes: tuple[Change, ...]
    aria_h: AriaH


class Comparison(_Strict):
    """The whole content of ``compare.json``."""

    format: Literal[1] = 1
    notice: str
    cmbnet: str
    bundle: str
    bundle_sha256: str
    operating_point: str
    same_protocol: bool
    time_points: tuple[TimePoint, ...]
    follow_ups: tuple[FollowUp, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """Scans that were compared.

    Args:
        comparison: What was found.
        predictions: One for each scan.
        maps: How each lies on the first.
    """

    comparison: Comparison
    predictions: tuple[Prediction, ...]
    maps: tuple[RigidMap, ...]


def compare_scans(
    paths: Sequence[Path],
    bundle: Bundle,
    backend: Backend,
    request: Request,
    *,
    same_protocol: bool = False,
) -> Compared:
    """Find microbleeds on scans of one patient and compare each later scan with the first.

    Args:
        paths: Two scans or more in order of time: NIfTI files or DICOM inputs.
        bundle: The model.
        backend: Opened for this bundle.
        request: How to look at each scan.
        same_protocol: The caller knows that sequence and field strength agree. NIfTI files do
            not say so, and without it there is no category of ARIA-H.

    Raises:
        UsageError: If there is only one scan.
        InputRefused: If a scan is not analysable, is given twice, is of another patient or out of
            order by its headers, or cannot be laid on the first.
        UnreadableFile: If a file cannot be read.
    """
    if len(paths) < 2:
        raise UsageError(f"two scans or more are required to compare, got {len(paths)}")
    predictions = tuple(predict_file(path, bundle, backend, request) for path in paths)
    require_one_patient(predictions)
    first = predictions[0]
    maps = (IDENTITY, *(lay_on(first, later) for later in predictions[1:]))
    for path, found in zip(paths, maps, strict=True):
        if found.refused:
            raise InputRefused(f"{found.refused} ({paths[0].name} and {path.name})")
    follow_ups = tuple(
        _follow_up(number, first, later, found, same_protocol=same_protocol)
        for number, (later, found) in enumerate(zip(predictions, maps, strict=True))
        if number
    )
    comparison = Comparison(
        notice=RESEARCH_USE_ONLY,
        cmbnet=__version__,
        bundle=bundle.manifest.name,
        bundle_sha256=bundle.sha256,
        operating_point=first.operating_point.name,
        same_protocol=same_protocol,
        time_points=tuple(
            _time_point(one, found if number else None)
            for number, (one, found) in enumerate(zip(predictions, maps, strict=True))
        ),
        follow_ups=follow_ups,
    )
    return Compared(comparison, predictions, maps)


def require_one_patient(predictions: Sequence[Prediction]) -> None:
    """Refuse what the headers or the bytes forbid.

    Raises:
        InputRefused: If a scan is given twice, patient IDs differ, or dates fall.
    """
    hashes = [one.record.sha256 for one in predictions]
    if len(set(hashes)) < len(hashes):
        raise InputRefused("different scans are required to compare, got one scan twice")
    sources = [one.record.dicom for one in predictions if one.record.dicom is not None]
    patients = {str(source.headers[0].get("PatientID") or "") for source in sources} - {""}
    if len(patients) > 1:
        raise InputRefused("scans of one patient are required, but their patient IDs differ")
    dates = [str(source.headers[0].get("StudyDate") or "") for source in sources]
    known = [date for date in dates if date]
    if known != sorted(known):
        raise InputRefused(
            "scans in order of time are required, but a later one has an earlier date"
        )


def _time_point(prediction: Prediction, found: RigidMap | None) -> TimePoint:
    record, quality = prediction.record, prediction.quality
    return TimePoint(
        file=record.file or prediction.volume.source,
        input_sha256=record.sha256,
        lesions=len(prediction.found.lesions),
        protocol=protocol_of(prediction),
        warnings=tuple(one.message for one in quality.findings if one.severity != "info"),
        registration=None if found is None else _registration(found),
    )


def _registration(found: RigidMap) -> Registration:
    return Registration(
        overlap=found.alignment.overlap,
        explained=found.alignment.explained,
        edge_mm=found.edge_mm,
        turn_deg=found.turn_deg,
    )


def protocol_of(prediction: Prediction) -> Protocol:
    """How a scan was made, as far as its headers say."""
    z, y, x = sorted(prediction.volume.spacing_mm)
    source = prediction.record.dicom
    if source is None:
        return Protocol((z, y, x))
    header = source.attributes
    names = [header.get(keyword) for keyword in ("ScanningSequence", "SequenceName")]
    sequence = " ".join(_joined(name) for name in names if name)
    return Protocol((z, y, x), source.field_t, source.echo_ms, sequence)


def _joined(value: Any) -> str:
    """A value of a header, which may be several."""
    return value if isinstance(value, str) else "\\".join(map(str, value))


def _follow_up(
    number: int, first: Prediction, later: Prediction, found: RigidMap, *, same_protocol: bool
) -> FollowUp:
    before, after = protocol_of(first), protocol_of(later)
    comparable = sizes_comparable(before, after)
    look_later = looking(later.probability)

    def look_after(point: Point) -> float | None:
        there = found.from_first(np.array([point]))[0]
        return look_later((float(there[0]), float(there[1]), float(there[2])))

    changes = compare_lesions(
        _spots(first, IDENTITY),
        _spots(later, found),
        look_before=looking(first.probability),
        look_after=look_after,
        sizes_comparable=comparable,
    )
    counts = Counter(change.category for change in changes)
    outside = sum(one.category == "not assessable" and bool(one.after) for one in changes)
    return FollowUp(
        time_point=number,
        sizes_comparable=comparable,
        counts={name: counts[name] for name in get_args(Category)},
        changes=changes,
        aria_h=aria_h(
            counts["new"],
            uncertain=counts["newly above threshold"],
            not_assessable=outside,
            baseline=len(first.found.lesions),
            refused="" if same_protocol else why_not_comparable(before, after),
        ),
    )


def _spots(prediction: Prediction, found: RigidMap) -> list[Spot]:
    lesions = prediction.found.lesions
    centres = found.to_first(np.array([one.centre_ras_mm for one in lesions]).reshape(-1, 3))
    return [
        Spot(one.id, (float(x), float(y), float(z)), one.equivalent_diameter_mm, one.volume_mm3)
        for one, (x, y, z) in zip(lesions, centres.tolist(), strict=True)
    ]


def looking(probability: Volume) -> Look:
    """Highest probability within `LOOK_MM` of a place, or None outside the scan."""
    to_index = np.linalg.inv(probability.affine)
    reach = np.ceil(LOOK_MM / np.array(probability.spacing_mm)).astype(int)
    steps = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1)
    steps = steps.reshape(-1, 3)
    steps = steps[np.linalg.norm(steps * probability.spacing_mm, axis=1) <= LOOK_MM]

    def look(point: Point) -> float | None:
        middle = np.rint(to_index[:3, :3] @ np.array(point) + to_index[:3, 3]).astype(int)
        if np.any(middle < 0) or np.any(middle >= probability.shape):
            return None
        index = np.clip(middle + steps, 0, np.array(probability.shape) - 1)
        return float(probability.data[tuple(index.T)].max())

    return look
