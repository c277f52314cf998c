"""What a radiologist sees in OHIF: segments in place, a report whose lesions can be clicked."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

pytest.importorskip("playwright", reason="playwright is not installed (pip install playwright)")

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.io.dicom import read_dicom_series
from cmbnet.lesions import Lesion
from cmbnet.phantom.dicom import ScanHeader, Vendor, write_dicom_series
from cmbnet.report.dicom import DicomResult, Quality, write_dicom_results
from tests.helpers.orthanc import Orthanc, free_port
from tests.helpers.tiny_scan import DOTS, SHAPE, tiny_scan
from tests.integration.ohif import PACKAGE, Ohif
from tests.unit.report_dicom.test_objects import ALGORITHM, lesion

CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.skipif(
        not PACKAGE.exists() and os.environ.get("CI") != "true",
        reason=f"there is no {PACKAGE.name} in {PACKAGE.parent}; .ci/run fetches it",
    ),
]

LABELS = [f"Candidate {n}: 4.{n} mm, score 0.{10 - n}0" for n in (1, 2, 3)]


@dataclass
class Site:
    """A browser, and the viewer beside a PACS."""

    orthanc: Orthanc
    ohif: Ohif
    browser: Browser
    folder: Path
    lesions: tuple[Lesion, ...] = ()
    frames: tuple[int, ...] = ()

    def study(self, name: str, *, enhanced: bool = False, quality: Quality | None = None) -> str:
        """Store a scan with its results; its Study Instance UID."""
        folder = self.folder / name
        write_dicom_series(
            tiny_scan(DOTS if quality is None else ()), folder / "scan", vendor=Vendor.SIEMENS,
            enhanced=enhanced, scan=ScanHeader(name=name),
        )  # fmt: skip
        volume, source = read_dicom_series(folder / "scan")
        labels, self.lesions = dots_of(volume.data)
        self.frames = source.frame_numbers
        assert len(self.lesions) == (len(DOTS) if quality is None else 0)
        found = DicomResult(self.lesions, labels, ALGORITHM, quality or Quality())
        results = write_dicom_results(found, source, folder / "out").all
        for path in (*sorted((folder / "scan" / "5").iterdir()), *results):
            self._store(path)
        return source.study_instance_uid

    def _store(self, path: Path) -> None:
        address = f"http://127.0.0.1:{self.orthanc.http_port}/instances"
        sent = urllib.request.Request(address, data=path.read_bytes(), method="POST")
        with urllib.request.urlopen(sent, timeout=30) as said:
            assert said.status == 200

    def open(self, study: str, series: str) -> Page:
        """Open a series of a study as a person does."""
        page = self.browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(60_000)
        page.add_init_script("localStorage.setItem('shownTours', '[\"basicViewerTour\"]')")
        page.goto(f"{self.ohif.address}/viewer?StudyInstanceUIDs={study}")
        expect(overlay(page)).to_contain_text("/24")
        page.wait_for_load_state("networkidle")
        # Clicks are lost while the viewer still arranges itself.
        for _ in range(5):
            page.get_by_text(series).first.dblclick()
            with contextlib.suppress(AssertionError):
                expect(pane(page)).to_contain_text(re.compile("SR|SEG"), timeout=10_000)
                return page
        raise AssertionError(f"{series} was not opened")


def dots_of(data: np.ndarray) -> tuple[np.ndarray, tuple[Lesion, ...]]:
    """Dark pieces of at most 40 voxels as lesions."""
    pieces, count = ndimage.label(data < data.max() / 10)
    small = [n for n in range(1, count + 1) if 20 < (pieces == n).sum() <= 40]
    labels = np.zeros(data.shape, np.uint16)
    lesions = []
    for number, piece in enumerate(small, start=1):
        labels[pieces == piece] = number
        z, y, x = (int(at) for at in np.argwhere(pieces == piece).mean(axis=0))
        lesions.append(
            lesion(number, voxel_ijk=(x, y, z), score=1 - number / 10,
                   max_in_plane_diameter_mm=4 + number / 10)
        )  # fmt: skip
    return labels, tuple(lesions)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("ohif")
    orthanc = Orthanc(folder / "orthanc", node_port=free_port())
    orthanc.start()
    ohif = Ohif(folder / "viewer", pacs_port=orthanc.http_port)
    ohif.start()
    expect.set_options(timeout=60_000)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM,
                args=["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
            )
            yield Site(orthanc, ohif, browser, folder)
            browser.close()
    finally:
        ohif.stop()
        orthanc.stop()


def pane(page: Page) -> Locator:
    """The one viewport."""
    return page.locator('[data-cy="viewport-pane"]')


def overlay(page: Page) -> Locator:
    """Where the viewer says which image it shows."""
    return page.locator('[data-cy="viewport-overlay-bottom-right"]')


def rows(page: Page) -> Locator:
    """Of the list of measurements or of segments."""
    return page.locator('[data-cy="data-row"]')


def shown(page: Page) -> np.ndarray:
    """The viewport, RGB."""
    picture = pane(page).screenshot()
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def eventually(page: Page, check: Callable[[], None]) -> None:
    """Check until it holds: the viewer draws late, and some of it only when drawn again."""
    end = time.monotonic() + 60
    while True:
        try:
            check()
        except AssertionError:
            if time.monotonic() > end:
                raise
            size = page.viewport_size
            assert size is not None
            page.set_viewport_size({"width": 2801 - size["width"], "height": size["height"]})
            page.wait_for_timeout(500)
        else:
            return


def drawn(page: Page, words: str) -> Callable[[], None]:
    def check() -> None:
        assert words in "".join(page.locator("svg.svg-layer").all_text_contents())

    return check


@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])
def test_a_click_on_a_lesion_of_the_report_jumps_to_it(site: Site, *, enhanced: bool) -> None:
    page = site.open(site.study(f"SR-{enhanced}", enhanced=enhanced), "cmbnet microbleed report")
    eventually(page, drawn(page, "Diameter: 4.10 mm"))
    page.get_by_text("Yes", exact=True).click()
    page.locator('[data-cy="trackedMeasurements-btn"]').click()
    expect(rows(page)).to_have_text([re.compile(re.escape(label)) for label in LABELS])

    def check() -> None:
        (where,) = (one.bounding_box() for one in page.locator("svg.svg-layer circle").all())
        corner = pane(page).bounding_box()
        assert where is not None
        assert corner is not None
        x = round(where["x"] + where["width"] / 2 - corner["x"])
        y = round(where["y"] + where["height"] / 2 - corner["y"])
        around = shown(page)[y - 3 : y + 4, x - 3 : x + 4]
        assert around.min(axis=2).mean() < 30, "the point lies in the dark dot"

    for row in (2, 0, 1):
        rows(page).nth(row).click()
        z = site.lesions[row].voxel_ijk[2]
        number = rf"I:\s*1 \({site.frames[z]}/24" if enhanced else rf"I:\s*{z + 1} \("
        expect(overlay(page)).to_contain_text(re.compile(number))
        eventually(page, check)
    page.close()


def test_segments_lie_on_the_dots_and_say_what_they_are(site: Site) -> None:
    page = site.open(site.study("SEG"), "cmbnet microbleed candidates")
    page.get_by_text("Yes", exact=True).click()
    page.locator('[data-cy="panelSegmentation-btn"]').click()
    expect(rows(page)).to_have_text([re.compile(re.escape(label)) for label in LABELS])
    for row, one in enumerate(site.lesions):
        rows(page).nth(row).click()
        page.mouse.move(700, 890)  # off the row, which explains itself over the picture
        eventually(page, lambda one=one: assert_coloured(page, one))  # type: ignore[misc]
    page.close()


def assert_coloured(page: Page, one: Lesion) -> None:
    """One square of 4 x 4 pixels of the image is coloured, where the dot is."""
    picture = shown(page)
    height, width, _ = picture.shape
    scale = min(height, width) / SHAPE[1]
    down, across = np.nonzero(np.ptp(picture, axis=2) > 60)
    down, across = (down - height / 2) / scale, (across - width / 2) / scale
    head = (down / 42) ** 2 + (across / 37) ** 2 < 1  # the viewer's own marks lie around it
    assert head.any()
    x, y, _ = one.voxel_ijk
    assert across[head].mean() == pytest.approx(x + 1 - SHAPE[2] / 2, abs=1)
    assert down[head].mean() == pytest.approx(y + 1 - SHAPE[1] / 2, abs=1)
    assert np.ptp(across[head]) == pytest.approx(4, abs=1)


@pytest.mark.parametrize(
    ("quality", "answer"),
    [
        (Quality(), "0 microbleed candidates by AI, not reviewed"),
        (Quality(False, ("there is no brain in it",)), "Not analysable: no count was made"),
    ],
    ids=["none", "refused"],
)
def test_a_report_without_lesions_is_no_empty_page(
    site: Site, quality: Quality, answer: str
) -> None:
    page = site.open(site.study(f"NONE-{quality.analysable}", quality=quality), "cmbnet microble")
    for words in (answer, RESEARCH_USE_ONLY, *quality.remarks):
        eventually(page, drawn(page, words))
    page.close()
