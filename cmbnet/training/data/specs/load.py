"""Reading a data spec."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pydantic
import yaml

from cmbnet.errors import UsageError
from cmbnet.training.data.specs.model import DataSpec, ReferenceSpec, ScanSpec

_ADAPTER: pydantic.TypeAdapter[ScanSpec | ReferenceSpec] = pydantic.TypeAdapter(DataSpec)


def load_spec(path: Path) -> ScanSpec | ReferenceSpec:
    """Read a spec.

    Raises:
        UsageError: If the file is missing, is not YAML, or has an unknown key or a bad value.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"a YAML data spec is required, got {path}: {error}") from error
    try:
        return _ADAPTER.validate_python(values)
    except pydantic.ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
            for fault in error.errors()
        )
        raise UsageError(f"{path}: {faults}") from None


def load_scan_spec(path: Path) -> ScanSpec:
    """Read a spec of scans.

    Raises:
        UsageError: If `load_spec` raises it, or if the spec holds only numbers.
    """
    spec = load_spec(path)
    if not isinstance(spec, ScanSpec):
        raise UsageError(f"{path} holds the numbers of a cohort, no scans: nothing to prepare")
    return spec


def spec_sha256(spec: ScanSpec | ReferenceSpec) -> str:
    """Hash the content of a spec, independent of the layout of its file."""
    text = json.dumps(spec.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
