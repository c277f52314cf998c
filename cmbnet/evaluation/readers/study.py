"""Labels, accuracy and agreement of a reader study, with intervals by case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from cmbnet.errors import InputRefused
from cmbnet.evaluation.readers.sites import ReadCase
from cmbnet.evaluation.stats.bootstrap import draw_weights
from cmbnet.evaluation.stats.counts import band_table
from cmbnet.evaluation.stats.intervals import Interval, percentile
from cmbnet.evaluation.stats.kappa import (
    Kappa,
    cohen_kappa,
    confusion,
    fleiss_kappa,
    kappa_value,
)
from cmbnet.evaluation.stats.ratios import ratio

LABELS = ("correct", "missed", "incorrect")
Marks = Sequence[NDArray[np.bool_]]
"""The marks of one rater at the sites of each case."""


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """Counts of the three labels of one set of marks against another."""

    correct: int  # Marked by both
    missed: int  # Marked by the judge only
    incorrect: int  # Marked by the judged only
    # The three counts as shares of their sum. NaN if there is no label.
    shares: tuple[float, float, float]
    accuracy_interval: Interval  # Interval of the share of correct labels, by case

    @property
    def accuracy(self) -> float:
        """Share of correct labels: correct / (correct + missed + incorrect)."""
        return self.shares[0]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of two raters."""

    # Positive agreement: lesions of both over the mean of the lesions of each. NaN without lesions.
    # It does not need the number of places without a lesion, which is unknown.
    positive: float
    positive_interval: Interval  # Interval of it by case
    presence: Kappa  # Kappa of any lesion against none, over the cases
    bands: Kappa  # Kappa of the band of the count, over the cases, without weights
    bands_linear: Kappa  # The same kappa with linear weights
    bands_quadratic: Kappa  # The same kappa with quadratic weights
    # Kappa of lesion against none over the sites. Two raters agree on none only where a third one
    # sees a lesion, so chance has no meaning here. It is not a headline.
    sites: Kappa
    sites_interval: Interval  # Interval of it by case. The analytic interval is not by case.


@dataclass(frozen=True, slots=True)
class ReaderResult:
    """One reader."""

    name: str  # Name of the reader
    system_by_reader: LabelCounts  # Labels that the reader's revision gives the system
    # Labels that the reviewed truth gives the reader. None without a truth.
    reader_by_truth: LabelCounts | None
    with_system: Agreement  # Agreement of reader and system
    with_truth: Agreement | None  # Agreement of reader and truth. None without a truth.


@dataclass(frozen=True, slots=True)
class Pair:
    """Two readers, and how they agree."""

    first: str
    second: str
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class StudyResult:
    """The results of a reader study."""

    cases: int  # Number of cases
    sites: int  # Number of sites
    readers: tuple[ReaderResult, ...]  # Results of each reader
    # Labels that the reviewed truth gives the system. None without a truth.
    system_by_truth: LabelCounts | None
    pairs: tuple[Pair, ...]  # Agreement between readers
    positive: float  # Positive agreement of all pairs of readers together. NaN with one reader.
    positive_interval: Interval  # Interval of it by case
    fleiss_sites: Kappa  # Agreement of all readers on the sites
    fleiss_presence: Kappa  # Agreement of all readers on any lesion per case
    cochran_p: float  # P that the readers accept the system's lesions equally often (Cochran's Q)


def analyse_study(
    names: Sequence[str], cases: Sequence[ReadCase], *, resamples: int = 10_000, seed: int = 0
) -> StudyResult:
    """Analyse a reader study.

    `names` are in the order of the columns of `ReadCase.readers`. All cases have a truth, or none.

    Raises:
        InputRefused: If there is no case or reader, or the cases do not fit together.
    """
    _require_one_shape(names, cases)
    study = _Study(cases, resamples, seed)
    system = [case.system for case in cases]
    truth = [case.truth for case in cases if case.truth is not None]
    columns = [[case.readers[:, index] for case in cases] for index in range(len(names))]
    marks = np.concatenate([case.readers for case in cases])
    present = np.stack([case.readers.any(axis=0) for case in cases])
    shared = np.stack([between(case.readers) for case in cases])
    return StudyResult(
        cases=len(cases),
        sites=len(marks),
        readers=tuple(
            study.reader(name, column, system, truth)
            for name, column in zip(names, columns, strict=True)
        ),
        system_by_truth=study.labels(judge=truth, judged=system) if truth else None,
        pairs=tuple(
            Pair(names[a], names[b], study.agreement(columns[a], columns[b]))
            for a, b in combinations(range(len(names)), 2)
        ),
        positive=float(positive_of(shared.sum(axis=0))),
        positive_interval=study.interval(shared, positive_of),
        fleiss_sites=_fleiss(marks),
        fleiss_presence=_fleiss(present),
        cochran_p=cochran_q(marks[np.concatenate(system)]),
    )


def positive_of(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute positive agreement from (..., 2) counts: shared marks and all marks.

    References:
        Cicchetti, Feinstein, J Clin Epidemiol 1990, doi:10.1016/0895-4356(90)90159-M.

    Examples:
        >>> float(positive_of(np.array([12.0, 16.0])))  # 6 by both, 2 by each alone
        0.75
    """
    return ratio(counts[..., 0], counts[..., 1])


def between(marks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the counts for `positive_of` over all pairs of the columns of marks."""
    by, others = marks.sum(axis=1).astype(float), marks.shape[1] - 1
    return np.array([np.sum(by * (by - 1)), np.sum(by) * others])


def cochran_q(marks: NDArray[np.bool_]) -> float:
    """Compute P of Cochran's Q test that the columns of a binary table have equal shares.

    P is 1 if no row distinguishes the columns, and NaN with fewer than two columns.

    References:
        Cochran, Biometrika 1950, doi:10.1093/biomet/37.3-4.256.
    """
    k = marks.shape[1]
    if k < 2:
        return float("nan")
    columns, rows = marks.sum(axis=0).astype(float), marks.sum(axis=1).astype(float)
    spread = k * rows.sum() - np.sum(rows**2)
    if spread == 0:
        return 1.0
    q = (k - 1) * (k * np.sum(columns**2) - columns.sum() ** 2) / spread
    return float(chi2.sf(q, k - 1))


class _Study:
    """The resamples of cases. They are drawn once and used for every interval."""

    def __init__(self, cases: Sequence[ReadCase], resamples: int, seed: int) -> None:
        self.weights = np.concatenate(list(draw_weights(len(cases), resamples, seed)))

    def interval(
        self,
        counts: NDArray[np.float64],
        value: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    ) -> Interval:
        """Compute the percentile interval of a function of sums of counts (cases, columns)."""
        return percentile(value(self.weights @ counts))

    def labels(self, *, judge: Marks, judged: Marks) -> LabelCounts:
        counts = np.array(
            [
                [np.sum(a & b), np.sum(a & ~b), np.sum(~a & b)]
                for a, b in zip(judge, judged, strict=True)
            ],
            float,
        )
        total = counts.sum(axis=0)
        shares = ratio(total, total.sum())
        interval = self.interval(counts, lambda sums: ratio(sums[:, 0], sums.sum(axis=1)))
        correct, missed, incorrect = (int(n) for n in total)
        a, b, c = (float(share) for share in shares)
        return LabelCounts(correct, missed, incorrect, (a, b, c), interval)

    def reader(self, name: str, own: Marks, system: Marks, truth: Marks) -> ReaderResult:
        """Analyse one reader. Without a truth, its sequence is empty."""
        return ReaderResult(
            name=name,
            system_by_reader=self.labels(judge=own, judged=system),
            reader_by_truth=self.labels(judge=truth, judged=own) if truth else None,
            with_system=self.agreement(own, system),
            with_truth=self.agreement(own, truth) if truth else None,
        )

    def agreement(self, first: Marks, second: Marks) -> Agreement:
        pairs = list(zip(first, second, strict=True))
        sites = np.stack([confusion(a, b, 2) for a, b in pairs])
        shared = np.stack([between(np.stack([a, b], axis=1)) for a, b in pairs])
        presence = confusion([a.any() for a in first], [b.any() for b in second], 2)
        bands = band_table([a.sum() for a in first], [b.sum() for b in second])
        return Agreement(
            positive=float(positive_of(shared.sum(axis=0))),
            positive_interval=self.interval(shared, positive_of),
            sites=cohen_kappa(sites.sum(axis=0)),
            sites_interval=self.interval(
                sites.reshape(len(sites), 4), lambda sums: kappa_value(sums.reshape(-1, 2, 2))
            ),
            presence=cohen_kappa(presence),
            bands=cohen_kappa(bands),
            bands_linear=cohen_kappa(bands, "linear"),
            bands_quadratic=cohen_kappa(bands, "quadratic"),
        )


def _fleiss(marks: NDArray[np.bool_]) -> Kappa:
    """Compute Fleiss' kappa of yes or no. It needs two readers and a subject."""
    if marks.shape[1] < 2 or not len(marks):
        return cohen_kappa(np.zeros((2, 2)))
    yes = marks.sum(axis=1).astype(float)
    return fleiss_kappa(np.stack([marks.shape[1] - yes, yes], axis=1))


def _require_one_shape(names: Sequence[str], cases: Sequence[ReadCase]) -> None:
    if not cases or not names:
        raise InputRefused("a reader study needs at least one case and one reader")
    if len(set(names)) != len(names):
        raise InputRefused(f"readers must have different names, got {', '.join(names)}")
    if len({case.truth is None for case in cases}) > 1:
        raise InputRefused("either every case of a reader study has a reviewed truth or none has")
    odd = [case.name for case in cases if case.readers.shape[1] != len(names)]
    if odd:
        raise InputRefused(f"case {odd[0]} was not read by all of {', '.join(names)}")
