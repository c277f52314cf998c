"""``CITATION.cff`` holds the keys that the format requires, and the licence of the package."""

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_the_citation_file_is_complete() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["authors"] == [{"name": "cmbnet contributors"}]
    assert citation["license"] == "Apache-2.0"
    (paper,) = citation["references"]
    assert paper["doi"] == "10.3389/fmed.2022.807443"
    assert "CITATION.cff" in (ROOT / "README.md").read_text(encoding="utf-8")
