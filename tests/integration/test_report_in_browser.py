"""The report opens in a real browser, offline: it draws its pictures and asks for nothing."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cmbnet.backends import Backend
from cmbnet.bundle import Bundle
from cmbnet.predict import predict_volume
from cmbnet.report import write_prediction
from tests.helpers.tiny_scan import tiny_scan

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_report_is_drawn(tiny_bundle: Bundle, tiny_backend: Backend, tmp_path: Path) -> None:
    write_prediction(predict_volume(tiny_scan(), tiny_bundle, tiny_backend), tmp_path / "case")
    picture = tmp_path / "report.png"
    subprocess.run(
        [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}",
            "--hide-scrollbars", "--window-size=1200,1600", f"--screenshot={picture}",
            (tmp_path / "case" / "report.html").as_uri(),
        ],
        check=True, capture_output=True, timeout=90,
    )  # fmt: skip
    shown = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    assert shown.shape == (1600, 1200, 3)
    black = (shown.max(axis=2) < 20).mean()
    orange = (np.abs(shown - (255, 176, 0)).sum(axis=2) < 60).sum()
    banner = (np.abs(shown - (255, 243, 223)).sum(axis=2) < 6).mean()
    assert black > 0.05  # the background of the slices
    assert orange > 100  # outlines
    assert banner > 0.02  # the notice
