"""``docs/metrics.md`` is executed: a number that is no longer true fails here."""

from __future__ import annotations

import doctest
from pathlib import Path

from cmbnet.evaluation.stats.metrics import METRICS

PAGE = Path(__file__).resolve().parents[3] / "docs" / "metrics.md"


def test_the_page_is_true() -> None:
    result = doctest.testfile(str(PAGE), module_relative=False)
    assert result.attempted >= 40
    assert result.failed == 0


def test_every_level_is_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for heading in ("Pixel level", "Lesion level", "Patient level", "Reader study", "Refused"):
        assert f"## {heading}" in text
    assert "**Scan level.**" in text
    assert {one.level for one in METRICS} == {
        "pixel, data level", "pixel, patient level", "lesion", "patient", "scan", "count"
    }  # fmt: skip
