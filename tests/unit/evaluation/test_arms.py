"""Readers alone and with the system: numbers by hand, and the published MRMC example."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cmbnet.errors import InputRefused
from cmbnet.evaluation.readers.arms import compare_arms
from cmbnet.evaluation.readers.report import arms_table
from cmbnet.evaluation.readers.sites import ReadCase
from cmbnet.evaluation.stats.mrmc import jackknife_covariance, obuchowski_rockette

VAN_DYKE = np.array(
    [
        [0.9196457, 0.8587762, 0.9038647, 0.9731079, 0.8297907],
        [0.9478261, 0.9053140, 0.9217391, 0.9993559, 0.9299517],
    ]
)
"""Areas of five readers with two ways of MRI, and their covariances, as in the documentation of
RJafroc (dataset02) and MRMCaov."""
COV1, COV2, COV3, VAR = 0.0003466137, 0.0003440748, 0.0002390284, 0.0008022883


def van_dyke_covariance() -> NDArray[np.float64]:
    covariance = np.full((2, 5, 2, 5), COV3)
    for arm in range(2):
        covariance[arm, :, arm] = COV2
        for reader in range(5):
            covariance[arm, reader, 1 - arm, reader] = COV1
            covariance[arm, reader, arm, reader] = VAR
    return covariance


def test_the_published_example_of_obuchowski_and_rockette() -> None:
    found = obuchowski_rockette(VAN_DYKE, van_dyke_covariance())
    assert found.f == pytest.approx(4.4563, abs=1e-4)
    assert found.df == pytest.approx(15.2597, abs=1e-4)
    assert found.p == pytest.approx(0.05167, abs=1e-5)
    assert found.difference == pytest.approx(0.0438003, abs=1e-7)
    # Published for the first minus the second: -0.0879595 to 0.0003589.
    assert (found.interval.low, found.interval.high) == pytest.approx(
        (-0.0003589, 0.0879595), abs=1e-6
    )


def test_the_jackknife_of_means_is_their_covariance() -> None:
    """For a mean, the jackknife gives the covariance over n with n - 1 in the bottom."""
    values = np.random.default_rng(1).normal(size=(12, 2, 3))
    without = (values.sum(axis=0) - values) / 11
    expected = np.cov(values.reshape(12, -1).T) / 12
    assert jackknife_covariance(without).reshape(6, 6) == pytest.approx(expected)


def test_one_reader_has_no_multi_reader_analysis() -> None:
    assert np.isnan(obuchowski_rockette(VAN_DYKE[:, :1], van_dyke_covariance()[:, :1, :, :1]).p)


def case(name: str, system: str, readers: list[str], truth: str | None) -> ReadCase:
    def marks(text: str) -> NDArray[np.bool_]:
        return np.array([c == "x" for c in text], bool)

    columns = np.stack([marks(one) for one in readers], axis=1)
    return ReadCase(name, marks(system), columns, None if truth is None else marks(truth))


def test_arms_by_hand() -> None:
    """Truth xx., alone x.. and ..x, with the system xx. and x..; the system x.x."""
    alone = [case("a", "x.x", ["x..", "..x"], "xx."), case("b", ".", [".", "."], "x")]
    helped = [case("a", "x.x", ["xx.", "x.."], "xx."), case("b", ".", ["x", "."], "x")]
    arms = compare_arms(["A", "B"], alone, helped, {("A", "with"): 5.0})
    system, a_alone, a_helped, b_alone, b_helped = arms.results
    assert (system.lesions_per_case, system.sensitivity, system.false_per_case) == (1, 1 / 3, 0.5)
    assert (a_alone.sensitivity, a_alone.false_per_case) == (1 / 3, 0)
    assert a_alone.with_truth == pytest.approx(2 / 4)  # twice one of both, over one and three
    assert (a_helped.sensitivity, a_helped.with_truth, a_helped.seconds) == (1, 1, 5)
    assert (b_alone.sensitivity, b_alone.false_per_case, b_alone.with_truth) == (0, 0.5, 0)
    assert b_helped.with_system == pytest.approx(2 / 3)
    # Among the readers: alone nothing of both; with it one of both, of three and one.
    assert arms.among_readers == pytest.approx((0, 2 / 4))
    assert arms.merit is not None
    assert arms.merit.difference == pytest.approx((1 + 0.5) / 2 - (0.5 + 0) / 2)
    assert arms_table(arms).rows[2][:4] == ("A with the system", "1.500", "0.400", "1.000")


def test_a_false_lesion_of_one_arm_is_no_site_of_the_other() -> None:
    alone = [case("a", "x..", ["xx."], "x.x")]
    arms = compare_arms(["A"], alone, [case("a", "x.", ["xx"], "xx")])
    _, before, after = arms.results
    assert (before.sensitivity, before.false_per_case) == (1 / 2, 1)
    assert (after.sensitivity, after.false_per_case) == (1, 0)


def test_arms_without_a_truth() -> None:
    one = [case("a", "x", ["x"], None)]
    arms = compare_arms(["A"], one, one)
    assert arms.merit is None
    assert np.isnan(arms.results[1].with_truth)
    with pytest.raises(InputRefused, match="both arms must hold the same cases"):
        compare_arms(["A"], one, [])
