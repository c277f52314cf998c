"""Choose thresholds on a labelled cohort by running the real pipeline over it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cmbnet.bundle import OperatingPoint
from cmbnet.errors import InputRefused
from cmbnet.lesions import LesionRules
from cmbnet.training.choose.candidates import CohortCandidates, OutlineRule
from cmbnet.training.choose.rates import Rates, ScoredScans
from cmbnet.training.choose.score_model import FEWEST, learn_score

OUTLINES = (*map(OutlineRule, (0.1, 0.2, 0.3, 0.5, 0.7)), OutlineRule(0.1, 0.5))
"""The last one finds faint lesions and outlines each at half of its own peak, or lower."""

MAX_CONTINUATIONS_MM = (None, 1.5, 3.0, 5.0)

STEPS = 100
"""Number of lesion scores that are tried. A cohort can hold thousands."""

BALANCED_FALSE_PER_CONTROL = 0.2
"""Largest number of false lesions per control at the balanced point. The patient threshold, which
may be higher than the lesion score, decides whether a scan is positive."""

F1_TOLERANCE = 0.005
"""A lesion F1 this near to the best counts as equal. Fewer missed patients then decide."""

DICE_TOLERANCE = 0.02
"""A Dice this near to the best counts as equal. The number of lesions then decides."""

PATIENT_FPR = 0.08
"""Largest share of controls called positive, if a threshold can keep it. Fan et al. 2022 had .106.
If the true rate is .08, one of five samples of 90 controls shows more than .1."""

SENSITIVE_RECALL_LOSS = 0.0025
"""Largest loss of sensitivity at the sensitive point, from the highest one."""

SENSITIVE_FALSE_POSITIVES = 2.0
"""Largest number of false lesions per scan at the sensitive point. Nobody reads more."""

SCREENING_PATIENT_FPR = 0.05

ENOUGH = 100
"""Fewer true lesions change neither score nor thresholds of a start. On the reviewed scans of a
made-up site, thresholds that 5 to 15 scans chose were worse than those of the start on others."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One pair of thresholds that was tried, and the rates that it reached."""

    scored: ScoredScans
    lesion_score: float
    rates: Rates

    @property
    def rules(self) -> LesionRules:
        """Return the lesion rules with the pixel threshold."""
        return self.scored.rules


@dataclass(frozen=True, slots=True)
class Chosen:
    """The operating points of a bundle, and the lesion rules that all of them share."""

    rules: LesionRules
    points: tuple[OperatingPoint, ...]
    report: tuple[str, ...]


def rule_variants(base: LesionRules) -> tuple[LesionRules, ...]:
    """Return the rules to try if there are too few candidates to learn a score from."""
    return tuple(replace(base, max_continuation_mm=limit) for limit in MAX_CONTINUATIONS_MM)


def choose_operating_points(
    candidates: CohortCandidates,
    *,
    cohort: str,
    variants: Iterable[LesionRules],
    learn: bool = False,
    score_candidates: CohortCandidates | None = None,
    start: Sequence[OperatingPoint] = (),
) -> Chosen:
    """Choose ``balanced``, ``sensitive`` and ``screening``.

    Args:
        candidates: Candidates of a cohort, from `find_candidates`.
        cohort: Name of the cohort in the manifest.
        variants: Lesion rules to choose from. A single one stays as it is.
        learn: Whether to learn the score if there are enough candidates. The rates are then those
            of scores that had not seen the scan, and the first of `variants` gives the other rules.
        score_candidates: Candidates of other scans, from which the score is learned instead. Only
            their outline rules are tried then.
        start: Operating points of the bundle from which the network started. The score of
            `variants` then competes with the one that is learned now, and stays if there are too
            few candidates to learn from. With fewer than `ENOUGH` true lesions, all points stay as
            they are, unless they find nothing.

    Returns:
        ``balanced`` has the best lesion F1 with at most `BALANCED_FALSE_PER_CONTROL` false lesions
        in a control, and of nearly the best the one that misses the fewest patients and counts
        lesions most rightly; ``sensitive`` the best precision near the highest sensitivity that
        `SENSITIVE_FALSE_POSITIVES` allow; ``screening`` the fewest missed patients with at most
        `SCREENING_PATIENT_FPR`. The lesion rules are those of ``balanced`` for all. Where no
        candidate keeps a limit, the lowest rate of false alarms decides.

    Raises:
        InputRefused: If no scan of the cohort holds a lesion, or `score_candidates` are too few.
    """
    if not lesions_of(candidates):
        raise InputRefused("operating points need scans with lesions, the cohort holds none")
    variants = tuple(variants)
    if start and (kept := _of_start(candidates, variants[0], start, cohort)) is not None:
        return kept
    trials = _with_learned_scores(candidates, score_candidates, variants[0]) if learn else []
    learned = bool(trials)
    if score_candidates and learn and not learned and not start:
        raise InputRefused(
            f"a score is learned from {FEWEST} microbleeds and {FEWEST} false candidates at least; "
            "give more scans to learn from, or none",
            argument="score_from",
        )
    if start or not learned:
        for rules, outline in itertools.product(variants, candidates):
            trials += sweep(ScoredScans(candidates[outline], _at(rules, outline)))
    if not any(c.rates.f1 for c in trials):
        # An untrained network: only the strictest threshold keeps its noise apart.
        strictest = max(c.rules.pixel_threshold for c in trials)
        trials = [c for c in trials if c.rules.pixel_threshold == strictest]
    balanced = _best_f1(trials)
    shared = _without_thresholds(balanced.rules)
    same = [c for c in trials if _without_thresholds(c.rules) == shared]
    sensitive = _most_found(same)
    points = (
        _point("balanced", balanced, _patient_threshold(balanced), cohort),
        _point("sensitive", sensitive, _patient_threshold(sensitive), cohort),
        _point("screening", *_screening(same), cohort),
    )
    if start and shared.evidence == variants[0].evidence:
        few = f"{FEWEST} microbleeds and {FEWEST} false candidates are needed for a new one"
        why = "a new one was no better" if learned else few
        return Chosen(shared, points, (f"score: that of the start is kept, {why}",))
    return Chosen(shared, points, tuple(_effect_of_rules(trials, shared)))


def lesions_of(candidates: CohortCandidates) -> int:
    """Count the true lesions of the scans."""
    return sum(len(scan.overlap.truth_voxels) for scan in next(iter(candidates.values()), ()))


def _of_start(
    candidates: CohortCandidates, rules: LesionRules, start: Sequence[OperatingPoint], cohort: str
) -> Chosen | None:
    """Keep the points of a start, measured here. None if there are enough lesions to choose anew.

    None is also returned if candidates are not outlined as the start does, or it finds none.
    """
    count, points = lesions_of(candidates), []
    if count >= ENOUGH:
        return None
    for old in start:
        outline = OutlineRule(old.pixel_threshold, rules.outline_share)
        if outline not in candidates:
            return None
        scored = ScoredScans(candidates[outline], _at(rules, outline))
        if not scored.rates(old.lesion_score).found:
            return None
        measured = scored.measured(old.lesion_score, old.patient_threshold, cohort)
        points.append(old.model_copy(update={"measured": measured}))
    line = (
        f"score and thresholds: those of the start are kept, {ENOUGH} microbleeds are needed to "
        f"choose new ones, {count} are here"
    )
    return Chosen(_without_thresholds(rules), tuple(points), (line,))


def _with_learned_scores(
    candidates: CohortCandidates, score_candidates: CohortCandidates | None, base: LesionRules
) -> list[Trial]:
    """Try scores learned at each pixel threshold, on scans that they have not seen."""
    trials: list[Trial] = []
    for outline in candidates if score_candidates is None else score_candidates:
        scans = candidates[outline]
        learned = learn_score(scans, () if score_candidates is None else score_candidates[outline])
        if learned is not None:
            rules = replace(_at(base, outline), evidence=learned.evidence)
            trials += sweep(ScoredScans(scans, rules, learned.held_out))
    return trials


def _at(rules: LesionRules, outline: OutlineRule) -> LesionRules:
    """Return the rules under an outline rule, without a score threshold."""
    return replace(outline.of(rules), min_score=0.0)


def _without_thresholds(rules: LesionRules) -> LesionRules:
    """Return the rules that all operating points of a bundle share, without thresholds."""
    return replace(rules, pixel_threshold=LesionRules().pixel_threshold, min_score=0.0)


def sweep(scored: ScoredScans) -> list[Trial]:
    """Compute the rates at every lesion score that matters, at most `STEPS` of them."""
    # Rounded down: a threshold must not remove the lesion that it was taken from.
    values = sorted({0.0, *(math.floor(1000 * score) / 1000 for score in scored.scores.tolist())})
    picked = np.linspace(0, len(values) - 1, min(len(values), STEPS)).astype(int)
    scores = [values[index] for index in sorted(set(picked.tolist()))]
    return [Trial(scored, score, scored.rates(score)) for score in scores]


def _best_f1(trials: Sequence[Trial]) -> Trial:
    """Choose the best lesion F1 within the limit of false lesions in controls.

    Of nearly equal ones those that miss the fewest patients, then those of nearly the best
    outlines, then those whose outline rule finds most at other scores, then the one that counts
    most nearly as many lesions as there are.
    """
    allowed = [c for c in trials if c.rates.false_per_control <= BALANCED_FALSE_PER_CONTROL]
    allowed = allowed or list(trials)
    best = max(c.rates.f1 for c in allowed)
    near = [c for c in allowed if c.rates.f1 >= best - F1_TOLERANCE]
    fewest = min(c.rates.missed for c in near)
    near = [c for c in near if c.rates.missed == fewest]
    outlined = max(c.rates.dice for c in near)
    near = [c for c in near if c.rates.dice >= outlined - DICE_TOLERANCE]
    reach = [c.scored.rates(0.0).found for c in near]
    furthest = max(reach)
    near = [c for c, found in zip(near, reach, strict=True) if found == furthest]
    return min(near, key=lambda c: (abs(c.rates.surplus), -c.rates.f1, -c.lesion_score))


def _most_found(trials: Sequence[Trial]) -> Trial:
    """Choose the best precision near the highest sensitivity, within the limit of false lesions."""
    readable = [c for c in trials if c.rates.false_positives_per_scan <= SENSITIVE_FALSE_POSITIVES]
    readable = readable or [min(trials, key=lambda c: c.rates.false_positives_per_scan)]
    highest = max(c.rates.sensitivity for c in readable)
    near = [c for c in readable if c.rates.sensitivity >= highest - SENSITIVE_RECALL_LOSS]
    return max(near, key=lambda c: (c.rates.precision, c.rates.sensitivity))


def _patient_threshold(trial: Trial) -> float:
    """Choose the score that misses fewest patients within `PATIENT_FPR`.

    Of equal ones, it takes those with the fewest alarmed controls, and of these the middle one.
    Scans are judged by their best lesion, and lesions below the lesion score are dropped.
    """
    scored, lowest = trial.scored, trial.lesion_score
    tried = [c.lesion_score for c in sweep(scored) if c.lesion_score >= lowest]
    rates = {score: scored.rates(lowest, score) for score in tried}
    limit = max(PATIENT_FPR, min(own.patient_fpr for own in rates.values()))
    wrong = {s: (own.missed, own.alarms) for s, own in rates.items() if own.patient_fpr <= limit}
    fewest = min(wrong.values())
    best = [score for score, counts in wrong.items() if counts == fewest]
    return best[len(best) // 2]


def _screening(trials: Sequence[Trial]) -> tuple[Trial, float]:
    """Choose the fewest missed patients within the limit of false alarms.

    The patient threshold alone keeps the limit. The lesion score below it has the best lesion F1.

    Returns:
        The trial, and the patient threshold.
    """
    limit = max(SCREENING_PATIENT_FPR, min(c.rates.patient_fpr for c in trials))
    allowed = [c for c in trials if c.rates.patient_fpr <= limit]
    fewest = min(c.rates.patient_fnr for c in allowed)
    choices = []
    for patient in (c for c in allowed if c.rates.patient_fnr == fewest):
        below = [
            c
            for c in trials
            if c.scored is patient.scored and c.lesion_score <= patient.lesion_score
        ]
        choices.append((max(below, key=lambda c: c.rates.f1), patient.lesion_score))
    return max(choices, key=lambda choice: (choice[0].rates.f1, choice[1]))


def _point(name: str, trial: Trial, patient: float, cohort: str) -> OperatingPoint:
    """Make the operating point of a manifest."""
    return OperatingPoint(
        name=name,
        pixel_threshold=trial.rules.pixel_threshold,
        lesion_score=trial.lesion_score,
        patient_threshold=patient,
        measured=trial.scored.measured(trial.lesion_score, patient, cohort),
    )


def _effect_of_rules(trials: Sequence[Trial], chosen: LesionRules) -> Iterable[str]:
    """Describe the learned score, or what each limit of the vein rule would have reached."""
    if chosen.evidence is not None:
        evidence = chosen.evidence
        kind = f"{len(evidence.hidden)} hidden units" if evidence.hidden else "no hidden layer"
        yield f"score: learned from {len(evidence.features)} features, {kind}"
        return
    tried = {c.rules.max_continuation_mm for c in trials}
    for value in sorted(tried, key=lambda v: (v is not None, v)):
        wanted = replace(chosen, max_continuation_mm=value)
        like = [c for c in trials if _without_thresholds(c.rules) == wanted]
        if like:
            best = _best_f1(like)
            yield (
                f"max_continuation_mm {value}: lesion F1 {best.rates.f1:.3f} at pixel threshold "
                f"{best.rules.pixel_threshold:g}, controls with false alarms "
                f"{best.rates.patient_fpr:.3f}, Dice {best.rates.dice:.3f}"
            )
