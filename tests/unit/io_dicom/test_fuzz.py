"""A slice of benchmarks/dicom_fuzz.py, and proof that its harness sees what it looks for."""

from __future__ import annotations

import faulthandler
import os
import signal
import time
from pathlib import Path

import pytest

from benchmarks import dicom_fuzz
from benchmarks.dicom_fuzz import Corpus, Limits, phantom_corpus, run, spoilt_case

pytestmark = pytest.mark.filterwarnings(
    # The forked reader does nothing with threads: it reads files and ends by _exit.
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)
LIMITS = Limits(cpu_s=10.0)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return phantom_corpus()


def test_spoilt_files_are_answered_or_refused(corpus: Corpus) -> None:
    tally = run(corpus, range(150), seed=11, limits=LIMITS)
    assert tally.faults == []
    assert sum(tally.outcomes.values()) == 150
    # Some must get through, or nothing behind the parser would be tried.
    assert tally.outcomes["read"] > 3
    assert tally.outcomes["refused"] > 10


def test_cases_are_spoilt_and_the_same_every_time(corpus: Corpus) -> None:
    whole = {content for _, files in corpus for content in files}
    cases = [spoilt_case(corpus, 3, number)[1] for number in range(20)]
    assert cases == [spoilt_case(corpus, 3, number)[1] for number in range(20)]
    assert sum(any(content not in whole for content in files) for files in cases) > 15


def _crash(folder: Path) -> str:
    faulthandler.disable()  # pytest's would tell of this crash as of one of its own
    os.kill(os.getpid(), signal.SIGSEGV)
    return "read"


def _hang(folder: Path) -> str:
    while True:
        time.time()


def _fault(folder: Path) -> str:
    raise KeyError(folder.name)


def _hoard(folder: Path) -> str:
    return f"read {len(bytearray(3 << 30))}"


@pytest.mark.parametrize(
    ("reader", "outcome"),
    [(_crash, "crash"), (_hang, "hang"), (_fault, "traceback"), (_hoard, "traceback")],
)
def test_the_harness_sees_crash_hang_and_traceback(
    reader: object, outcome: str, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicom_fuzz, "read_case", reader)
    tally = run(corpus, range(2), seed=1, limits=Limits(cpu_s=0.2))
    assert dict(tally.outcomes) == {outcome: 2}
    assert [number for number, _ in tally.faults] == [0, 1]
