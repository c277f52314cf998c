"""Lesions: connected components, their sizes in mm, and the rules that decide about them."""

from cmbnet.lesions.components import label_components
from cmbnet.lesions.find import find_lesions, with_places
from cmbnet.lesions.lesion import FoundLesions, Lesion, SizeClass, Stage
from cmbnet.lesions.measure import (
    Component,
    axial_axis,
    in_plane_diameters_mm,
    measure_components,
    spacing_affine,
)
from cmbnet.lesions.pieces import distant_pieces
from cmbnet.lesions.rules import LesionRules, size_class
from cmbnet.lesions.sizes import COUNTED_SIZES, SIZES, size_name

__all__ = [
    "COUNTED_SIZES",
    "SIZES",
    "Component",
    "FoundLesions",
    "Lesion",
    "LesionRules",
    "SizeClass",
    "Stage",
    "axial_axis",
    "distant_pieces",
    "find_lesions",
    "in_plane_diameters_mm",
    "label_components",
    "measure_components",
    "size_class",
    "size_name",
    "spacing_affine",
    "with_places",
]
