"""The Keras backend runs a compiled network, not layer after layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmbnet.backends import open_backend
from cmbnet.bundle import NewArtefact, write_bundle
from tests.helpers.tiny_bundle import dot_finder, dotted_slices, expected_probabilities, spec


@pytest.mark.parametrize("batch", [1, 4])
def test_after_the_first_slice_no_layer_is_called_from_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    from keras.layers import Conv2D

    dot_finder(96).save(tmp_path / "net.keras")
    content = (tmp_path / "net.keras").read_bytes()
    network = NewArtefact("net.keras", content, "keras", "float32", (batch, 96, 96, 3))
    backend = open_backend(
        write_bundle(tmp_path / "bundle", spec=spec(), artefacts=[network]), "keras", threads=1
    )
    backend.predict(dotted_slices(1, 96))
    calls: list[Any] = []
    original = Conv2D.call

    def counted(*arguments: Any) -> Any:
        calls.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(Conv2D, "call", counted)
    stacks = dotted_slices(6, 96, seed=1)
    answers = backend.predict(stacks)
    backend.close()
    assert not calls
    np.testing.assert_allclose(answers, expected_probabilities(stacks), atol=1e-4)
