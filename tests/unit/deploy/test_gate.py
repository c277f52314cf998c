"""The parity gate: lesions are paired by hand-drawn labels, and a lost lesion fails."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cmbnet.backends import Backend
from cmbnet.bundle import Bundle
from cmbnet.deploy.flips import describe_flips, left_over
from cmbnet.deploy.gate import (
    FLOAT_LIMITS,
    INT8_LIMITS,
    GateCase,
    GateResult,
    _faults,
    compare_predictions,
    limits_of,
    small_lesions,
)
from cmbnet.deploy.gate_runs import _within, gate_predictions, predict_like
from cmbnet.errors import UsageError
from cmbnet.lesions import find_lesions, label_components
from cmbnet.preprocess import prepare
from cmbnet.slices import brain_box
from tests.helpers.tiny_scan import DOTS, tiny_scan


@pytest.mark.parametrize(
    ("first", "second", "left"),
    [
        ([0, 0, 0, 0], [0, 0, 0, 0], 0),
        ([1, 1, 0, 2], [2, 0, 0, 1], 0),  # numbers do not matter
        ([1, 1, 0, 2], [1, 1, 0, 0], 1),  # one lost
        ([0, 0, 0, 2], [1, 1, 0, 0], 2),  # one lost, one new
        ([1, 1, 1, 0], [1, 0, 2, 0], 1),  # a split: one of the parts is left over
        ([1, 0, 2, 0], [1, 1, 1, 0], 1),  # a merge
        ([1, 1, 2, 2], [1, 2, 2, 3], 1),  # a chain: 1-1 and 2-2 (or 2-3), one is left over
    ],
)
def test_lesions_are_paired_one_to_one(first: list[int], second: list[int], left: int) -> None:
    assert sum(map(len, left_over(np.array(first), np.array(second)))) == left


def test_only_lesions_of_2_to_below_5_mm_are_small() -> None:
    labels = np.array([1, 2, 3, 4, 5])
    rows = [(1, 1.9), (2, 2.0), (3, 4.99), (4, 5.0), (9, 3.0)]
    assert small_lesions(labels, rows) == {2, 3}


@dataclass
class Altered:
    """A backend that changes another's answers."""

    inner: Backend
    factor: float = 1.0
    without: tuple[int, int, int, int] | None = None
    """Rows and columns that are wiped."""

    @property
    def info(self) -> object:
        return self.inner.info

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        return self.inner.shapes

    def predict(self, stacks: NDArray[np.float32]) -> NDArray[np.float32]:
        answers = self.inner.predict(stacks) * np.float32(self.factor)
        if self.without:
            y0, y1, x0, x1 = self.without
            answers[:, y0:y1, x0:x1] = 0
        return answers

    def close(self) -> None:
        """The inner one stays open."""


@pytest.fixture(scope="module")
def case() -> GateCase:
    scan = tiny_scan()
    mask = np.zeros(scan.shape, bool)
    for z, y, x in DOTS:
        mask[z : z + 2, y : y + 4, x : x + 4] = True
    labels, _ = label_components(mask)
    return GateCase("tiny", scan, labels, frozenset({1, 2, 3}))


def judge(bundle: Bundle, backend: Backend, case: GateCase, altered: Altered) -> GateResult:
    reference = gate_predictions(bundle, backend, [case])
    artefact = predict_like(bundle, altered, reference)  # type: ignore[arg-type]
    return compare_predictions([case], reference, artefact, FLOAT_LIMITS)


def test_equal_answers_pass(tiny_bundle: Bundle, tiny_backend: Backend, case: GateCase) -> None:
    result = judge(tiny_bundle, tiny_backend, case, Altered(tiny_backend))
    assert result.passed
    assert (result.max_difference, result.mean_difference) == (0.0, 0.0)
    assert result.lesions_reference == result.lesions_artefact == 3
    assert result.recall_small_reference == result.recall_small_artefact == 1.0
    assert 0.5 < result.dice_reference == result.dice_artefact <= 1.0
    assert result.to_dict()["passed"] is True


def test_scans_are_prepared_once_for_all_that_is_judged(
    tiny_bundle: Bundle,
    tiny_backend: Backend,
    case: GateCase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (reference,) = gate_predictions(tiny_bundle, tiny_backend, [case])
    monkeypatch.setattr("cmbnet.predict.pipeline.prepare", None)
    monkeypatch.setattr("cmbnet.predict.pipeline.check_quality", None)
    (again,) = predict_like(tiny_bundle, tiny_backend, [reference])
    np.testing.assert_array_equal(again.probability.data, reference.probability.data)
    assert again.found.lesions == reference.found.lesions
    assert again.quality is reference.quality


def test_a_difference_that_flips_no_lesion_passes(
    tiny_bundle: Bundle, tiny_backend: Backend, case: GateCase
) -> None:
    result = judge(tiny_bundle, tiny_backend, case, Altered(tiny_backend, factor=0.9999))
    assert result.passed
    assert 0 < result.max_difference < 2e-4


def test_a_lost_lesion_fails_with_every_reason(
    tiny_bundle: Bundle, tiny_backend: Backend, case: GateCase
) -> None:
    lost = Altered(tiny_backend, without=(44, 54, 26, 36))
    result = judge(tiny_bundle, tiny_backend, case, lost)
    assert not result.passed
    assert (result.lesions_artefact, result.lesions_differing) == (2, 1)
    assert result.recall_small_artefact == pytest.approx(2 / 3)
    words = str(result.to_dict()["faults"])
    for part in ("1 lesions differ", "2 lesions instead of 3", "Dice differs", "recall of 2-5 mm"):
        assert part in words
    (flip,) = result.flips
    assert flip.startswith("tiny, only by Keras at voxel")
    assert flip.endswith("by the other no candidate: the highest probability there is 0.000")
    assert result.to_dict()["flips"] == flip


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"min_diameter_mm": 9.5, "large_from_mm": 9.5}, " mm is below 9.5 mm"),
        ({"min_score": 1.0}, " is below 1.000"),
    ],
)
def test_a_flip_says_which_rule_it_failed(
    tiny_bundle: Bundle,
    tiny_backend: Backend,
    case: GateCase,
    changes: dict[str, Any],
    why: str,
) -> None:
    reference = gate_predictions(tiny_bundle, tiny_backend, [case])[0]
    probability = reference.probability
    stricter = find_lesions(probability, replace(reference.rules, **changes))
    flips = list(describe_flips(reference, replace(reference, found=stricter)))
    assert len(flips) == 3
    assert all("by the other excluded: " in flip and flip.endswith(why) for flip in flips)


@pytest.mark.parametrize("given", [True, False], ids=["brain given", "brain estimated"])
def test_a_brain_too_large_for_a_network_is_judged_where_it_fits(
    case: GateCase, tiny_bundle: Bundle, given: bool
) -> None:
    recipe = tiny_bundle.recipe
    brain = case.scan.with_data(np.ones(case.scan.shape, np.uint8)) if given else None
    large = replace(case, brain=brain)
    shapes = [(recipe.size // 2, recipe.size // 2)]
    with pytest.raises(UsageError, match="a network shape of at least"):
        brain_box(prepare(case.scan, recipe, brain_mask=brain).brain, shapes=shapes)
    inside = _within(large, recipe, shapes[0])
    assert inside is not None
    assert (
        brain_box(prepare(case.scan, recipe, brain_mask=inside).brain, shapes=shapes).shape
        == (shapes[0])
    )
    assert _within(large, recipe, (recipe.size, recipe.size)) is brain


def counted(lesions: int, lost: int) -> dict[str, Any]:
    """What the gate looks at where some of equal, small lesions are lost."""
    return {
        "lesions_reference": lesions,
        "lesions_artefact": lesions - lost,
        "lesions_differing": lost,
        "dice_reference": 0.8,
        "dice_artefact": 0.8 * (1 - 0.6 * lost / lesions),
        "recall_small_reference": 1.0,
        "recall_small_artefact": (lesions - lost) / lesions,
    }


@pytest.mark.parametrize(
    ("lesions", "lost", "faults"),
    [
        (57, 1, 0),  # one crowded phantom: --parity-cases 1
        (57, 2, 2),  # differing and recall; Dice is well within
        (20, 1, 0),
        (19, 1, 3),  # too few for one to mean little
        (1, 1, 3),
        (365, 3, 0),
        (365, 4, 2),
    ],
)
def test_one_flip_of_enough_lesions_is_no_failure_of_int8(
    lesions: int, lost: int, faults: int
) -> None:
    values = counted(lesions, lost)
    assert len(_faults(values, INT8_LIMITS, small=lesions)) == faults
    assert _faults(values, FLOAT_LIMITS, small=lesions), "floats lose nothing"


def test_int8_may_differ_a_little() -> None:
    assert limits_of("int8") is INT8_LIMITS
    assert limits_of("float16") is limits_of("float32") is FLOAT_LIMITS
    assert INT8_LIMITS.differing_fraction == 0.01
    assert FLOAT_LIMITS.dice_difference == 0.005
