"""Files and oracles that the conformance tests share."""

from __future__ import annotations

import importlib
import json
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="shared test data not present: ../shared/data"
)


def load_json(path: str) -> Any:
    return json.loads((DATA / path).read_text(encoding="utf-8"))


def oracle(name: str) -> ModuleType:
    """Import other people's code, whose warnings are not ours; skip where it is not installed.

    picai_eval 1.4.13 and panoptica need numpy below 2.3 and rich below 14, so they cannot be in
    the development environment: `make conformance` builds one of their own.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ImportError as error:
            pytest.skip(f"{name} is not installed here (see make conformance): {error}")
