"""Fixtures that several folders of tests use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cmbnet.backends import Backend, open_backend
from cmbnet.bundle import Bundle


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle that finds dark dots; made by tensorflow's converter, once per session."""
    from tests.helpers.tiny_bundle import write_tiny_bundle

    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="session")
def tiny_backend(tiny_bundle: Bundle) -> Iterator[Backend]:
    """The same, opened."""
    backend = open_backend(tiny_bundle, "litert:float32", threads=1)
    yield backend
    backend.close()
