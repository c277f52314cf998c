"""Model bundles: a network with everything that is needed to run it."""

from cmbnet.bundle.bundle import Bundle, load_bundle
from cmbnet.bundle.manifest import (
    Artefact,
    Manifest,
    Measured,
    OperatingPoint,
    TargetContext,
    Training,
)
from cmbnet.bundle.write import BundleSpec, NewArtefact, add_artefacts, write_bundle

__all__ = [
    "Artefact",
    "Bundle",
    "BundleSpec",
    "Manifest",
    "Measured",
    "NewArtefact",
    "OperatingPoint",
    "TargetContext",
    "Training",
    "add_artefacts",
    "load_bundle",
    "write_bundle",
]
