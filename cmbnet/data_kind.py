"""What scans are: no file tells, so whoever measures on them has to say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

DataKind = Literal["phantoms", "planted", "volunteers", "patients", "mixed"]
KINDS: Mapping[DataKind, str] = {
    "phantoms": "digital phantoms",
    "planted": "scans of people with simulated microbleeds",
    "volunteers": "scans of volunteers",
    "patients": "scans of patients",
    "mixed": "scans of several kinds",
}
"""Each kind in words."""
