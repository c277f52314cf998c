"""Lesions: connected components, their sizes in mm, and the rules that decide about them."""

from cmbnet.lesions.components import label_components
from cmbnet.lesions.measure import Component, axial_axis, measure_components, spacing_affine

__all__ = [
    "Component",
    "axial_axis",
    "label_components",
    "measure_components",
    "spacing_affine",
]
