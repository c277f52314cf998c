"""The values that stand beside ours are in the paper's text, digit by digit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cmbnet.evaluation.readers.report import PAPER_ROW
from cmbnet.evaluation.show.tables import PAPER_COUNTS
from cmbnet.evaluation.stats.metrics import METRICS, PAPER_LESION_AUC

SEEDS = Path(__file__).resolve().parents[3] / "shared" / "seeds"
VALUES = {one.name: one.paper for one in METRICS if one.paper is not None}


@pytest.fixture(scope="module")
def text() -> str:
    papers = sorted(SEEDS.glob("*.txt"))
    if not papers:
        pytest.skip(f"the paper's text is not in {SEEDS}")
    return papers[0].read_text(encoding="utf-8")


def stands(number: str, text: str) -> bool:
    return re.search(rf"(?<![\d.]){re.escape(number)}(?!\.?\d)", text) is not None


def test_a_number_inside_another_does_not_count() -> None:
    assert stands("0.72", "reached 0.72, 0.718")
    assert stands("0.72", "of 0.72. In")
    assert not stands("0.7", "reached 0.72")
    assert not stands("72", "reached 0.72")


@pytest.mark.parametrize(("name", "value"), {**VALUES, "lesion_auc": PAPER_LESION_AUC}.items())
def test_values(name: str, value: float, text: str) -> None:
    assert stands(f"{value:g}", text) or stands(f"{100 * value:.4g}", text), name


def test_counts_of_patients(text: str) -> None:
    values = [str(PAPER_COUNTS[f"patient_{name}"]) for name in ("fp", "fn", "tn", "tp")]
    assert ", ".join(values[:3]) + f", and {values[3]}" in text


def test_the_row_of_the_readers(text: str) -> None:
    numbers = [float(n) for cell in PAPER_ROW for n in re.findall(r"\d+\.\d+", cell)]
    assert numbers == [20.6, 2.5, 35.6, 4.3, 93.3, 0.79]
    assert all(stands(f"{number:g}", text) for number in numbers)
