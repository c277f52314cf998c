"""Review folders of several readers as the cases of a reader study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from cmbnet.errors import InputRefused, UnreadableFile
from cmbnet.evaluation.cohort.images import find_images
from cmbnet.evaluation.cohort.load import read_labels_file
from cmbnet.evaluation.readers.arms import Arms, compare_arms
from cmbnet.evaluation.readers.sites import ReadCase, find_sites
from cmbnet.evaluation.readers.times import Reading
from cmbnet.report.write import LESIONS
from cmbnet.review.cohort import Cohort, ReviewCase, open_cohort
from cmbnet.review.outputs import ALONE, IGNORE, VERDICTS, read_review
from cmbnet.review.verdicts import Arm, CaseReview
from cmbnet.volume import Volume

WITH: Final[Arm] = "with"
WITHOUT: Final[Arm] = "without"


@dataclass(frozen=True, slots=True)
class ReviewStudy:
    """What the readers said. Sites that a reader called uncertain count for nobody."""

    readers: list[str]  # Names of the readers
    cases: list[ReadCase]  # The cases that every reader finished with the model's answer
    # The cases that every reader also finished without it, read without and with it
    without: list[ReadCase]
    with_model: list[ReadCase]
    times: list[Reading]  # Times of the readers
    system_s: float  # Mean time of the model for a case
    left_out: list[str]  # Names of the cases that only a part of the readers finished

    def compared(self) -> Arms | None:
        """Compare reading without and with the model. None if nobody read without it."""
        if not self.without:
            return None
        both = {case.name for case in self.without}
        seconds: dict[tuple[str, str], list[float]] = {("system", "system"): [self.system_s]}
        for one in self.times:
            if one.case in both:
                seconds.setdefault((one.reader, one.arm), []).append(one.seconds)
        means = {who: float(np.mean(values)) for who, values in seconds.items()}
        return compare_arms(self.readers, self.without, self.with_model, means)

    def paired_times(self) -> list[Reading]:
        """Return the times of the readers who read a case in both arms."""
        arms: dict[tuple[str, str], set[str]] = {}
        for one in self.times:
            arms.setdefault((one.reader, one.case), set()).add(one.arm)
        able = {reader for (reader, _), read in arms.items() if len(read) == 2}
        return [one for one in self.times if one.reader in able]


@dataclass(slots=True)
class _Readings:
    """The finished readings of a case: files of marks by reader and arm."""

    marks: dict[tuple[str, Arm], Path] = field(default_factory=dict)
    uncertain: list[Path] = field(default_factory=list)
    made_of: set[tuple[str, str]] = field(default_factory=set)


def read_reviews(
    folder: Path, results: Path | None = None, truth: Path | None = None
) -> ReviewStudy:
    """Read the folders of all readers.

    Args:
        folder: Folder ``reviews`` of ``cmbnet review``: it has a folder for each reader, or those
            of the sessions of a plan.
        results: Folder of the results that were reviewed. The default is that around `folder`.
        truth: Folder of the masks of the reviewed truth.

    Raises:
        UnreadableFile: If there is no review, or one is damaged.
        InputRefused: If readers judged different results, one reading occurs twice, or no case
            was finished by all readers.
    """
    readings, times = _readings(folder)
    cohort = open_cohort(folder.resolve().parent if results is None else results)
    readers = sorted({reader for one in readings.values() for reader, _ in one.marks})
    whole = [case for case, one in sorted(readings.items()) if _has(one, readers, WITH)]
    if not whole:
        raise InputRefused(
            f"a case that {', '.join(readers)} have finished with the model's answer is required "
            f"in {folder}, got none"
        )
    known = {case.name: case for case in cohort.cases}
    true = None if truth is None else find_images(truth)
    arms = {name: _sites(name, readings[name], known.get(name), readers, true) for name in whole}
    both = [name for name in whole if _has(readings[name], readers, WITHOUT)]
    return ReviewStudy(
        readers=readers,
        cases=[arms[name][0] for name in whole],
        without=[arms[name][1] for name in both],
        with_model=[arms[name][0] for name in both],
        times=times,
        system_s=_system_s(cohort, both or whole),
        left_out=sorted(readings.keys() - set(whole)),
    )


def _readings(folder: Path) -> tuple[dict[str, _Readings], list[Reading]]:
    files = sorted([*folder.glob(f"*/{VERDICTS}"), *folder.glob(f"session-[12]/*/{VERDICTS}")])
    if not files:
        raise UnreadableFile(
            f"a {VERDICTS} of `cmbnet review` is required in the folders of {folder}, got none"
        )
    readings: dict[str, _Readings] = {}
    times: list[Reading] = []
    for file in files:
        review = read_review(file.parent)
        for case in review.cases:
            _add(readings.setdefault(case.case, _Readings()), review.reader, case, file.parent)
            seconds = {WITHOUT: case.seconds_without, WITH: case.seconds_with}
            times += [Reading(review.reader, case.case, arm, seconds[arm])
                      for arm in case.arms if seconds[arm] > 0]  # fmt: skip
    return readings, times


def _add(one: _Readings, reader: str, case: CaseReview, folder: Path) -> None:
    place = folder / case.case
    last = case.arms[-1]
    marks = {arm: place / (LESIONS if arm == last else ALONE) for arm in case.arms}
    for arm, path in marks.items():
        if (reader, arm) in one.marks:
            raise InputRefused(f"{reader} has read case {case.case} twice {arm} the model's answer")
        one.marks[reader, arm] = path
    one.uncertain += [place / IGNORE] if (place / IGNORE).is_file() else []
    one.made_of.add((case.input_sha256, case.bundle_sha256))


def _has(one: _Readings, readers: Sequence[str], arm: Arm) -> bool:
    return all((reader, arm) in one.marks for reader in readers)


def _sites(
    name: str,
    one: _Readings,
    case: ReviewCase | None,
    readers: Sequence[str],
    truth: dict[str, Path] | None,
) -> tuple[ReadCase, ReadCase]:
    """Return a case as it was read with, and as far as known without, the model's answer."""
    if case is None or case.result is None:
        raise InputRefused(
            f"the result of case {name} is required: {'not there' if case is None else case.fault}"
        )
    request = case.result.request
    if one.made_of != {(request.input_sha256, request.bundle_sha256)}:
        raise InputRefused(f"the readers of case {name} have judged another result than this one")
    if truth is not None and name not in truth:
        raise InputRefused(f"a mask of the truth is required for case {name}, got none")
    system = read_labels_file(case.folder / LESIONS)
    marks = {f"{arm} {reader}": read_labels_file(path)
             for (reader, arm), path in one.marks.items() if reader in readers}  # fmt: skip
    found = find_sites(
        name,
        system,
        marks,
        None if truth is None else read_labels_file(truth[name]),
        _uncertain(system, one.uncertain),
    )
    column = {who: n for n, who in enumerate(sorted(marks))}
    return (
        _arm(found, [column[f"{WITH} {reader}"] for reader in readers]),
        _arm(found, [column[f"{WITHOUT} {reader}"] for reader in readers
                     if f"{WITHOUT} {reader}" in column]),
    )  # fmt: skip


def _arm(case: ReadCase, columns: Sequence[int]) -> ReadCase:
    """Return the marks of one arm, without the sites that are only of the other."""
    marks = case.readers[:, columns]
    keep = case.system | marks.any(axis=1)
    if case.truth is not None:
        keep |= case.truth
    truth = None if case.truth is None else case.truth[keep]
    return replace(case, system=case.system[keep], readers=marks[keep], truth=truth)


def _uncertain(grid: Volume, files: Sequence[Path]) -> Volume | None:
    if not files:
        return None
    masks = [read_labels_file(path).data != 0 for path in files]
    return grid.with_data(np.any(masks, axis=0))


def _system_s(cohort: Cohort, names: Sequence[str]) -> float:
    seconds = [sum(case.result.timings_s.values()) for case in cohort.cases
               if case.result is not None and case.name in names]  # fmt: skip
    return float(np.mean(seconds)) if seconds else float("nan")
