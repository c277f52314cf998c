"""Evaluation: every figure of the paper's tables, exactly defined. numpy, scipy, no network."""

from cmbnet.evaluation.case import Case, Settings
from cmbnet.evaluation.cohort import CohortScores, evaluate_cohort, summarise
from cmbnet.evaluation.matching import MatchingRule
from cmbnet.evaluation.metrics import METRICS
from cmbnet.evaluation.score import ScoredCase, ScoredLesion, score_case

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
