"""Data specs: the places of scans and labels of a data set, and the check for faults."""

from cmbnet.training.data.specs.discover import Discovery, ScanCase, discover
from cmbnet.training.data.specs.fault import Fault
from cmbnet.training.data.specs.load import load_scan_spec, load_spec, spec_sha256
from cmbnet.training.data.specs.model import ReferenceSpec, ScanSpec

__all__ = [
    "Discovery",
    "Fault",
    "ReferenceSpec",
    "ScanCase",
    "ScanSpec",
    "discover",
    "load_scan_spec",
    "load_spec",
    "spec_sha256",
]
