"""Phase through the pipeline: what is diamagnetic is listed apart, and never deleted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cmbnet.backends import Backend
from cmbnet.bundle import Bundle
from cmbnet.predict import Prediction, Request, predict_volume
from cmbnet.predict.phase import with_phase
from cmbnet.report.html import headline, report_html
from cmbnet.report.pictures import TILE_PIXELS, Painter
from cmbnet.report.result import build_result
from cmbnet.report.tables import lesions_csv
from cmbnet.volume import Volume
from tests.helpers.phase_scan import CALCIUM, veined_scan, wrapped
from tests.helpers.tiny_scan import SHAPE

Values = NDArray[Any]


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


@pytest.fixture(scope="module")
def alone(tiny_bundle: Bundle, tiny_backend: Backend) -> Prediction:
    return predict_volume(veined_scan()[0], tiny_bundle, tiny_backend)


def _alternating(radians: Values) -> Values:
    turned = radians.copy()
    turned[1::2] = wrapped(turned[1::2] + np.pi)
    return turned


def _half(radians: Values) -> Values:
    return np.where(np.arange(len(radians))[:, None, None] < 13, 0, radians)


REPAIRED: dict[str, tuple[Callable[[Values], Values], str, str]] = {
    "inverted": (lambda radians: -radians, "The phase has radians", "positive"),
    "mrad": (lambda radians: np.rint(1000 * radians), "thousandths of a radian", "negative"),
    "degrees": (np.rad2deg, "The phase has degrees", "negative"),
    "12 bits without a scale": (
        lambda radians: np.rint(radians / np.pi * 2047.5) + 2048, "12-bit steps", "negative",
    ),
    "alternating": (_alternating, "is turned back", "negative"),
}  # fmt: skip


@pytest.mark.parametrize("case", REPAIRED)
def test_a_phase_that_is_repaired_says_so_and_tells_the_same(
    case: str, alone: Prediction, judged: Prediction
) -> None:
    stored, note, sign = REPAIRED[case]
    phase = veined_scan()[1]
    found = with_phase(alone, phase.with_data(stored(phase.data)))
    said = found.quality.findings[-1]
    assert said.code == "phase"
    assert note in said.message
    assert f"Blood has {sign} phase" in said.message
    assert [one.phase for one in found.found.lesions] == [one.phase for one in judged.found.lesions]
    assert len(found.found.calcifications) == 1


REFUSED: dict[str, tuple[Callable[[Volume, Volume], Volume], str]] = {
    "grid": (lambda scan, phase: Volume(phase.data[:12], phase.affine, "p"), "not on the grid of"),
    "constant": (lambda scan, phase: phase.with_data(phase.data * 0 + 7), "all its slices are"),
    "zero": (lambda scan, phase: phase.with_data(phase.data * 0), "all its slices are constant"),
    "half": (lambda scan, phase: phase.with_data(_half(phase.data)), "only 11 of 24 slices"),
    "magnitude": (lambda scan, phase: scan, "it is a magnitude"),
    "unwrapped": (
        lambda scan, phase: phase.with_data(np.unwrap(np.unwrap(phase.data, axis=1), axis=2)),
        "was it unwrapped",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_phase_that_cannot_be_trusted_changes_nothing(case: str, alone: Prediction) -> None:
    spoil, reason = REFUSED[case]
    scan, phase = veined_scan()
    beside = with_phase(alone, spoil(scan, phase))
    assert beside.found is alone.found
    assert beside.quality.findings[-1].code == "phase_refused"
    assert reason in beside.quality.findings[-1].message


def test_a_phase_of_another_study_says_nothing(alone: Prediction) -> None:
    """On the same grid only its sign gives it away: the parts of the brain do not agree."""
    noise = np.random.default_rng(2).uniform(-np.pi, np.pi, SHAPE).astype(np.float32)
    other = with_phase(alone, replace(veined_scan()[1], data=noise))
    assert other.quality.findings[-1].code == "phase_sign_unknown"
    assert [one.phase for one in other.found.lesions] == ["indeterminate"] * 3


def test_phase_and_magnitude_in_the_wrong_order_give_no_count(
    tiny_bundle: Bundle, tiny_backend: Backend
) -> None:
    scan, phase = veined_scan()
    asked = Request(force=True)
    found = predict_volume(phase, tiny_bundle, tiny_backend, asked, phase=scan)
    assert not found.quality.analysable
    assert "in the wrong order" in found.quality.findings[-1].message


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
