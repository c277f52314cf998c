"""Phase through the pipeline: what is diamagnetic is listed apart, and never deleted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cmbnet.backends import Backend
from cmbnet.bundle import Bundle
from cmbnet.predict import Prediction, Request, predict_volume
from cmbnet.report.html import headline, report_html
from cmbnet.report.pictures import TILE_PIXELS, Painter
from cmbnet.report.result import build_result
from cmbnet.report.tables import lesions_csv
from tests.helpers.phase_scan import CALCIUM, veined_scan
from tests.helpers.tiny_scan import SHAPE


@pytest.fixture(scope="module")
def judged(tiny_bundle: Bundle, tiny_backend: Backend) -> Prediction:
    scan, phase = veined_scan()
    return predict_volume(scan, tiny_bundle, tiny_backend, phase=phase)


def test_calcium_is_listed_apart(judged: Prediction) -> None:
    finding = judged.found
    assert [(one.id, one.phase) for one in finding.lesions] == [
        (1, "paramagnetic"),
        (2, "paramagnetic"),
    ]
    (apart,) = (one for one in finding.excluded if one.removed_by == "phase")
    assert apart.phase == "diamagnetic"
    assert apart.reason.startswith("possible calcification: calcium explains the phase")
    assert apart.centre_ras_mm == pytest.approx(
        judged.volume.world_mm((CALCIUM[0] + 0.5, CALCIUM[1] + 1.5, CALCIUM[2] + 1.5)), abs=1.0
    )
    z, y, x = CALCIUM
    assert judged.mask[z, y + 1, x + 1] == 0
    assert set(np.unique(finding.labels)) == {0, 1, 2}
    assert finding.calcified is not None
    assert finding.calcified[z, y + 1, x + 1] == apart.id
    assert set(np.unique(finding.calcified)) == {0, apart.id}
    assert finding.calcifications == (apart,)
    assert list(finding.stages)[-2:] == ["removed_by_phase", "lesions"]
    assert finding.stages["removed_by_phase"] == 1
    assert finding.stages["lesions"] == 2
    assert judged.quality.findings[-1].code == "phase"
    assert "Blood has negative phase" in judged.quality.findings[-1].message


def test_both_counts_are_said(judged: Prediction) -> None:
    text = headline(build_result(judged, case="x"))
    assert text.startswith("2 possible microbleeds were found")
    assert text.endswith("1 possible calcification is not counted (3 in all)")
    header, first, *_ = lesions_csv(judged.found.lesions).splitlines()
    assert header.endswith(",phase,phase_strength")
    assert ",paramagnetic," in first


def test_calcifications_are_counted_on_request(tiny_bundle: Bundle, tiny_backend: Backend) -> None:
    scan, phase = veined_scan()
    asked = Request(count_calcifications=True)
    found = predict_volume(scan, tiny_bundle, tiny_backend, asked, phase=phase)
    assert sorted(str(one.phase) for one in found.found.lesions) == [
        "diamagnetic", "paramagnetic", "paramagnetic",
    ]  # fmt: skip
    assert headline(build_result(found, case="x")).endswith("; 1 of them may be calcified")


def test_a_phase_that_cannot_be_trusted_changes_nothing(
    tiny_bundle: Bundle, tiny_backend: Backend, judged: Prediction
) -> None:
    scan, phase = veined_scan()
    alone = predict_volume(scan, tiny_bundle, tiny_backend)
    beside = predict_volume(scan, tiny_bundle, tiny_backend, phase=phase.with_data(phase.data * 0))
    assert beside.found.lesions == alone.found.lesions
    assert beside.found.stages == alone.found.stages
    assert beside.quality.findings[-1].code == "phase_refused"
    noise = np.random.default_rng(2).uniform(-np.pi, np.pi, SHAPE).astype(np.float32)
    other = predict_volume(scan, tiny_bundle, tiny_backend, phase=replace(phase, data=noise))
    assert other.quality.findings[-1].code == "phase_sign_unknown"
    assert [one.phase for one in other.found.lesions] == ["indeterminate"] * 3


def test_the_report_shows_phase_beside_magnitude(judged: Prediction) -> None:
    page = report_html(Painter(judged), build_result(judged, case="x"))
    assert "Possible calcification 3" in page
    assert "The second row shows the phase" in page
    assert '<th scope="col">Phase</th>' in page
    painter = Painter(judged)
    (apart,) = (one for one in judged.found.excluded if one.removed_by == "phase")
    width, height = painter.draw_tile(apart).size
    assert height == 2 * TILE_PIXELS + 4
    plain = painter.draw_tile(replace(apart, phase=None))
    assert plain.size == (width, TILE_PIXELS)
