"""docs/tutorials/adapt.md, followed command by command, at the smallest sizes."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cmbnet.bundle import load_bundle
from cmbnet.cli import group
from cmbnet.io import read_nifti
from tests.helpers.simulated_reader import review_by_truth
from tests.helpers.tiny_start import RECIPE, write_start
from tests.integration.test_documented_commands import ROOT, shell_lines

PAGE = ROOT / "docs" / "tutorials" / "adapt.md"
SMALL = {
    "phantom": "phantom -o site --positives 6 --negatives 4 --seed 6 --protocols tiny --anatomy "
    "procedural --cases-per-head 1 --jobs 1",
    "adapt": "adapt start/bundle --reviewed results --data-kind phantoms -o models/mine --jobs 1 "
    "--recipe tiny.yaml --anatomy procedural --backend litert --anyway",
}
"""The same commands with smaller numbers, a network that trains in seconds and tiny heads."""


def test_the_page_leads_from_scans_to_a_new_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    start = write_start(Path("start"))
    Path("tiny.yaml").write_text(json.dumps(RECIPE | {"start_share": 0.1}), encoding="utf-8")
    lines = [line for line in shell_lines(PAGE) if line.startswith("cmbnet ")]
    assert [shlex.split(line)[1] for line in lines] == [
        "phantom", "predict", "review", "adapt", "predict",
    ]  # fmt: skip
    told = ""
    for line in lines:
        words = shlex.split(line)[1:]
        if words[0] == "review":  # a person, whose page is tested in a browser
            review_by_truth(Path("results"), Path("results/reviews/Ann"), _truth)
            continue
        words = shlex.split(SMALL.get(words[0], " ".join(words)))
        if words == shlex.split("predict site/images -o results"):
            words += ["--model", "start/bundle"]
        done = CliRunner().invoke(group, words, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        told = told if words[0] == "predict" else done.output
    assert "epoch 2 of 2" in told
    assert "held-out reviewed scans" in told
    new = load_bundle("models/mine")
    assert new.manifest.versions["started_from_sha256"] == start.sha256
    assert "## Before and after" in Path("models/mine/MODEL_CARD.md").read_text(encoding="utf-8")
    results = sorted(Path("results-mine").glob("*/result.json"))
    assert len(results) == 10
    assert json.loads(results[0].read_text())["model"]["bundle"] == "start-adapted"


def _truth(name: str) -> np.ndarray:
    labels: np.ndarray = read_nifti(Path("site") / "lesions" / f"{name}.nii.gz").data
    return labels
