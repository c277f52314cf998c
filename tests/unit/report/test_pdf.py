"""The PDF: the same every time, as many pages as it needs, whatever letters a name holds."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace

import pytest

pytest.importorskip("matplotlib", reason="the dicom extra is not installed")

from cmbnet.backends import Backend
from cmbnet.bundle import Bundle
from cmbnet.predict import Prediction, predict_volume
from cmbnet.report.pdf import report_pdf
from cmbnet.report.result import build_result, request_of
from tests.tiny_scan import tiny_scan


@pytest.fixture(scope="module")
def prediction(tiny_bundle: Bundle, tiny_backend: Backend) -> Prediction:
    return predict_volume(tiny_scan(), tiny_bundle, tiny_backend)


def make(prediction: Prediction, case: str = "case") -> bytes:
    request = request_of(prediction, backend="auto", save_probability=False)
    return report_pdf(prediction, build_result(prediction, case=case, request=request, files=()))


def pages(pdf: bytes) -> int:
    return len(re.findall(rb"/Type /Page\b", pdf))


def pictures(pdf: bytes) -> int:
    return len(re.findall(rb"/Subtype /Image", pdf))


def test_the_same_result_gives_the_same_bytes(prediction: Prediction) -> None:
    first = make(prediction)
    assert first == make(prediction)
    assert b"CreationDate" not in first
    assert (pages(first), pictures(first) >= 3) == (2, True)


def test_many_lesions_fill_more_pages(prediction: Prediction) -> None:
    (lesion, *_) = prediction.finding.lesions
    many = replace(prediction, finding=replace(prediction.finding, lesions=(lesion,) * 120))
    assert pages(make(many)) == pages(make(prediction)) + 2


def test_a_scan_without_lesions_has_its_slices(prediction: Prediction) -> None:
    none = replace(prediction, finding=replace(prediction.finding, lesions=()))
    assert pictures(make(none)) >= 6


@pytest.mark.parametrize(
    "case", ["$x^$ \\frac{1}{", "山田太郎 \N{BRAIN}", "(end) Tj ET", "a" * 500]
)
def test_no_name_breaks_the_page(prediction: Prediction, case: str) -> None:
    pdf = make(prediction, case)
    assert pages(pdf) == 2
    for stream in re.findall(rb"/FlateDecode.*?stream\r?\n(.*?)\nendstream", pdf, re.DOTALL):
        zlib.decompressobj().decompress(stream)
