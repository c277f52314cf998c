"""Preprocessing: orientation, frame, intensity, brain mask, and the gate for quality."""

from cmbnet.preprocess.case import PreparedCase, prepare
from cmbnet.preprocess.frame import FrameTransform
from cmbnet.preprocess.measures import QualityMeasures
from cmbnet.preprocess.qc import Finding, QualityReport, check_quality
from cmbnet.preprocess.recipe import PreprocessRecipe

__all__ = [
    "Finding",
    "FrameTransform",
    "PreparedCase",
    "PreprocessRecipe",
    "QualityMeasures",
    "QualityReport",
    "check_quality",
    "prepare",
]
