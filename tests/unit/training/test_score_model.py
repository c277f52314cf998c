"""Fitting the score of candidates."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest

from cmbnet.lesions import Lesion
from cmbnet.lesions.evidence import FEATURES, Evidence
from cmbnet.training.candidates import Candidates
from cmbnet.training.score_model import FOLDS, fit_evidence, learn_score
from tests.candidate import CANDIDATE, NOTHING


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
        )
        for _ in range(count)
    ]


TRUE = Evidence(
    **{**NOTHING, "intercept": -4.0, "max_logit": 1.0, "log_volume": 1.0, "continues": -2.0}
)


def verdicts(lesions: list[Lesion], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array([rng.random() < TRUE.score(lesion) for lesion in lesions])


def test_many_candidates_give_back_the_weights_that_made_them() -> None:
    lesions = drawn(6000, 1)
    fitted = asdict(fit_evidence(lesions, verdicts(lesions, 2)))
    for name in ("max_logit", "log_volume", "continues"):
        assert fitted[name] == pytest.approx(getattr(TRUE, name), abs=0.25)
    assert abs(fitted["elongation"]) < 0.15


def test_at_the_fitted_weights_the_penalised_likelihood_is_greatest() -> None:
    """There its gradient vanishes: the penalty on a weight is all that holds the residuals up."""
    lesions = drawn(300, 3)
    correct = verdicts(lesions, 4)
    evidence = fit_evidence(lesions, correct)
    table = np.array([[m(lesion) for m in FEATURES.values()] for lesion in lesions])
    spread = np.where(table.std(axis=0) > 0, table.std(axis=0), 1.0)
    standardised = (table - table.mean(axis=0)) / spread
    weights = np.array([getattr(evidence, name) for name in FEATURES]) * spread
    residual = correct - np.array([evidence.score(lesion) for lesion in lesions])
    assert standardised.T @ residual == pytest.approx(weights, abs=1e-6)
    assert residual.sum() == pytest.approx(0.0, abs=1e-6)


def test_candidates_that_can_be_told_apart_do_not_blow_the_weights_up() -> None:
    lesions = drawn(200, 5)
    correct = np.array([lesion.volume_mm3 > 20 for lesion in lesions])
    fitted = fit_evidence(lesions, correct)
    scores = np.array([fitted.score(lesion) for lesion in lesions])
    assert max(abs(value) for value in asdict(fitted).values()) < 100
    assert np.mean((scores > 0.5) == correct) > 0.95


def scans(count: int, each: int, *, ignored: bool = False) -> list[Candidates]:
    """Scans with some candidates; nothing else of them is looked at here."""
    made = []
    for n in range(count):
        lesions = drawn(each, 10 + n)
        made.append(
            Candidates(
                lesions=tuple(lesions),
                components=(),
                slice_mm=2.0,
                longest_side_mm=2.0,
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


def test_a_few_candidates_teach_nothing() -> None:
    assert learn_score(scans(10, 4)) is None
    assert learn_score(scans(20, 12, ignored=True)) is None
    assert learn_score([]) is None


def test_every_fold_learns_from_further_scans() -> None:
    cohort = scans(20, 12)
    together = learn_score(cohort, scans(10, 12, ignored=True))
    assert together == learn_score(cohort)  # what is ignored teaches nothing
    further = scans(30, 12)[20:]
    learned, alone = learn_score(cohort, further), learn_score(cohort)
    assert learned is not None
    assert alone is not None
    assert len(learned.held_out) == 20  # none is judged but the cohort's own scans
    assert not set(learned.held_out) & set(alone.held_out)
    assert learn_score(scans(10, 4), further) is not None
