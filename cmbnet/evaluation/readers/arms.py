"""The system alone, readers alone, and readers with the system, on the same cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cmbnet.errors import InputRefused
from cmbnet.evaluation.readers.sites import ReadCase
from cmbnet.evaluation.readers.study import between, positive_of
from cmbnet.evaluation.stats.mrmc import Mrmc, jackknife_covariance, obuchowski_rockette
from cmbnet.evaluation.stats.ratios import ratio

NAN = float("nan")


@dataclass(frozen=True, slots=True)
class ArmResult:
    """What a reader marked in one arm, or what the system found. Unknown numbers are NaN."""

    reader: str  # Name of the reader, or ``system``
    arm: Literal["without", "with", "system"]  # Reader alone, reader with the system, or the system
    lesions_per_case: float  # Number of lesions / number of cases
    with_system: float  # Positive agreement with the system
    with_truth: float  # Positive agreement with the truth: the F1 score over the lesions
    sensitivity: float  # True lesions marked / true lesions
    false_per_case: float  # Marks that are not in the truth / number of cases
    seconds: float  # Mean time for a case


@dataclass(frozen=True, slots=True)
class Arms:
    """The three ways of reading, compared."""

    cases: int  # Number of cases that every reader read in both arms
    results: tuple[ArmResult, ...]  # The system, then each reader without and with it
    # Positive agreement among the readers without and with the system. NaN with one reader.
    among_readers: tuple[float, float]
    # With minus without the system, of positive agreement with the truth. None without a truth.
    merit: Mrmc | None


def compare_arms(
    names: Sequence[str],
    without: Sequence[ReadCase],
    with_system: Sequence[ReadCase],
    seconds: Mapping[tuple[str, str], float] | None = None,
) -> Arms:
    """Compare readers without and with the system.

    `names` are in the order of the columns of `ReadCase.readers`. Sites of the arms may differ
    where only a reader sees a lesion. `seconds` is the mean time for a case by reader and arm; that
    of the system is of ``("system", "system")``.

    Raises:
        InputRefused: If there is no case, or the arms hold different cases.
    """
    if not without or [case.name for case in without] != [case.name for case in with_system]:
        raise InputRefused("both arms must hold the same cases, and at least one")
    times = seconds or {}

    def result(
        reader: str,
        arm: Literal["without", "with", "system"],
        cases: Sequence[ReadCase],
        column: int | None = None,
    ) -> ArmResult:
        marks = [case.system if column is None else case.readers[:, column] for case in cases]
        system = [(own, case.system) for own, case in zip(marks, cases, strict=True)]
        truth = [(own, case.truth) for own, case in zip(marks, cases, strict=True)
                 if case.truth is not None]  # fmt: skip
        hits = sum(int(np.sum(own & true)) for own, true in truth)
        true_lesions = sum(int(true.sum()) for _, true in truth)
        found = sum(int(own.sum()) for own in marks)
        return ArmResult(
            reader,
            arm,
            found / len(cases),
            float(positive_of(_between(system).sum(axis=0))),
            float(positive_of(_between(truth).sum(axis=0))) if truth else NAN,
            float(ratio(hits, true_lesions)) if truth else NAN,
            (found - hits) / len(cases) if truth else NAN,
            times.get((reader, arm), NAN),
        )

    results = [result("system", "system", without)]
    for column, name in enumerate(names):
        results.append(result(name, "without", without, column))
        results.append(result(name, "with", with_system, column))
    alone, together = (
        float(positive_of(np.sum([between(case.readers) for case in arm], axis=0)))
        for arm in (without, with_system)
    )
    merit = None if without[0].truth is None else _merit(without, with_system, len(names))
    return Arms(len(without), tuple(results), (alone, together), merit)


def _between(
    pairs: Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_]]],
) -> NDArray[np.float64]:
    return np.array([between(np.stack(pair, axis=1)) for pair in pairs])


def _merit(without: Sequence[ReadCase], with_system: Sequence[ReadCase], readers: int) -> Mrmc:
    """Compare the positive agreement with the truth."""
    counts = np.array(
        [
            [
                _between([(one.readers[:, n], one.truth) for one in arm if one.truth is not None])
                for n in range(readers)
            ]
            for arm in (without, with_system)
        ]
    )  # (arms, readers, cases, 2)
    total = counts.sum(axis=2)
    left = positive_of(total[:, :, np.newaxis] - counts)
    return obuchowski_rockette(positive_of(total), jackknife_covariance(np.moveaxis(left, 2, 0)))
