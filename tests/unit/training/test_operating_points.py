from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cmbnet.lesions import LesionRules, spacing_affine
from cmbnet.training.operating_points import (
    Map,
    choose_operating_points,
    rates_at,
    sweep,
)
from cmbnet.volume import Volume

SHAPE = (6, 60, 60)
AFFINE = spacing_affine((2.0, 0.6, 0.6))
Spot = tuple[int, int, int, float]


def scan(name: str, lesions: list[Spot], false: list[Spot], ignored: list[Spot] = []) -> Map:  # noqa: B006
    """Squares of 5 x 5 pixels (3 mm) in one slice: (z, y, x, probability)."""
    truth, probability = np.zeros(SHAPE, np.uint16), np.zeros(SHAPE, np.float32)
    ignore = np.zeros(SHAPE, np.uint8)
    for number, (z, y, x, p) in enumerate(lesions, start=1):
        truth[z, y : y + 5, x : x + 5] = number
        probability[z, y : y + 5, x : x + 5] = p
    for z, y, x, p in [*false, *ignored]:
        probability[z, y : y + 5, x : x + 5] = p
    for z, y, x, _ in ignored:
        ignore[z, y : y + 5, x : x + 5] = 1
    return Map(
        name=name,
        probability=Volume(probability, AFFINE),
        brain=np.ones(SHAPE, bool),
        truth=Volume(truth, AFFINE),
        ignore=Volume(ignore, AFFINE),
    )


def cohort() -> list[Map]:
    """Five lesions in two patients, and two controls; false alarms score lower than most."""
    return [
        scan("a", [(1, 5, 5, 0.95), (3, 20, 20, 0.9), (4, 40, 40, 0.45)], [(2, 40, 5, 0.6)]),
        scan("b", [(1, 5, 5, 0.85), (3, 20, 20, 0.0)], [], ignored=[(2, 40, 5, 0.9)]),
        scan("c", [], [(2, 30, 30, 0.7)]),
        scan("d", [], []),
    ]


def at(threshold: float, lesion_score: float) -> Any:
    candidates = sweep(cohort(), LesionRules(pixel_threshold=threshold))
    return max(
        (c for c in candidates if c.lesion_score <= lesion_score), key=lambda c: c.lesion_score
    ).rates


def test_counts_by_hand_at_a_low_score() -> None:
    rates = at(0.4, 0.0)
    assert (rates.n_positive, rates.n_negative, rates.true_lesions) == (2, 2, 5)
    assert (rates.found, rates.correct, rates.predicted) == (4, 4, 6)
    assert rates.false_positives_per_scan == pytest.approx(2 / 4)
    assert (rates.patient_fpr, rates.patient_fnr) == (0.5, 0.0)
    assert rates.f1 == pytest.approx(2 * (4 / 5) * (4 / 6) / (4 / 5 + 4 / 6))


def test_counts_by_hand_at_a_high_score() -> None:
    rates = at(0.4, 0.851)
    assert (rates.found, rates.correct, rates.predicted) == (3, 3, 3)
    assert (rates.patient_fpr, rates.patient_fnr) == (0.0, 0.0)


def test_above_every_score_nothing_is_left() -> None:
    from cmbnet.training.operating_points import _score

    scored = [_score(m, LesionRules(pixel_threshold=0.4)) for m in cohort()]
    rates = rates_at(scored, 1.0)
    assert (rates.found, rates.predicted, rates.precision, rates.f1) == (0, 0, 0.0, 0.0)
    assert (rates.patient_fpr, rates.patient_fnr) == (0.0, 1.0)


def test_the_points_do_what_their_names_say() -> None:
    chosen = choose_operating_points(cohort(), cohort="test", pixel_thresholds=(0.4, 0.5))
    points = {point.name: point for point in chosen.points}
    assert list(points) == ["balanced", "sensitive", "screening"]
    balanced = points["balanced"].measured
    assert balanced is not None
    assert balanced.patient_fpr == 0.0  # 0.5 would be above the limit
    assert balanced.sensitivity == pytest.approx(3 / 5)
    assert balanced.precision == 1.0
    sensitive = points["sensitive"].measured
    assert sensitive is not None
    assert sensitive.sensitivity == pytest.approx(4 / 5)
    assert points["sensitive"].pixel_threshold == 0.4
    # As a scan, the control with a false alarm of 0.7 is told from the patients all the same.
    assert points["sensitive"].patient_threshold > 0.7
    assert sensitive.patient_fpr == 0.0
    screening = points["screening"].measured
    assert screening is not None
    assert (screening.patient_fpr, screening.patient_fnr) == (0.0, 0.0)
    assert screening.cohort == "test"


def test_the_points_share_their_shape_rules() -> None:
    chosen = choose_operating_points(cohort(), cohort="test", pixel_thresholds=(0.4, 0.5))
    assert chosen.rules.min_score == 0.0
    by_point = {
        (c.rules.max_z_ratio, c.rules.max_elongation)
        for c in chosen.candidates
        if any(
            p.pixel_threshold == c.rules.pixel_threshold and p.lesion_score == c.lesion_score
            for p in chosen.points
        )
    }
    assert (chosen.rules.max_z_ratio, chosen.rules.max_elongation) in by_point


def test_where_no_limit_can_be_kept_the_fewest_false_alarms_decide() -> None:
    maps = [scan("a", [(1, 5, 5, 0.6)], []), scan("c", [], [(2, 30, 30, 0.9)])]
    chosen = choose_operating_points(maps, cohort="test", pixel_thresholds=(0.5,))
    assert {point.name for point in chosen.points} == {"balanced", "sensitive", "screening"}
