"""Evaluation: every figure of the paper's tables, with an exact definition.

It needs numpy and scipy, and no network.
"""

from cmbnet.evaluation.cohort.scores import CohortScores, evaluate_cohort, summarise
from cmbnet.evaluation.match.case import Case, Settings
from cmbnet.evaluation.match.matching import MatchingRule
from cmbnet.evaluation.match.score import ScoredCase, ScoredLesion, score_case
from cmbnet.evaluation.stats.metrics import METRICS

__all__ = [
    "METRICS",
    "Case",
    "CohortScores",
    "MatchingRule",
    "ScoredCase",
    "ScoredLesion",
    "Settings",
    "evaluate_cohort",
    "score_case",
    "summarise",
]
