"""Agreement and intervals against statsmodels, scipy and published tables."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from cmbnet.evaluation.cohort.compare import holm, mcnemar
from cmbnet.evaluation.readers.study import cochran_q
from cmbnet.evaluation.stats.counts import intraclass_correlation
from cmbnet.evaluation.stats.intervals import bca, wilson
from cmbnet.evaluation.stats.kappa import cohen_kappa, fleiss_kappa
from cmbnet.evaluation.stats.roc import auc, delong_interval, delong_p

from .shared import load_json, needs_data


@needs_data
def test_published_kappas() -> None:
    tables = load_json("kappa_tables/kappa.json")
    wikipedia = np.array(tables["fleiss_wikipedia"]["table_subjects_by_category"], float)
    assert round(fleiss_kappa(wikipedia).value, 3) == 0.210
    ratings = np.array(tables["fleiss1971_diagnoses_6raters"]["ratings"])
    counts = np.stack([(ratings == category).sum(axis=1) for category in range(1, 6)], axis=1)
    assert round(fleiss_kappa(counts.astype(float)).value, 3) == 0.430
    cohen = cohen_kappa(np.array(tables["cohen_sas"]["table"], float))
    assert round(cohen.value, 4) == 0.4842
    assert round(cohen.standard_error, 4) == 0.1380
    assert [round(cohen.interval.low, 4), round(cohen.interval.high, 4)] == [0.2137, 0.7547]
    linear = cohen_kappa(np.array(tables["cohen_sas"]["table"], float), "linear")
    assert round(linear.value, 4) == 0.4701
    assert round(linear.standard_error, 4) == 0.1457
    assert [round(linear.interval.low, 4), round(linear.interval.high, 4)] == [0.1845, 0.7558]


@needs_data
def test_published_fleiss_tables_of_fixed_marginals() -> None:
    for row in load_json("kappa_tables/kappa.json")["randolph_calculator"]:
        kappa = fleiss_kappa(np.array(row["table"], float)).value
        if "fleiss" in row:
            assert kappa == pytest.approx(row["fleiss"], abs=1e-6)
        else:
            assert np.isnan(kappa)  # all in one category: undefined, not 1


def test_shrout_and_fleiss_icc_with_interval() -> None:
    """ICC(2,1) of the published example: .29, interval .02 to .76."""
    table = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9],
                      [6, 2, 4, 7]], float)  # fmt: skip
    icc = intraclass_correlation(table)
    assert round(icc.value, 3) == 0.290
    assert round(icc.interval.low, 3) == 0.019
    assert round(icc.interval.high, 3) == 0.761


def test_kappa_and_fleiss_against_statsmodels() -> None:
    rater = pytest.importorskip("statsmodels.stats.inter_rater")
    rng = np.random.default_rng(3)
    table = rng.integers(1, 12, (4, 4)).astype(float)
    for weights, theirs in (("none", None), ("linear", "linear"), ("quadratic", "quadratic")):
        expected = rater.cohens_kappa(table, wt=theirs)
        ours = cohen_kappa(table, weights)  # type: ignore[arg-type]
        assert ours.value == pytest.approx(expected.kappa)
        assert ours.standard_error == pytest.approx(expected.std_kappa)
        assert ours.p == pytest.approx(expected.pvalue_two_sided)
    counts = rng.multinomial(6, [0.2, 0.3, 0.5], 40).astype(float)
    assert fleiss_kappa(counts).value == pytest.approx(rater.fleiss_kappa(counts))


def test_wilson_against_statsmodels() -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    for hits, total in ((0, 5), (5, 5), (10, 94), (2, 95), (777, 1000)):
        low, high = proportion.proportion_confint(hits, total, method="wilson")
        ours = wilson(hits, total)
        assert (ours.low, ours.high) == pytest.approx((low, high), abs=1e-12)


def test_mcnemar_and_cochran_against_statsmodels() -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    rng = np.random.default_rng(1)
    marks = rng.random((60, 4)) < [0.5, 0.6, 0.7, 0.55]
    first, second = marks[:, 0], marks[:, 1]
    table = [[np.sum(first & second), np.sum(first & ~second)],
             [np.sum(~first & second), np.sum(~first & ~second)]]  # fmt: skip
    assert mcnemar(first, second, "x").p == pytest.approx(tables.mcnemar(table, exact=True).pvalue)
    assert cochran_q(marks) == pytest.approx(tables.cochrans_q(marks.astype(int)).pvalue)


def test_bca_against_scipy() -> None:
    """On scipy's own bootstrap distribution the interval is the same."""
    rng = np.random.default_rng(0)
    data = rng.exponential(size=40)
    theirs = stats.bootstrap((data,), np.mean, n_resamples=2000, method="BCa", rng=rng)
    jackknife = (data.sum() - data) / (len(data) - 1)
    ours = bca(float(data.mean()), theirs.bootstrap_distribution, jackknife)
    assert ours.method == "BCa"
    low, high = theirs.confidence_interval
    assert (ours.low, ours.high) == pytest.approx((low, high), rel=1e-3)


def test_delong_against_the_definition() -> None:
    """The variance of DeLong et al. 1988, pair by pair, as the paper writes it."""
    rng = np.random.default_rng(2)
    positive = np.arange(60) < 25
    score = np.round(rng.normal(size=60) + positive, 1)  # with ties
    psi = (score[positive][:, None] > score[~positive]) + 0.5 * (
        score[positive][:, None] == score[~positive]
    )
    v10, v01 = psi.mean(axis=1), psi.mean(axis=0)
    variance = v10.var(ddof=1) / len(v10) + v01.var(ddof=1) / len(v01)
    half = 1.959963984540054 * np.sqrt(variance)
    ours = delong_interval(positive, score)
    assert auc(positive, score) == pytest.approx(psi.mean())
    assert (ours.low, ours.high) == pytest.approx((psi.mean() - half, psi.mean() + half))


def test_delong_test_of_equal_scores_is_one_and_of_opposite_ones_small() -> None:
    rng = np.random.default_rng(4)
    positive = np.arange(80) < 40
    score = rng.normal(size=80) + positive
    assert delong_p(positive, score, 2 * score + 1) == 1.0
    assert delong_p(positive, score, -score) < 0.01


def test_holm() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(3).random(20) ** 3
    assert holm(p.tolist()) == pytest.approx(multitest.multipletests(p, method="holm")[1])
