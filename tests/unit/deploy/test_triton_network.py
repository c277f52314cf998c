"""Requests that Triton hands over together: a fault of one is the answer to that one only."""

from __future__ import annotations

import numpy as np
import pytest

from cmbnet.backends import Backend
from cmbnet.deploy.triton.network_model import answer_together
from cmbnet.errors import UsageError
from tests.helpers.tiny_bundle import dotted_slices


def test_each_request_of_a_batch_gets_its_own_answer(tiny_backend: Backend) -> None:
    stacks = [dotted_slices(n, 96, seed=n) for n in (1, 3, 2)]
    for asked, answer in zip(stacks, answer_together(tiny_backend, stacks), strict=True):
        assert isinstance(answer, np.ndarray)
        np.testing.assert_array_equal(answer[..., 0], tiny_backend.predict(asked))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_nan_of_one_client_is_its_own(tiny_backend: Backend, value: float) -> None:
    good, bad = dotted_slices(2, 96), dotted_slices(1, 96)
    bad[0, 5, 5, 1] = value
    answers = answer_together(tiny_backend, [good, bad, good])
    assert isinstance(answers[1], UsageError)
    assert "finite" in str(answers[1])
    for answer in (answers[0], answers[2]):
        assert isinstance(answer, np.ndarray)
        np.testing.assert_array_equal(answer[..., 0], tiny_backend.predict(good))
    (alone,) = answer_together(tiny_backend, [bad])
    assert isinstance(alone, UsageError)
