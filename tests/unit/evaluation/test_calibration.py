"""Brier score, calibration and decision curve: numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cmbnet.evaluation.cohort.compare import holm
from cmbnet.evaluation.stats.calibration import calibration, decision_curve
from cmbnet.evaluation.stats.froc import Samples


def samples(*pairs: tuple[float, bool]) -> Samples:
    return Samples(
        tuple(f"p{n}" for n in range(len(pairs))),
        np.array([positive for _, positive in pairs], bool),
        np.array([score for score, _ in pairs], float),
    )


def test_calibration_by_hand() -> None:
    """Two bins: 0.11, 0.13 and 0.15 with one of three, 0.9 and 1 with two of two."""
    one = calibration(
        "patient_auc", samples((0.11, False), (0.13, True), (0.15, False), (0.9, True), (1.0, True))
    )
    assert one.mean_score == pytest.approx([0.13, 0.95])
    assert one.share == pytest.approx([1 / 3, 1])
    assert one.samples.tolist() == [3, 2]
    squares = [0.11**2, 0.87**2, 0.15**2, 0.1**2, 0]
    assert one.brier == pytest.approx(sum(squares) / 5)
    assert one.brier_of_prevalence == pytest.approx(0.6 * 0.4)


def test_the_decision_curve_by_hand() -> None:
    """At 0.2, two of three with 0.2 or more are positive: 2/4 - 1/4 * 0.2/0.8."""
    curve = decision_curve(samples((0.1, False), (0.2, False), (0.5, True), (0.9, True)))
    at = {round(float(t), 2): n for n, t in enumerate(curve.threshold)}
    assert curve.model[at[0.2]] == pytest.approx(2 / 4 - 1 / 4 * 0.25)
    assert curve.model[at[0.6]] == pytest.approx(1 / 4)
    assert curve.every[at[0.5]] == pytest.approx(0.5 - 0.5)
    assert curve.every[at[0.2]] == pytest.approx(0.5 - 0.5 * 0.25)


def test_holm_by_hand() -> None:
    """Four known: 4 * 0.005, 3 * 0.01, 2 * 0.03, then no less than before."""
    corrected = holm([0.01, 0.04, float("nan"), 0.03, 0.005])
    assert corrected[:2] == pytest.approx([0.03, 0.06])
    assert np.isnan(corrected[2])
    assert corrected[3:] == pytest.approx([0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
