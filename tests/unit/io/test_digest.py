"""Hashes of our own code, by which finished work is known to be current."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import cmbnet.io.digest as digest


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of two rooms, whose code is hashed in place of ours."""
    root = tmp_path / "cmbnet"
    for name in ("io", "lesions"):
        shutil.copytree(Path(digest.__file__).parents[1] / name, root / name)
    monkeypatch.setattr(digest, "__file__", str(root / "io" / "digest.py"))
    return root


def code_of(*packages: str) -> str:
    digest.code_sha256.cache_clear()
    try:
        return digest.code_sha256(*packages)
    finally:
        digest.code_sha256.cache_clear()


def test_the_hash_follows_the_code_and_nothing_else(copy: Path) -> None:
    before = code_of("io", "lesions")
    (copy / "io" / "digest.pyc").write_bytes(b"compiled")
    assert code_of("io", "lesions") == before
    assert code_of("lesions") != before
    rule = copy / "lesions" / "find.py"
    rule.write_text(rule.read_text() + "\n# Another comment.\n")
    assert code_of("io", "lesions") != before


def test_a_file_that_moves_or_is_new_changes_the_hash(copy: Path) -> None:
    before = code_of("lesions")
    (copy / "lesions" / "find.py").rename(copy / "lesions" / "found.py")
    moved = code_of("lesions")
    assert moved != before
    (copy / "lesions" / "new.py").touch()
    assert code_of("lesions") not in (before, moved)
