"""What a converter added to the logits is measured, or nothing is said of it."""

from __future__ import annotations

import numpy as np
import pytest

from cmbnet.deploy.correction import logit_shift


def test_a_shift_is_measured_where_something_is_undecided() -> None:
    logits = np.linspace(-8, 8, 4000).reshape(1, 40, 100)
    reference, answer = (1 / (1 + np.exp(-values)) for values in (logits, logits - 0.3))
    answer[reference > 0.96] = 0.0  # decided: what stands there does not matter
    shift = logit_shift(reference.astype(np.float32), answer.astype(np.float32))
    assert shift == pytest.approx(-0.3, abs=0.01)


def test_exact_zeros_and_ones_of_int8_have_a_finite_shift() -> None:
    reference = np.full((1, 10, 10), 0.5, np.float32)
    answer = np.where(np.arange(100).reshape(1, 10, 10) % 2, 1.0, 0.0).astype(np.float32)
    assert logit_shift(reference, answer) == pytest.approx(0.0)
    assert logit_shift(reference[:, :4], answer[:, :4]) is None
