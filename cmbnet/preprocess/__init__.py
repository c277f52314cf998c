"""Preprocessing: orientation, frame, intensity, brain mask, and the gate for quality."""

from cmbnet.preprocess.case import PreparedCase, prepare
from cmbnet.preprocess.frame import FrameTransform
from cmbnet.preprocess.recipe import PreprocessRecipe

__all__ = ["FrameTransform", "PreparedCase", "PreprocessRecipe", "prepare"]
