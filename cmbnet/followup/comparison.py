"""`compare_scans`: scans of one patient, in order of time, as the content of ``compare.json``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict

from cmbnet import RESEARCH_USE_ONLY, __version__
from cmbnet.errors import InputRefused, UsageError
from cmbnet.followup.changes import Category, Change, Spot, compare_lesions, match
from cmbnet.followup.grade import AriaH, Protocol, aria_h, sizes_comparable, why_not_comparable
from cmbnet.followup.look import View, looking
from cmbnet.followup.register import IDENTITY, RigidMap, lay_on

if TYPE_CHECKING:
    from cmbnet.predict import Answer


IDENTITIES: Final = {
    "PatientID": "patient IDs",
    "PatientBirthDate": "birth dates",
    "PatientSex": "sexes",
}
"""Attributes that one patient has once, and their names."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Registration(_Strict):
    """How a scan lies on the first: agreement of the brains, and the movement.

    `to_first` is a matrix (4, 4) from the world of the scan to that of the first, both RAS+ mm.
    """

    to_first: tuple[tuple[float, float, float, float], ...]
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

    @property
    def words(self) -> str:
        """Say the counts in words."""
        return ", ".join(f"{n} {name}" for name, n in self.counts.items() if n) or "no lesions"


class Track(_Strict):
    """One lesion over time: its number on each scan, None where the scan has none."""

    number: int
    lesions: tuple[int | None, ...]


class Comparison(_Strict):
    """The whole content of ``compare.json``."""

    format: Literal[1] = 1
    notice: str
    cmbnet: str
    bundle: str
    bundle_sha256: str
    operating_point: str
    same_protocol: bool
    warnings: tuple[str, ...]
    time_points: tuple[TimePoint, ...]
    follow_ups: tuple[FollowUp, ...]
    tracks: tuple[Track, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """Scans that were compared.

    Args:
        comparison: What was found.
        answers: What was found on each scan.
        maps: How each lies on the first.
    """

    comparison: Comparison
    answers: tuple[Answer, ...]
    maps: tuple[RigidMap, ...]


def compare_scans(answers: Sequence[Answer], *, same_protocol: bool = False) -> Compared:
    """Compare each later scan of a patient with the first.

    Args:
        answers: What was found on two scans or more, in order of time.
        same_protocol: The caller knows that sequence and field strength agree. NIfTI files do
            not say so, and without it there is no category of ARIA-H.

    Raises:
        UsageError: If there is only one scan.
        InputRefused: If a scan is given twice, is of another patient or out of order by its
            headers, was looked at in another way, or cannot be laid on the first.
    """
    if len(answers) < 2:
        raise UsageError(f"two scans or more are required to compare, got {len(answers)}")
    require_one_patient(answers)
    first = answers[0]
    maps = (IDENTITY, *(lay_on(first, later) for later in answers[1:]))
    for later, found in zip(answers, maps, strict=True):
        if found.refused:
            raise InputRefused(f"{found.refused} ({first.name} and {later.name})")
    views = [View(answer, found) for answer, found in zip(answers, maps, strict=True)]
    follow_ups = tuple(
        _follow_up(number, views, same_protocol=same_protocol) for number in range(1, len(views))
    )
    comparison = Comparison(
        notice=RESEARCH_USE_ONLY,
        cmbnet=__version__,
        bundle=first.bundle.manifest.name,
        bundle_sha256=first.bundle.sha256,
        operating_point=first.operating_point.name,
        same_protocol=same_protocol,
        warnings=_warnings(answers, maps),
        time_points=tuple(
            _time_point(one, found if number else None)
            for number, (one, found) in enumerate(zip(answers, maps, strict=True))
        ),
        follow_ups=follow_ups,
        tracks=track([view.spots() for view in views], [one.changes for one in follow_ups]),
    )
    return Compared(comparison, tuple(answers), maps)


def require_one_patient(answers: Sequence[Answer]) -> None:
    """Refuse what the headers, the bytes or the settings forbid.

    Raises:
        InputRefused: If a scan is given twice, patient IDs differ, dates fall, or operating points
            differ.
    """
    hashes = [one.record.sha256 for one in answers]
    if len(set(hashes)) < len(hashes):
        raise InputRefused("different scans are required to compare, got one scan twice")
    sources = [one.record.dicom for one in answers if one.record.dicom is not None]
    for keyword, what in IDENTITIES.items():
        if len({str(source.headers[0].get(keyword) or "") for source in sources} - {""}) > 1:
            raise InputRefused(f"scans of one patient are required, but their {what} differ")
    dates = [str(source.headers[0].get("StudyDate") or "") for source in sources]
    known = [date for date in dates if date]
    if known != sorted(known):
        raise InputRefused(
            "scans in order of time are required, but a later one has an earlier date"
        )
    points = sorted({one.operating_point.name for one in answers})
    if len(points) > 1:
        said = " and ".join(points)
        raise InputRefused(f"results of one operating point are required, got {said}")


def _warnings(answers: Sequence[Answer], maps: Sequence[RigidMap]) -> tuple[str, ...]:
    sources = [one.record.dicom for one in answers]
    known = all(one is not None and one.headers[0].get("PatientID") for one in sources)
    unknown = "no header says that the scans are of one person: check that they are"
    return (
        *([] if known else [unknown]),
        *(f"scan {n}: {one.doubt}" for n, one in enumerate(maps, start=1) if one.doubt),
    )


def track(
    spots: Sequence[Sequence[Spot]], changes: Sequence[Sequence[Change]]
) -> tuple[Track, ...]:
    """Follow each lesion over all scans.

    A lesion of the first scan is followed by its partners. What the first scan has no partner for
    is followed from the scan on which it appears, by its place.

    Args:
        spots: Lesions of each scan, in the world of the first.
        changes: Those of each later scan against the first.
    """
    tracks = [{0: spot.id} for spot in spots[0]]
    of_first = {spot.id: one for spot, one in zip(spots[0], tracks, strict=True)}
    born: list[tuple[Spot, dict[int, int]]] = []
    for number, (here, against_first) in enumerate(zip(spots[1:], changes, strict=True), start=1):
        taken = set()
        for change in against_first:
            if change.before and change.after:
                of_first[change.before[0]][number] = change.after[0]
                taken.add(change.after[0])
        free = [spot for spot in here if spot.id not in taken]
        partners = {after: before for before, after in match([spot for spot, _ in born], free)}
        for n, spot in enumerate(free):
            if n in partners:
                own = born[partners[n]][1]
                born[partners[n]] = (spot, own)
            else:
                own = {}
                tracks.append(own)
                born.append((spot, own))
            own[number] = spot.id
    return tuple(
        Track(number=n, lesions=tuple(own.get(time) for time in range(len(spots))))
        for n, own in enumerate(tracks, start=1)
    )


def _time_point(answer: Answer, found: RigidMap | None) -> TimePoint:
    quality = answer.quality
    return TimePoint(
        file=answer.name,
        input_sha256=answer.record.sha256,
        lesions=len(answer.found.lesions),
        protocol=protocol_of(answer),
        warnings=tuple(one.message for one in quality.findings if one.severity != "info"),
        registration=None if found is None else _registration(found),
    )


def _registration(found: RigidMap) -> Registration:
    return Registration(
        to_first=found.matrix,
        overlap=found.alignment.overlap,
        explained=found.alignment.explained,
        edge_mm=found.edge_mm,
        turn_deg=found.turn_deg,
    )


def protocol_of(answer: Answer) -> Protocol:
    """Return how a scan was made, as far as its headers say."""
    z, y, x = sorted(answer.volume.spacing_mm)
    source = answer.record.dicom
    if source is None:
        return Protocol((z, y, x))
    header = source.attributes
    names = [header.get(keyword) for keyword in ("ScanningSequence", "SequenceName")]
    sequence = " ".join(_joined(name) for name in names if name)
    return Protocol((z, y, x), source.field_t, source.echo_ms, sequence)


def _joined(value: Any) -> str:
    """A value of a header, which may be several."""
    return value if isinstance(value, str) else "\\".join(map(str, value))


def _follow_up(number: int, views: Sequence[View], *, same_protocol: bool) -> FollowUp:
    first, later = views[0], views[number]
    before, after = protocol_of(first.answer), protocol_of(later.answer)
    comparable = sizes_comparable(before, after)
    changes = compare_lesions(
        first.spots(),
        later.spots(),
        look_before=looking(first, later),
        look_after=looking(later, first),
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
            baseline=len(first.answer.found.lesions),
            refused="" if same_protocol else why_not_comparable(before, after),
        ),
    )
