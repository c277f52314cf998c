"""Results that reviews are made of. Each test has a copy of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cmbnet.backends import Backend
from cmbnet.bundle import Bundle
from tests.helpers.review_results import write_results


@pytest.fixture(scope="package")
def made(
    tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle, tiny_backend: Backend
) -> Path:
    return write_results(tmp_path_factory.mktemp("study"), tiny_bundle, tiny_backend).parent


@pytest.fixture
def study(made: Path, tmp_path: Path) -> Path:
    """Folder of the scans, and of their results in ``results``."""
    return shutil.copytree(made, tmp_path / "study")


@pytest.fixture
def results(study: Path) -> Path:
    return study / "results"
