"""Kinds of scans. No file tells the kind, so whoever measures on scans must state it."""

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
