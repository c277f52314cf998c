"""Two bundles on the same scans: is the new one better, and what did it forget?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cmbnet.backends import Backend, open_backend
from cmbnet.bundle import Bundle
from cmbnet.evaluation import Case, CohortScores, evaluate_cohort
from cmbnet.evaluation.cohort.compare import Difference, compare
from cmbnet.predict import NotAnalysable, predict_volume
from cmbnet.training.choose.candidates import SCORING
from cmbnet.training.data.labelled import read_labelled, read_truth

MOST_FORGOTTEN = 0.02
"""Largest loss of lesion F1 on replayed scans that is no reason to refuse a new model."""

FEW_PATIENTS = 20
SHOWN = {
    "lesion_f1": "F1",
    "lesion_recall": "recall",
    "lesion_precision": "precision",
    "fp_per_scan": "false lesions per scan",
}


@dataclass(frozen=True, slots=True)
class Judgement:
    """The comparison of a new bundle with the old one.

    Args:
        sentences: What a person reads.
        figures: Lesion F1 before and after, on both cohorts.
        worse: Why the new bundle is worse. Empty if it is not.
    """

    sentences: tuple[str, ...]
    figures: dict[str, float]
    worse: str


def judge(
    old: Bundle,
    new: Bundle,
    held_out: Path,
    replayed: Path,
    *,
    backend: str,
    report: Callable[[str], None],
) -> Judgement:
    """Compare two bundles on held-out reviewed scans and on held-out replayed ones.

    Raises:
        InputRefused: If no scan of a cohort is analysable.
    """
    sentences: list[str] = []
    figures: dict[str, float] = {}
    reasons: list[str] = []
    allowed = {"held-out reviewed scans": 0.0, "replayed scans": MOST_FORGOTTEN}
    for (what, loss), cohort in zip(allowed.items(), (held_out, replayed), strict=True):
        before, after = (_scores(one, cohort, backend, report) for one in (old, new))
        differences = {one.name: one for one in compare(after, before).differences}
        f1 = differences["lesion_f1"]
        sentences += [
            f"On {len(after.cases)} {what} of {len(after.columns.patients)} patients with "
            f"{_lesions(after)} lesions: "
            + "; ".join(_change(differences[name], words) for name, words in SHOWN.items()),
            _in_words(f1, what, len(after.columns.patients)),
        ]
        key = cohort.name.replace("-", "_")
        figures |= {f"lesion_f1_{key}_before": _or_0(f1.second),
                    f"lesion_f1_{key}_after": _or_0(f1.first)}  # fmt: skip
        if _or_0(f1.first) < _or_0(f1.second) - loss:
            reasons.append(f"lesion F1 on {what} fell from {f1.second:.3f} to {f1.first:.3f}")
    return Judgement(tuple(sentences), figures, " and ".join(reasons))


def _scores(
    bundle: Bundle, cohort: Path, backend: str, report: Callable[[str], None]
) -> CohortScores:
    engine = open_backend(bundle, backend)
    try:
        return evaluate_cohort(_answers(bundle, cohort, engine, report), SCORING)
    finally:
        engine.close()


def _answers(
    bundle: Bundle, cohort: Path, engine: Backend, report: Callable[[str], None]
) -> Iterator[Case]:
    """Yield the answer for each scan that can be analysed. Both bundles prepare scans alike."""
    for one in read_labelled(cohort).cases:
        image, labels = read_truth(one)
        try:
            found = predict_volume(image, bundle, engine).found
        except NotAnalysable as refusal:
            report(f"left out {one.name}: {refusal}")
            continue
        yield Case(
            name=one.name,
            truth=image.with_data(labels.instances),
            predicted=image.with_data(found.labels),
            ignore=image.with_data(labels.uncertain) if labels.uncertain.any() else None,
            patient=one.patient,
        )


def _lesions(scores: CohortScores) -> int:
    return int(scores.counts["found"] + scores.counts["missed"])


def _or_0(value: float) -> float:
    """Return an F1, or 0 if there was nothing to find and nothing was found wrongly."""
    return 0.0 if math.isnan(value) else value


def _change(one: Difference, words: str) -> str:
    return f"{words} {one.second:.3f} before, {one.first:.3f} after"


def _in_words(f1: Difference, what: str, patients: int) -> str:
    """Say plainly whether the difference of lesion F1 means something."""
    if math.isnan(f1.difference):
        return f"Nothing can be said of {what}: lesion F1 is not defined."
    if f1.interval.low > 0:
        verdict = f"The new model is better on {what}"
    elif f1.interval.high < 0:
        verdict = f"The new model is worse on {what}"
    else:
        verdict = f"No difference can be shown on {what}"
    few = f" {patients} patients are few: read the interval." if patients < FEW_PATIENTS else ""
    return (
        f"{verdict}: lesion F1 changed by {f1.difference:+.3f} (95 % interval by patient "
        f"{f1.interval.low:+.3f} to {f1.interval.high:+.3f}).{few}"
    )
