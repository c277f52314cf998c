"""Bias correction takes off what a converter added, and leaves alone what it cannot measure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cmbnet.deploy.correction import _with_bias, convert_corrected, logit_shift
from cmbnet.deploy.source import KerasNetwork
from tests.tiny_bundle import SLOPE, dot_finder


@pytest.fixture(scope="module")
def model() -> Any:
    return dot_finder(32)


@pytest.fixture(scope="module")
def stacks() -> NDArray[np.float32]:
    return np.random.default_rng(0).random((3, 32, 32, 3), np.float32)


def bias_of(model: Any) -> float:
    return float(model.get_layer("darkness").get_weights()[1][0])


def test_a_shift_of_the_converter_is_taken_off(model: Any, stacks: NDArray[np.float32]) -> None:
    """A converter that adds 0.3 to every logit: the second model has 0.3 less."""
    seen: list[Any] = []

    def convert(one: Any) -> bytes:
        seen.append(one)
        return str(len(seen) - 1).encode()

    def run(content: bytes, given: NDArray[np.float32]) -> NDArray[np.float32]:
        network = KerasNetwork(_with_bias(seen[int(content)], 0.3))
        return np.concatenate([network(stack[None]) for stack in given])[..., 0]

    assert convert_corrected(model, stacks, convert, run) == b"1"
    assert bias_of(seen[1]) == pytest.approx(bias_of(model) - 0.3, abs=0.01)
    assert bias_of(model) == pytest.approx(-0.4 * SLOPE), "the model itself stays as it was"


def test_next_to_nothing_undecided_is_left_alone(model: Any, stacks: NDArray[np.float32]) -> None:
    sure = _with_bias(model, -100.0)
    done = convert_corrected(sure, stacks, lambda _: b"first", lambda _, given: given[..., 0])
    assert done == b"first"


def test_exact_zeros_and_ones_of_int8_have_a_finite_shift() -> None:
    reference = np.full((1, 10, 10), 0.5, np.float32)
    answer = np.where(np.arange(100).reshape(1, 10, 10) % 2, 1.0, 0.0).astype(np.float32)
    assert logit_shift(reference, answer) == pytest.approx(0.0)
    assert logit_shift(reference[:, :4], answer[:, :4]) is None
