"""Fixtures that several folders of tests use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cmbnet.backends import Backend, open_backend, speed
from cmbnet.backends.registry import OVERRULE
from cmbnet.bundle import Bundle

MARKS = {
    "browser": ("integration/test_ohif", "integration/test_report_in_browser",
                "integration/test_review_in_browser"),
    "orthanc": ("integration/test_edge_orthanc", "integration/test_ohif"),
    "triton": ("integration/test_triton_server",),
    "training": ("unit/training/", "unit/model/"),
    "slow": ("integration/", "truth/test_phantom", "truth/test_dicom_sets", "unit/deploy/",
             "unit/cli/test_compare", "unit/edge/", "unit/phantom/", "unit/io_dicom/",
             "unit/report_dicom/", "contract/"),
}  # fmt: skip
"""Marker -> beginnings of the paths of the tests that it stands for, below this folder."""
HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """Make the option of `make test-fast`."""
    parser.addoption("--fast", action="store_true", help="leave out the tests of every marker")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import what is left out, because much of it imports TensorFlow."""
    if not config.getoption("--fast") or not collection_path.is_relative_to(HERE):
        return None
    place = collection_path.relative_to(HERE).as_posix()
    place += "/" * collection_path.is_dir()
    return any(place.startswith(beginnings) for beginnings in MARKS.values()) or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by where they are, so that `make test-fast` can leave out what takes long."""
    for item in items:
        if item.path.is_relative_to(HERE):
            place = item.path.relative_to(HERE).as_posix()
            for mark, beginnings in MARKS.items():
                if place.startswith(beginnings):
                    item.add_marker(mark)


@pytest.fixture(autouse=True)
def _no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this machine is best at must not choose the backend of a test."""
    monkeypatch.setattr(speed, "cache_folder", lambda: Path(os.devnull))
    monkeypatch.delenv(OVERRULE, raising=False)


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
