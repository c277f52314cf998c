"""Fitting the score of candidates."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from cmbnet.lesions import Lesion
from cmbnet.lesions.profile import MEASURES
from cmbnet.lesions.score_model import FEATURES, OWN, ScoreModel, features
from cmbnet.training.choose import score_model
from cmbnet.training.choose.candidates import ScanCandidates
from cmbnet.training.choose.score_model import (
    FOLDS,
    MEMBERS,
    NETWORK_FROM,
    PENALTY,
    fit_logistic,
    fit_network,
    learn_score,
)
from tests.helpers.candidate import CANDIDATE, weighing


def drawn(count: int, seed: int) -> list[Lesion]:
    """Candidates of every look."""
    rng = np.random.default_rng(seed)
    return [
        replace(
            CANDIDATE,
            mean_probability=rng.uniform(0.2, 0.9),
            max_probability=rng.uniform(0.3, 0.999),
            volume_mm3=np.exp(rng.normal(3, 1)),
            max_in_plane_diameter_mm=rng.uniform(2, 8),
            continuation_mm=rng.uniform(0, 6),
            elongation=rng.uniform(1, 4),
            border_distance_mm=rng.uniform(0, 10),
            rim_brightness=rng.uniform(0.8, 1.4),
            profile=tuple(rng.uniform(0, 1, len(MEASURES)).tolist()),
        )
        for _ in range(count)
    ]


TRUE = weighing(-4.0, max_logit=1.0, log_volume=1.0, continues=-2.0)


def weights(evidence: ScoreModel) -> dict[str, float]:
    """Of a logistic regression, for features as they are."""
    return {
        name: weight / spread
        for name, weight, spread in zip(
            evidence.features, evidence.output[:-1], evidence.spread, strict=True
        )
    }


def verdicts(lesions: list[Lesion], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array([rng.random() < TRUE.score(lesion) for lesion in lesions])


def test_many_candidates_give_back_the_weights_that_made_them() -> None:
    lesions = drawn(6000, 1)
    fitted = weights(fit_logistic(lesions, verdicts(lesions, 2)))
    for name, weight in weights(TRUE).items():
        assert fitted[name] == pytest.approx(weight, abs=0.25)
    assert abs(fitted["elongation"]) < 0.15


def test_at_the_fitted_weights_the_penalised_likelihood_is_greatest() -> None:
    """There its gradient vanishes: the penalty on a weight is all that holds the residuals up."""
    lesions = drawn(300, 3)
    correct = verdicts(lesions, 4)
    evidence = fit_logistic(lesions, correct)
    table = np.array([features(lesion, tuple(OWN)) for lesion in lesions])
    standardised = (table - evidence.mean) / evidence.spread
    residual = correct - np.array([evidence.score(lesion) for lesion in lesions])
    assert standardised.T @ residual == pytest.approx(np.array(evidence.output[:-1]), abs=1e-6)
    assert residual.sum() == pytest.approx(0.0, abs=1e-6)


def test_candidates_that_can_be_told_apart_do_not_blow_the_weights_up() -> None:
    lesions = drawn(200, 5)
    correct = np.array([lesion.volume_mm3 > 20 for lesion in lesions])
    fitted = fit_logistic(lesions, correct)
    scores = np.array([fitted.score(lesion) for lesion in lesions])
    assert max(map(abs, fitted.output)) < 100
    assert np.mean((scores > 0.5) == correct) > 0.95


def test_a_network_learns_what_no_weighted_sum_tells() -> None:
    """A candidate is a microbleed here if it is large or dark, but not both."""
    lesions, new = drawn(1500, 6), drawn(1000, 7)
    large, dark = FEATURES["log_volume"], FEATURES["darkest"]

    def truth(candidates: list[Lesion]) -> np.ndarray:
        return np.array([(large(one) > 3) != (dark(one) < 0.5) for one in candidates])

    def right(evidence: ScoreModel) -> float:
        scores = np.array([evidence.score(lesion) for lesion in new])
        return float(np.mean((scores > 0.5) == truth(new)))

    assert right(fit_logistic(lesions, truth(lesions))) < 0.6
    assert right(fit_network(lesions, truth(lesions))) > 0.9


def test_the_network_is_the_mean_of_those_that_were_fitted() -> None:
    """Log odds are the mean of scikit-learn's own, but for the digits that are left out."""
    from scipy.special import expit, logit
    from sklearn.neural_network import MLPClassifier

    lesions = drawn(400, 8)
    correct = verdicts(lesions, 9)
    evidence = fit_network(lesions, correct)
    table = np.array([features(lesion, evidence.features) for lesion in lesions])
    standardised = (table - evidence.mean) / evidence.spread
    odds = [
        logit(
            MLPClassifier(
                (len(evidence.hidden) // MEMBERS,), activation="tanh", solver="lbfgs",
                alpha=PENALTY, max_iter=1000, random_state=member,
            ).fit(standardised, correct).predict_proba(standardised)[:, 1]
        )
        for member in range(MEMBERS)
    ]  # fmt: skip
    assert np.std(odds, axis=0).max() > 0.01  # they do differ
    scores = [evidence.score(lesion) for lesion in lesions]
    assert scores == pytest.approx(expit(np.mean(odds, axis=0)).tolist(), abs=1e-4)


def scans(count: int, each: int, *, ignored: bool = False) -> list[ScanCandidates]:
    """Scans with some candidates; nothing else of them is looked at here."""
    made = []
    for n in range(count):
        lesions = drawn(each, 10 + n)
        made.append(
            ScanCandidates(
                lesions=tuple(lesions),
                correct=verdicts(lesions, 100 + n),
                ignored=np.full(each, ignored),
                overlap=None,  # type: ignore[arg-type]
                matching=None,  # type: ignore[arg-type]
            )
        )
    return made


def test_each_scan_is_judged_by_a_score_that_has_not_seen_it() -> None:
    cohort = scans(20, 12)
    learned = learn_score(cohort)
    assert learned is not None
    assert len(learned.held_out) == 20
    assert len(set(learned.held_out)) == FOLDS
    altered = [replace(cohort[0], correct=~cohort[0].correct), *cohort[1:]]
    again = learn_score(altered)
    assert again is not None
    assert again.held_out[0] == learned.held_out[0]  # the first fold's own scans do not count
    assert again.held_out[-1] != learned.held_out[-1]
    assert again.evidence != learned.evidence


def test_folds_and_the_whole_are_of_one_kind() -> None:
    """Just enough candidates for a network in all scans, and not in four fifths of them."""
    cohort = scans(20, NETWORK_FROM // 4)
    enough = sum(int(scan.correct.sum()) for scan in cohort)
    assert NETWORK_FROM <= enough < NETWORK_FROM * 5 / 4
    learned = learn_score(cohort)
    assert learned is not None
    assert not learned.evidence.hidden
    assert not any(evidence.hidden for evidence in learned.held_out)


def test_what_is_alike_in_all_candidates_tells_nothing_elsewhere() -> None:
    """One scanner has one pixel size; the last digit of another's must not decide."""
    lesions = drawn(400, 11)
    alike = [replace(one, profile=(math.log(2.0), *one.profile[1:])) for one in lesions]
    evidence = fit_network(alike, verdicts(lesions, 12))
    assert evidence.spread[evidence.features.index(MEASURES[0])] == 1.0
    other = [replace(one, profile=(math.log(2.00001), *one.profile[1:])) for one in alike]
    scores = [[evidence.score(lesion) for lesion in some] for some in (alike, other)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_a_few_candidates_teach_nothing() -> None:
    assert learn_score(scans(10, 4)) is None
    assert learn_score(scans(20, 12, ignored=True)) is None
    assert learn_score([]) is None


def test_teachers_take_the_place_of_the_folds() -> None:
    cohort, training_scans = scans(20, 12), scans(30, 12)[20:]
    learned, alone = learn_score(cohort, training_scans), learn_score(cohort)
    assert learned is not None
    assert alone is not None
    assert set(learned.held_out) == {learned.evidence}
    assert len(learned.held_out) == 20  # none is judged but the cohort's own scans
    assert not set(learned.held_out) & set(alone.held_out)
    altered = [replace(scan, correct=~scan.correct) for scan in cohort]
    assert learn_score(altered, training_scans) == learned  # what is judged by it teaches nothing
    assert learn_score(cohort, scans(10, 12, ignored=True)) is None


def test_a_network_is_fitted_from_many_candidates_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_model, "MEMBERS", 1)
    few, many = scans(20, 12), scans(20, NETWORK_FROM // 4)
    for made, network in ((few, False), (many, True)):
        correct = sum(int(scan.correct.sum()) for scan in made)
        assert (
            min(correct, sum(len(s.correct) for s in made) - correct) >= NETWORK_FROM
        ) == network
        learned = learn_score([], made)
        assert learned is not None
        assert bool(learned.evidence.hidden) == network
        assert ("darkest" in learned.evidence.features) == network
