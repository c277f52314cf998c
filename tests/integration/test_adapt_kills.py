"""`cmbnet adapt`, killed at random moments of its stages, comes to the same end."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from cmbnet.backends import open_backend
from cmbnet.bundle import load_bundle
from cmbnet.model.files import load_model
from tests.helpers.review_results import write_results
from tests.helpers.simulated_reader import review_by_truth
from tests.helpers.tiny_scan import DOTS, SHAPE
from tests.helpers.tiny_start import RECIPE, write_start
from tests.integration.test_documented_commands import ROOT

STAGES = (
    "started",  # reviews are read and written as a cohort
    "making 10 phantoms",
    "replayed cases",  # scans are prepared
    "device:",  # the start is judged and the first epoch is trained
    "epoch ",
    "ended:",  # files are made and judged, thresholds are chosen
    "float32-1x96x96.tflite on",  # both models are judged, and the new one is written
)
"""How the line begins after which a stage takes its time."""

KILLS = 3
"""Number of stages in which a run is killed, drawn at random. Each start costs some 20 s of CPU."""

THRESHOLDS = {"lesion_score", "patient_threshold"}


class Site(NamedTuple):
    """What the reviewer left."""

    root: Path
    arguments: tuple[str, ...]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    root = tmp_path_factory.mktemp("site")
    start = write_start(root / "start")
    backend = open_backend(start, "litert:float32", threads=1)
    results = write_results(root, start, backend, [DOTS if n < 6 else () for n in range(10)])
    backend.close()
    review_by_truth(results, results / "reviews" / "Ann", _truth)
    recipe = RECIPE | {"deterministic": True}
    (root / "tiny.yaml").write_text(json.dumps(recipe), encoding="utf-8")
    arguments = (
        str(start.path), "--reviewed", str(results), "--data-kind", "phantoms",
        "--recipe", str(root / "tiny.yaml"), "--anatomy", "procedural", "--backend", "litert",
        "--anyway",
    )  # fmt: skip
    return Site(root, arguments)


def _truth(name: str) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint16)
    for number, (z, y, x) in enumerate(DOTS, start=1):
        labels[z : z + 2, y : y + 4, x : x + 4] = number * (int(name.split("-")[1]) < 6)
    return labels


def _start(site: Site, new: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-u", "-m", "cmbnet", "adapt", *site.arguments, "-o", str(new)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    )


def _killed(site: Site, new: Path, stage: str, after_s: float) -> bool:
    """Kill the command some time after the line of a stage. False if it ended before that."""
    with _start(site, new) as process:
        if stage != STAGES[0]:
            any(line.startswith(stage) for line in process.stdout or ())
        time.sleep(after_s)
        process.kill()
    return process.returncode < 0


def _durations(site: Site, new: Path) -> dict[str, float]:
    """Run the command to its end, and return how long each stage took."""
    began, stage, line = time.monotonic(), STAGES[0], ""
    seconds = dict.fromkeys(STAGES, 0.0)
    with _start(site, new) as process:
        for line in process.stdout or ():
            entered = next((one for one in STAGES if line.startswith(one)), None)
            if entered is not None:
                seconds[stage] = max(seconds[stage], time.monotonic() - began)
                stage, began = entered, time.monotonic()
    assert process.returncode == 0, line
    return seconds | {stage: time.monotonic() - began}


def _end(new: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What an adaptation came to, without times; and numbers that threads round differently."""
    bundle = load_bundle(new)
    bundle.verify()
    details = bundle.manifest.training.details
    model, points = load_model(new / "model.keras"), bundle.manifest.operating_points
    return {
        "points": [point.model_dump(exclude=THRESHOLDS) for point in points],
        "rules": bundle.manifest.rules,
        "details": {key: value for key, value in details.items() if key != "minutes"},
        "data": bundle.manifest.training.data,
    }, {
        "thresholds": np.array([[getattr(p, name) for name in sorted(THRESHOLDS)] for p in points]),
        **{f"weight {n}": np.asarray(weight) for n, weight in enumerate(model.get_weights())},
    }  # fmt: skip


@pytest.mark.slow
def test_kills_change_nothing(site: Site) -> None:
    seconds = _durations(site, site.root / "whole")
    assert min(seconds.values()) > 0.0
    new, seed = site.root / "new", random.randrange(10**6)
    moments, kills = random.Random(seed), 0
    for stage in sorted(moments.sample(STAGES, KILLS), key=STAGES.index):
        assert not (new / "bundle.json").exists()
        kills += _killed(site, new, stage, moments.uniform(0.0, seconds[stage]))
    assert kills >= KILLS - 1, f"seed {seed}"
    if not (new / "bundle.json").exists():  # it is written last: all else is there then
        _durations(site, new)
    (ended, rounded), (whole, numbers) = _end(new), _end(site.root / "whole")
    assert ended == whole, f"seed {seed}"
    for name, value in numbers.items():
        np.testing.assert_allclose(rounded[name], value, rtol=1e-3, atol=2e-3, err_msg=name)
    assert "## Before and after" in (new / "MODEL_CARD.md").read_text(encoding="utf-8")
