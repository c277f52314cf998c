"""Parts of a cohort: lesion metrics of each, and agreement of the counts of regional groups.

Parts are made by size, region, group of regions, slice thickness, field and band of counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from cmbnet.evaluation.match.case import THICKNESSES
from cmbnet.evaluation.match.score import ScoredCase, ScoredLesion
from cmbnet.evaluation.stats.columns import counted_predicted, counted_truth, group_by_patient
from cmbnet.evaluation.stats.counts import (
    BANDS,
    BlandAltman,
    Icc,
    band,
    bland_altman,
    intraclass_correlation,
)
from cmbnet.evaluation.stats.intervals import Interval, wilson
from cmbnet.evaluation.stats.ratios import f1_score, ratio
from cmbnet.lesions import SIZES
from cmbnet.regions.places import group_of, scale_name

GROUPS = ("lobar", "deep", "infratentorial")


@dataclass(frozen=True, slots=True)
class Stratum:
    """The lesion metrics of one part of a cohort."""

    kind: str  # The property by which the cohort was divided
    name: str  # Name of the part
    scans: int  # Number of scans in the part. A part of lesions has all scans.
    found: int  # True lesions found
    missed: int  # True lesions missed
    correct: int  # Predicted lesions that are correct
    false: int  # Predicted lesions that are false
    recall: float  # found / (found + missed)
    recall_interval: Interval  # Wilson's interval. It takes lesions as independent.
    precision: float  # correct / (correct + false)
    precision_interval: Interval  # Wilson's interval. It takes lesions as independent.
    f1: float  # Harmonic mean of the two
    fp_per_scan: float  # false / scans. NaN if it is unknown to which part a false lesion belongs.


def stratify(cases: Sequence[ScoredCase]) -> list[Stratum]:
    """Divide a cohort into all its strata.

    Lesions fall into a stratum by their own property. Recall counts true lesions of that size or
    region, and precision counts predicted lesions of it. Scans fall into strata by their
    properties, and patients by the number of their true lesions.
    """
    strata = [_of_size(name, cases) for name in SIZES]
    strata = [one for one in strata if one.found + one.missed + one.correct + one.false]
    strata += [*_places("region", cases), *_places("group", cases)]
    kinds = sorted({kind for case in cases for kind in case.strata})
    for kind in kinds:
        values = sorted({case.strata.get(kind, "") for case in cases}, key=_rank)
        strata += [
            _of_scans(kind, v, [c for c in cases if c.strata.get(kind, "") == v]) for v in values
        ]
    groups = group_by_patient(cases)
    bands = {name: band(len(counted_truth(scans))) for name, scans in groups.items()}
    for index, name in enumerate(BANDS):
        members = [case for case in cases if bands[case.patient] == index]
        if members:
            strata.append(_of_scans("true lesions per patient", name, members))
    return strata


def _rank(value: str) -> tuple[float, str]:
    """Sort classes of slice distance in their order, numbers by size, and then words.

    Examples:
        >>> sorted(["united", "10", "9.4", "2.5-4 mm", "below 1.5 mm", ""], key=_rank)
        ['below 1.5 mm', '2.5-4 mm', '9.4', '10', '', 'united']
    """
    if value in THICKNESSES:
        return THICKNESSES.index(value) - len(THICKNESSES), value
    try:
        return float(value), value
    except ValueError:
        return float("inf"), value


def _place(kind: Literal["region", "group"], lesion: ScoredLesion) -> str:
    if kind == "region" or not lesion.region:
        return lesion.region
    group = group_of(scale_name(lesion.region))
    return "" if group == "unknown" else group


def _places(kind: Literal["region", "group"], cases: Sequence[ScoredCase]) -> list[Stratum]:
    """Divide by place. If only the places of true lesions are known, precision is undefined."""
    lesions = (*counted_truth(cases), *counted_predicted(cases))
    names = sorted({_place(kind, lesion) for lesion in lesions} - {""})
    strata = [
        _stratum(kind, name, len(cases), [one for one in lesions if _place(kind, one) == name])
        for name in names
    ]
    if _knows_places(cases):
        return strata
    return [replace(one, fp_per_scan=float("nan"), f1=float("nan")) for one in strata]


def _knows_places(cases: Sequence[ScoredCase]) -> bool:
    return any(lesion.region for lesion in counted_predicted(cases))


@dataclass(frozen=True, slots=True)
class GroupAgreement:
    """The agreement of the number of lesions per patient in one group of regions."""

    group: str  # lobar, deep or infratentorial
    icc: Icc  # Intraclass correlation of predicted and true counts
    bland_altman: BlandAltman  # Differences of the counts


def agreement_by_group(cases: Sequence[ScoredCase]) -> tuple[GroupAgreement, ...]:
    """Compare counts of each group, patient by patient. Empty if places are not known."""
    if not _knows_places(cases):
        return ()
    patients = group_by_patient(cases).values()
    agreements = []
    for name in GROUPS:
        true, predicted = (
            np.array([sum(_place("group", x) == name for x in counted(p)) for p in patients], float)
            for counted in (counted_truth, counted_predicted)
        )
        icc = intraclass_correlation(np.stack([true, predicted], axis=1))
        agreements.append(GroupAgreement(name, icc, bland_altman(true, predicted)))
    return tuple(agreements)


def _of_scans(kind: str, name: str, cases: Sequence[ScoredCase]) -> Stratum:
    lesions = (*counted_truth(cases), *counted_predicted(cases))
    return _stratum(kind, name or "unknown", len(cases), lesions)


def _of_size(name: str, cases: Sequence[ScoredCase]) -> Stratum:
    every = (*counted_truth(cases), *counted_predicted(cases))
    return _stratum("size", name, len(cases), [one for one in every if one.size == name])


def _stratum(kind: str, name: str, scans: int, lesions: Sequence[ScoredLesion]) -> Stratum:
    counts = {
        verdict: sum(lesion.verdict == verdict for lesion in lesions)
        for verdict in ("found", "missed", "correct", "false")
    }
    n_true, n_predicted = counts["found"] + counts["missed"], counts["correct"] + counts["false"]
    recall = float(ratio(counts["found"], n_true))
    precision = float(ratio(counts["correct"], n_predicted))
    return Stratum(
        kind=kind,
        name=name,
        scans=scans,
        **counts,
        recall=recall,
        recall_interval=wilson(counts["found"], n_true),
        precision=precision,
        precision_interval=wilson(counts["correct"], n_predicted),
        f1=float(f1_score(precision, recall)),
        fp_per_scan=float(ratio(counts["false"], scans)),
    )
