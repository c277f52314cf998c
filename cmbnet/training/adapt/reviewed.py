"""The folders of `cmbnet review` as labelled scans: what readers corrected is the truth."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cmbnet.errors import InputRefused, UnreadableFile, UsageError
from cmbnet.io import write_nifti
from cmbnet.io.case import Case
from cmbnet.io.scan import nifti_stem
from cmbnet.report.write import LESIONS
from cmbnet.review import Cohort, open_cohort
from cmbnet.review.cohort import OpenCase, ReviewCase
from cmbnet.review.outputs import IGNORE, VERDICTS, read_review
from cmbnet.review.verdicts import CaseReview
from cmbnet.training.data.consensus import Consensus, agreed
from cmbnet.training.data.specs.labels import read_label_image

_NAME = re.compile(r"\w[\w.-]*")
"""Names that `cmbnet predict` gives to cases."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A case that a reader has finished.

    Args:
        reader: Name of the reader.
        folder: Folder of the reader's masks of the case.
        review: What the reader said.
    """

    reader: str
    folder: Path
    review: CaseReview


@dataclass(frozen=True, slots=True)
class ReviewedCase:
    """A case, the review's cohort that knows its scan, and its readings by one or more readers."""

    case: ReviewCase
    cohort: Cohort
    readings: tuple[Reading, ...]

    @property
    def name(self) -> str:
        """Name of the case."""
        return self.case.name


def read_reviewed(
    folders: Sequence[Path], scans: Sequence[Case] = (), *, results: Path | None = None
) -> tuple[ReviewedCase, ...]:
    """Find the finished cases of readers.

    Args:
        folders: Folders of readers, folders that hold them, or folders of results with ``reviews``.
        scans: The scans. Without them they are looked for beside the results.
        results: Folder of the results. None takes the one that holds the reviews.

    Raises:
        UnreadableFile: If a folder holds no review, or a file is damaged.
        InputRefused: If no case is finished, or readings and results contradict each other.
        UsageError: If a reader is given twice.
    """
    cohorts: dict[Path, Cohort] = {}
    found: dict[str, tuple[ReviewCase, Cohort, list[Reading]]] = {}
    for reader, place in (one for folder in folders for one in _readers(folder)):
        root = results or place
        cohort = cohorts.setdefault(root.resolve(), open_cohort(root, scans))
        for reading in _readings(reader):
            case = _case_of(reading, cohort, root)
            known, _, readings = found.setdefault(case.name, (case, cohort, []))
            _refuse_twice(reading, readings)
            if known.folder.resolve() != case.folder.resolve():
                raise InputRefused(
                    f"a case has one result, got two of {case.name}: {known.folder} and "
                    f"{case.folder}; rename one"
                )
            readings.append(reading)
    if not found:
        raise InputRefused(
            f"a finished case is required in {', '.join(map(str, folders))}, got none; finish "
            "cases on the page of `cmbnet review` first"
        )
    cases = tuple(ReviewedCase(a, b, tuple(c)) for _, (a, b, c) in sorted(found.items()))
    _require_different_scans(cases)
    return cases


def _readers(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the folder of each reader, and the folder of the results above it."""
    if (folder / VERDICTS).is_file():
        yield folder, folder.resolve().parents[1]
        return
    for place in (folder, folder / "reviews"):
        readers = sorted(file.parent for file in place.glob(f"*/{VERDICTS}"))
        if readers:
            yield from ((reader, place.resolve().parent) for reader in readers)
            return
    raise UnreadableFile(
        f"a {VERDICTS} of `cmbnet review` is required in {folder} or its folders, got none"
    )


def _readings(reader: Path) -> Iterator[Reading]:
    review = read_review(reader)
    for case in review.cases:
        if not _NAME.fullmatch(case.case):
            raise InputRefused(
                "a case needs a name of letters, digits, dots and hyphens, got "
                f"{case.case!r} in {reader / VERDICTS}; rename its result and review it again"
            )
        yield Reading(review.reader, reader / case.case, case)


def _case_of(reading: Reading, cohort: Cohort, results: Path) -> ReviewCase:
    """Return the result that a reader has judged."""
    name = reading.review.case
    case = next((one for one in cohort.cases if one.name == name), None)
    if case is None:
        raise InputRefused(
            f"case {name} of the reader {reading.reader} has no result in {results}; name the "
            "folder of the results",
            argument="results",
        )
    if case.result is None:
        raise InputRefused(case.fault)
    asked = case.result.request
    for what, mine, theirs in (
        ("scan", reading.review.input_sha256, asked.input_sha256),
        ("model", reading.review.bundle_sha256, asked.bundle_sha256),
    ):
        if mine != theirs:
            raise InputRefused(
                f"{reading.reader} reviewed case {name} of another {what} (SHA-256 {mine[:12]}) "
                f"than that of the result in {case.folder} ({theirs[:12]}); restore the result "
                "or review the case again"
            )
    return case


def _refuse_twice(reading: Reading, others: Sequence[Reading]) -> None:
    """Refuse a reader who comes twice."""
    for other in others:
        if other.reader == reading.reader:
            raise UsageError(
                f"each reader is given once, got {reading.reader} twice: {other.folder.parent} "
                f"and {reading.folder.parent}",
                argument="reviewed",
            )


def _require_different_scans(cases: Sequence[ReviewedCase]) -> None:
    """Refuse one scan under two names: it could be learned from and judged by."""
    first: dict[str, str] = {}
    for one in cases:
        other = first.setdefault(one.readings[0].review.input_sha256, one.name)
        if other != one.name:
            raise InputRefused(f"each scan is one case, got {other} and {one.name} of one scan")


def write_reviewed(
    cases: Sequence[ReviewedCase],
    folder: Path,
    *,
    how: Consensus,
    report: Callable[[str], None],
) -> dict[str, int]:
    """Write reviewed cases as a cohort folder: images, lesions, ignore and mimics.

    Uncertain lesions, and voxels that half of the readers marked, are ignored. What all readers of
    a case rejected is a mimic.

    Returns:
        Name of each case and its number of lesions.

    Raises:
        InputRefused: If a scan is missing or has changed, or a label does not fit it.
        UnreadableFile: If a file is missing or damaged.
    """
    for kind in ("images", "lesions", "ignore", "mimics"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    counts = {}
    for one in cases:
        opened = one.cohort.open(one.case)
        scan, names = opened.volume, [reading.reader for reading in one.readings]
        labels = [read_label_image(each.folder / LESIONS, scan) for each in one.readings]
        truth, disputed = agreed(labels, how)
        for each in one.readings:
            if (each.folder / IGNORE).is_file():
                disputed |= read_label_image(each.folder / IGNORE, scan) > 0
        mimics = _rejected(one.readings, opened.outlines, scan.shape)
        counts[one.name] = len(np.unique(truth[truth > 0]))
        if len(names) > 1:
            report(f"{one.name}: {counts[one.name]} lesions by {how} of {', '.join(names)}")
        for kind, data in (
            ("lesions", truth),
            ("ignore", disputed & (truth == 0)),
            ("mimics", np.where(truth > 0, 0, mimics)),
        ):
            file = folder / kind / f"{one.name}.nii.gz"
            write_nifti(scan.with_data(data.astype(np.uint16)), file, dtype=np.uint16)
        _write_scan(one, opened, folder / "images")
    return counts


def _rejected(
    readings: Sequence[Reading], outlines: dict[int, NDArray[np.int64]], shape: tuple[int, ...]
) -> NDArray[np.int32]:
    """Label the lesions of the model that every reader rejected."""
    rejected = [
        {one.label for one in each.review.verdicts if one.judgement == "reject"}
        for each in readings
    ]
    mimics = np.zeros(shape, np.int32)
    for label in set.intersection(*rejected) & outlines.keys():
        mimics.reshape(-1)[outlines[label]] = label
    return mimics


def _write_scan(one: ReviewedCase, opened: OpenCase, images: Path) -> None:
    """Copy a NIfTI file byte by byte, so that its hash stays, or write the scan that was read."""
    source = one.cohort.scan_of(one.name, opened.result)
    if nifti_stem(source.name) is not None and opened.result.request.frame is None:
        suffix = ".nii.gz" if source.name.lower().endswith(".gz") else ".nii"
        shutil.copyfile(source, images / f"{one.name}{suffix}")
    else:
        write_nifti(opened.volume, images / f"{one.name}.nii.gz", dtype=np.float32)
