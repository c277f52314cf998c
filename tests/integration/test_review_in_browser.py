"""A reader at the real page: keys, mouse, two tabs, a killed server, hostile names."""

from __future__ import annotations

import csv
import http.client
import io
import json
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from cmbnet.backends import Backend
from cmbnet.bundle import Bundle
from cmbnet.io import read_nifti, write_nifti
from cmbnet.review import Review
from tests.helpers.review_results import MISSED, SIX, add_phase, write_results
from tests.helpers.tiny_scan import DOTS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

HOSTILE = "<img src=x onerror=alert(1)>"


class Server:
    """The command in a process of its own."""

    def __init__(self, results: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cmbnet", "review", str(results), "--reader", "Ann", *options],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        found = re.search(r"http://\S+", self.process.stdout.readline())
        assert found is not None
        self.address = found[0]
        self.folder = results / "reviews" / "Ann"

    def stop(self, *, kill: bool = False) -> None:
        if self.process.poll() is None:
            if kill:
                self.process.kill()
            else:
                self.process.terminate()
            self.process.communicate(timeout=30)

    def review(self) -> Review:
        return Review.model_validate_json((self.folder / "verdicts.json").read_bytes())


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that do not outlive the test."""
    started: list[Server] = []

    def start(results: Path, *options: str) -> Server:
        started.append(Server(results, *options))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page on a laptop; what its console says is a failure."""
    context = browser.new_context(viewport={"width": 1366, "height": 768})
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("dialog", lambda dialog: faults.append(dialog.message))
    yield opened
    context.close()
    assert not faults


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle, tiny_backend: Backend
) -> Path:
    folder = tmp_path_factory.mktemp("study")
    return write_results(folder, tiny_bundle, tiny_backend, (SIX, DOTS)).parent


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "study") / "results"


def opened(page: Page, server: Server) -> None:
    page.goto(server.address)
    expect(page.locator("#hint")).not_to_be_empty()


def keys(page: Page, *pressed: str) -> None:
    for key in pressed:
        page.keyboard.press(key)


def to_case(page: Page, name: str) -> None:
    if page.locator("#case-name").inner_text() != name:
        page.locator("#cases li", has_text=name).click()
    expect(page.locator("#case-name")).to_have_text(name)


def until(page: Page, condition: str) -> None:
    """Wait for a condition. The page's policy forbids Playwright's own way."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(25)
    pytest.fail(f"{condition} did not come about")


def click_on(page: Page, voxel: tuple[int, int, int], **how: Any) -> None:
    """Click a voxel (z, y, x) of the tiny scan in the axial plane."""
    _, y, x = voxel
    x, y = page.evaluate(
        """([row, column]) => {
          const where = place(0), dense = window.devicePixelRatio;
          return [(where.left + (column + .5) * where.wide) / dense,
                  (where.top + (row + .5) * where.high) / dense];
        }""",
        [95 - y, 95 - x],
    )
    page.locator("#plane0").click(position={"x": x, "y": y}, **how)


def test_a_case_of_six_takes_eight_actions(page: Page, serve: Serve, results: Path) -> None:
    server = serve(results)
    opened(page, server)
    to_case(page, "scan-0")
    expect(page.locator("#marks li")).to_have_count(6)
    page.evaluate(f"view.at = [{MISSED[0]}, 48, 48]; draw()")  # the reader has scrolled there
    keys(page, "a", "a", "v", "a", "a", "a")
    expect(page.locator("#marks li.accept")).to_have_count(5)
    page.evaluate(f"view.at = [{MISSED[0]}, 48, 48]; draw()")
    click_on(page, (MISSED[0], MISSED[1] + 1, MISSED[2] + 1), button="right")
    expect(page.locator("#marks li")).to_have_count(7)
    keys(page, "Enter")
    expect(page.locator("#progress")).to_have_text("1 of 2 cases finished")
    expect(page.locator("#case-name")).to_have_text("scan-1")  # it goes on by itself
    server.stop()
    (case,) = server.review().cases
    assert [one.judgement for one in case.verdicts].count("accept") == 6
    assert [one.kind for one in case.verdicts].count("vein") == 1
    assert 0 < case.seconds_with < 60
    z, y, x = MISSED
    labels = read_nifti(server.folder / "scan-0" / "lesions.nii.gz").data
    assert (labels[z : z + 2, y : y + 4, x : x + 4] == 7).all()
    assert (labels == 7).sum() == 32
    with (server.folder / "reviewed.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 7


def test_the_keyboard_alone_is_enough(page: Page, serve: Serve, results: Path) -> None:
    server = serve(results, "--blind")
    opened(page, server)
    for _ in range(2):
        expect(page.locator("#hint")).to_contain_text("The model's answer is hidden")
        name = page.locator("#case-name").inner_text()
        keys(page, "ArrowRight", "ArrowUp", "Shift+ArrowLeft", "PageUp", "2", "PageDown", "m")
        keys(page, ".", ",", "d", "t")
        page.keyboard.type("Just a note: avxz.")
        keys(page, "Escape")
        expect(page.locator("#marks li")).to_contain_text("Just a note: avxz.")
        expect(page.locator("#marks li")).to_contain_text("possible")
        keys(page, "m", "z", "Enter")
        expect(page.locator("#marks li[data-mark='1']")).to_be_visible()
        keys(page, *"uuuuuu"[: page.locator("#marks li:not(.accept)").count()], "Enter")
        expect(page.locator("#cases li.finished", has_text=name)).to_be_visible()
    expect(page.locator("#hint")).to_have_text("This case is finished, and so are all others.")
    server.stop()
    review = server.review()
    assert len(review.cases) == 2
    assert all((server.folder / case.case / "alone.nii.gz").exists() for case in review.cases)
    notes = [one.note for case in review.cases for one in case.verdicts if one.source == "reader"]
    assert notes == ["Just a note: avxz."] * 2


def test_the_planes_follow_the_mouse(page: Page, serve: Serve, results: Path) -> None:
    server = serve(results)
    opened(page, server)
    to_case(page, "scan-0")
    plane = page.locator("#plane0")

    def grey() -> float:
        picture = Image.open(io.BytesIO(plane.screenshot())).convert("L")
        return float(np.asarray(picture).mean())

    click_on(page, (10, 50, 20))
    assert page.evaluate("view.at.slice(1)") == [95 - 50, 95 - 20]
    plane.hover()
    at = page.evaluate("view.at[0]")
    page.mouse.wheel(0, -100)
    assert page.evaluate("view.at[0]") == at + 1
    keys(page, "h", "l")
    page.wait_for_timeout(100)
    before = grey()
    box = plane.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 350)
    page.mouse.up()
    page.wait_for_timeout(100)
    assert grey() > before + 10  # a drag downwards lowers the level: brighter
    keys(page, "w")
    page.wait_for_timeout(100)
    assert grey() == pytest.approx(before, abs=0.5)
    keys(page, "s")
    page.wait_for_timeout(100)
    assert grey() < before  # the darkest of several slices
    server.stop()


def test_the_phase_takes_the_place_of_the_scan(page: Page, serve: Serve, results: Path) -> None:
    add_phase(results, "scan-0")
    server = serve(results)
    opened(page, server)
    to_case(page, "scan-0")
    keys(page, "h", "l", "f")
    expect(page.locator("#phase")).to_have_attribute("aria-pressed", "true")
    page.wait_for_timeout(100)
    grey = np.asarray(Image.open(io.BytesIO(page.locator("#plane0").screenshot())).convert("L"))
    middle = grey[:, grey.shape[1] // 2].astype(float)
    assert middle[middle.size // 4] > middle[3 * middle.size // 4] + 60  # brighter to the front
    to_case(page, "scan-1")
    expect(page.locator("#phase")).to_be_hidden()
    server.stop()


def test_painting_changes_the_outline(page: Page, serve: Serve, results: Path) -> None:
    server = serve(results)
    opened(page, server)
    to_case(page, "scan-0")
    before = page.evaluate("markOf('1').voxels.length")
    at = page.evaluate("view.at")
    keys(page, "b")
    click_on(page, (at[0], 95 - at[1] + 6, 95 - at[2]))
    until(page, f"shown.revision === 1 && markOf('1').voxels.length === {before + 1}")
    keys(page, "z")
    until(page, f"shown.revision === 2 && markOf('1').voxels.length === {before}")
    server.stop()


def test_two_tabs_do_not_overwrite_each_other(page: Page, serve: Serve, results: Path) -> None:
    server = serve(results)
    opened(page, server)
    to_case(page, "scan-0")
    other = page.context.new_page()
    opened(other, server)
    to_case(other, "scan-0")
    keys(page, "a")
    expect(page.locator("#marks li.accept")).to_have_count(1)
    keys(other, "v")
    expect(other.locator("#message")).to_contain_text("another tab")
    expect(other.locator("#marks li.accept")).to_have_count(1)
    keys(other, "n", "v")
    expect(other.locator("#marks li.reject")).to_have_count(1)
    expect(other.locator("#message")).to_be_hidden()
    server.stop()


def test_a_killed_server_loses_nothing(page: Page, serve: Serve, results: Path) -> None:
    for kill in range(3):
        server = serve(results)
        opened(page, server)
        to_case(page, "scan-0")
        expect(page.locator("#marks li.accept")).to_have_count(kill)
        keys(page, "a")
        expect(page.locator("#marks li.accept")).to_have_count(kill + 1)
        server.stop(kill=True)
        keys(page, "a")
        expect(page.locator("#message")).to_contain_text("is not saved")
        expect(page.locator("#marks li.accept")).to_have_count(kill + 1)


def test_hostile_names_and_notes_are_text(page: Page, serve: Serve, results: Path) -> None:
    shutil.move(results / "scan-0", results / HOSTILE)
    server = serve(results)
    opened(page, server)
    to_case(page, HOSTILE)
    keys(page, "y")
    page.keyboard.type(f"=1+1{HOSTILE}")
    keys(page, "Escape", "a", "t")
    page.keyboard.type(f"=1+1{HOSTILE}")
    keys(page, "Escape", "a", "a", "a", "a", "a", "a", "Enter")
    expect(page.locator("#progress")).to_have_text("1 of 2 cases finished")
    assert page.locator("img").count() == 0
    server.stop()
    with (server.folder / "reviewed.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["case"] for row in rows} == {HOSTILE}
    assert [row["note"] for row in rows if row["note"]] == [f"'=1+1{HOSTILE}"]


def test_a_scan_that_has_changed_says_so(page: Page, serve: Serve, results: Path) -> None:
    shutil.copy(
        results.parent / "scans" / "scan-1.nii.gz", results.parent / "scans" / "scan-0.nii.gz"
    )
    server = serve(results)
    page.goto(server.address)
    page.locator("#cases li", has_text="scan-0").click()
    expect(page.locator("#message")).to_contain_text("has changed since the prediction")
    to_case(page, "scan-1")
    expect(page.locator("#message")).to_be_hidden()
    server.stop()


def test_a_full_disk_is_said_and_loses_nothing(page: Page, serve: Serve, results: Path) -> None:
    server = serve(results)
    opened(page, server)
    to_case(page, "scan-0")
    keys(page, "a")
    expect(page.locator("#marks li.accept")).to_have_count(1)
    size = (server.folder / "actions.jsonl").stat().st_size
    old = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size + 50, old[1]))
    keys(page, "a")
    expect(page.locator("#message")).to_contain_text("Not saved: the disk refused it")
    expect(page.locator("#marks li.accept")).to_have_count(1)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, old)
    keys(page, "a")
    expect(page.locator("#marks li.accept")).to_have_count(2)
    expect(page.locator("#message")).to_be_hidden()
    server.stop()


def test_a_browser_that_slept_for_a_day_goes_on(page: Page, serve: Serve, results: Path) -> None:
    server = serve(results)
    page.clock.install()
    opened(page, server)
    to_case(page, "scan-0")
    keys(page, "a")
    expect(page.locator("#marks li.accept")).to_have_count(1)
    page.clock.fast_forward("24:00:00")
    keys(page, "a", "a", "a", "a", "a", "Enter")
    expect(page.locator("#progress")).to_have_text("1 of 2 cases finished")
    server.stop()
    (case,) = server.review().cases
    assert case.seconds_with < 60
    assert [one.judgement for one in case.verdicts] == ["accept"] * 6


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a read-only file system")
def test_a_folder_that_cannot_be_written_is_refused(results: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cmbnet", "review", str(results), "-o", "/proc/reviews"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "/proc/reviews" in done.stderr


def read_as(page: Page, server: Server, name: str, rejected: dict[str, list[str]]) -> None:
    """A simulated reader. Alone it marks the faint dots; it rejects these of the model's."""
    opened(page, server)
    cases = page.locator("#cases li").all_inner_texts()
    for number, case in enumerate(cases):
        expect(page.locator("#case-name")).to_have_text(case)
        expect(page.locator("#reader")).to_contain_text(name)
        page.evaluate(f"view.at = [{MISSED[0]}, 48, 48]; draw()")
        click_on(page, (MISSED[0], MISSED[1] + 1, MISSED[2] + 1), button="right")
        expect(page.locator("#marks li[data-mark='r1']")).to_be_visible()
        page.evaluate("select((shown.marks.find((mark) => !mark.judgement) || {}).id)")
        for mark in page.evaluate("shown.marks.filter((m) => !m.judgement).map((m) => m.id)"):
            keys(page, "v" if mark in rejected[case] else "a")
        keys(page, "Enter")
        expect(page.locator("#progress")).to_have_text(
            f"{number + 1} of {len(cases)} cases finished"
        )
    server.stop()


def test_a_cross_over_study_from_the_plan_to_the_table(
    page: Page, serve: Serve, results: Path, tmp_path: Path
) -> None:
    def cmbnet(*words: object) -> str:
        return subprocess.run(
            [sys.executable, "-m", "cmbnet", *map(str, words)],
            capture_output=True, text=True, timeout=300, check=True,
        ).stdout  # fmt: skip

    assert "2 readers read 2 cases in two sessions" in cmbnet(
        "review", results, "--plan", "Ann,Ben"
    )
    rejected: dict[str, dict[str, list[str]]] = {
        "Ann": {"scan-0": ["2"], "scan-1": []},
        "Ben": {"scan-0": [], "scan-1": []},
    }
    for session in (1, 2):
        for name in ("Ann", "Ben"):
            server = serve(results, "--session", str(session), "--reader", name)
            read_as(page, server, name, rejected[name])
    truth = tmp_path / "truth"
    for case in ("scan-0", "scan-1"):
        mask = read_nifti(results / case / "mask.nii.gz")
        z, y, x = MISSED
        mask.data[z : z + 2, y : y + 4, x : x + 4] = 1
        write_nifti(mask, truth / f"{case}.nii.gz", dtype=np.uint8)
    out = tmp_path / "out"
    said = cmbnet("readers", "--reviews", results / "reviews", "--truth", truth, "-o", out,
                  "--data-kind", "phantoms", "--resamples", "100")  # fmt: skip
    assert "Ann with the system" in said
    found = json.loads((out / "readers.json").read_text())
    by_arm = {(one["reader"], one["arm"]): one for one in found["arms"]["results"]}
    # The truth has nine lesions of the model and two faint dots.
    assert by_arm["system", "system"]["sensitivity"] == pytest.approx(9 / 11)
    assert by_arm["Ann", "without"]["sensitivity"] == pytest.approx(2 / 11)
    assert by_arm["Ann", "with"]["sensitivity"] == pytest.approx(10 / 11)
    assert by_arm["Ben", "with"]["sensitivity"] == 1
    assert all(one["seconds"] > 0 for one in found["arms"]["results"])
    labels = [reader["system_by_reader"] for reader in found["study"]["readers"]]
    assert [(one["correct"], one["missed"], one["incorrect"]) for one in labels] == [
        (8, 2, 1), (9, 2, 0),
    ]  # fmt: skip
    assert len(found["times"]) == 3


def answer(address: str, path: str, host: str | None = None, method: str = "GET") -> int:
    found = urlsplit(address)
    connection = http.client.HTTPConnection(found.hostname or "", found.port, timeout=30)
    connection.request(method, path, headers={} if host is None else {"Host": host})
    status = connection.getresponse().status
    connection.close()
    return status


def test_only_who_knows_the_address_is_answered(serve: Serve, results: Path) -> None:
    server = serve(results)
    path = urlsplit(server.address).path
    port = urlsplit(server.address).port
    assert answer(server.address, path) == 200
    assert answer(server.address, f"{path}cases", f"localhost:{port}") == 200
    assert answer(server.address, f"{path}cases", "evil.example") == 400
    assert answer(server.address, "/cases") == 404
    assert answer(server.address, "/") == 404
    assert answer(server.address, f"{path}../../etc/passwd") == 404
    assert answer(server.address, f"{path}review.html") == 404
    assert answer(server.address, f"{path}cases/99") == 404
    assert answer(server.address, f"{path}cases/0", method="POST") == 400
    second = subprocess.run(
        [sys.executable, "-m", "cmbnet", "review", str(results), "--reader", "Ann"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert second.returncode == 2
    assert "is open in another process" in second.stderr
    server.stop()
